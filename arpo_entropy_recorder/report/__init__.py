"""The HTML page: answer, figures, numbers, and trajectories to read."""
