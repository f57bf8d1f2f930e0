"""The exact entropy of rows of logits, on the device where they are."""

# vLLM writes 0 or -1 where a request is greedy; its entropy is then the one at temperature 1.
GREEDY_TEMPERATURE = 1e-5
