"""The figures, and what they share: marks, colours, words, captions."""
