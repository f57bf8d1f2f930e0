"""Taps: where each vLLM engine shows its logits."""
