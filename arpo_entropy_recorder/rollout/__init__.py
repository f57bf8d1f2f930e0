"""Our own tool loop on a vLLM engine."""
