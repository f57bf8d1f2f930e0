"""verl's agent loop (0.6.1 to 0.9.1): hooks on its classes, and the job's collector as a Ray actor."""
