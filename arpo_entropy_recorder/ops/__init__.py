"""The exact entropy of rows of logits, on the device where they are."""
