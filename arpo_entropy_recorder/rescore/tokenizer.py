"""Loads the tokenizer of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arpo_entropy_recorder.errors import UserError


def load_tokenizer(path: str) -> Any:
    """The tokenizer at `path`, or of that name in the Hugging Face cache: nothing is downloaded. Raises UserError."""
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise UserError("this needs transformers: pip install transformers") from None
    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True)
    except Exception as error:
        # transformers' own messages are about its hub, or many lines long.
        if not Path(path).exists():
            reason = "no such directory, nor a model of that name in the Hugging Face cache"
        elif not (Path(path) / "config.json").is_file():
            reason = "not a directory with a config.json; give a Hugging Face checkpoint"
        else:
            reason = f"its tokenizer cannot be loaded: {str(error).strip().partition(chr(10))[0]}"
        raise UserError(f"{path}: {reason}") from error
