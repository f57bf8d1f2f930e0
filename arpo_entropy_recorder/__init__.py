"""Exact first-token entropies of tool-calling vLLM rollouts: recorder, step files and figures."""

__version__ = "0.1.0"
