"""Prompts from a file (`.parquet`, `.jsonl`, `.txt`), and from text to a batch of token ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from arpo_entropy_recorder.errors import UserError

Prompt = str | list[dict[str, str]]
"""A question, or chat messages with `role` and `content`."""

SYSTEM = (
    "Answer the question. Think between <think> and </think>. You may call a tool, as often as you need, by "
    "writing {calls}; its result follows between <result> and </result>. "
    "Write the final answer between <answer> and </answer>."
)
CALLS = {"search": "a query between <search> and </search>", "python": "code between <python> and </python>"}


def system_message(tags: Iterable[str]) -> str:
    """A system message that says how tools with these tags are called; empty without tools."""
    calls = " or ".join(CALLS[tag] for tag in tags)
    return SYSTEM.format(calls=calls) if calls else ""


def load_prompts(path: str | Path) -> list[Prompt]:
    """The prompts of a file.

    `.parquet` and `.jsonl` have a column or key `prompt`, chat messages as in ARPO's data or a string; `.txt`
    has one prompt per line. Raises UserError naming the file and the entry.
    """
    path = Path(path)
    readers = {".parquet": _parquet, ".jsonl": _jsonl, ".txt": _text}
    if path.suffix not in readers:
        raise UserError(f"{path}: prompts come from a .parquet, .jsonl or .txt file; rename or convert it")
    try:
        prompts = [_checked(prompt, f"{path}: {where}") for where, prompt in readers[path.suffix](path)]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); convert it") from error
    except OSError as error:
        raise UserError(f"{path}: cannot read the prompts: {error.strerror or error}") from error
    if not prompts:
        raise UserError(f"{path}: no prompts in it; give at least one")
    return prompts


def encode_prompts(prompts: Iterable[Prompt], tokenizer: Any, system: str = "") -> list[list[int]]:
    """Token ids of each prompt, through the tokenizer's chat template where it has one.

    `system` goes before a prompt that is a string. Without a chat template a prompt's texts are joined by
    newlines. Raises UserError for messages that the template refuses.
    """
    encoded = []
    for number, prompt in enumerate(prompts, start=1):
        messages = prompt
        if isinstance(messages, str):
            messages = [{"role": "system", "content": system}] if system else []
            messages = [*messages, {"role": "user", "content": str(prompt)}]
        if tokenizer.chat_template:
            try:
                text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            except Exception as error:  # each template raises errors of its own
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                remedy = (
                    "pass system='', or a template that takes a system message"
                    if isinstance(prompt, str) and system
                    else "write messages with roles that it takes"
                )
                raise UserError(
                    f"prompt {number}: the chat template refuses it ({reason}); {remedy}"
                ) from error
            encoded.append(tokenizer.encode(text, add_special_tokens=False))
        else:
            encoded.append(tokenizer.encode("\n".join(message["content"] for message in messages)))
    return encoded


def pad_left(token_lists: Sequence[Sequence[int]], pad_token_id: int) -> np.ndarray:
    """int64 [rows, longest], filled up on the left."""
    longest = max(map(len, token_lists))
    return np.array(
        [[pad_token_id] * (longest - len(tokens)) + list(tokens) for tokens in token_lists], np.int64
    )


def _parquet(path: Path) -> Iterable[tuple[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(f"{path}: reading parquet needs pyarrow; pip install pyarrow") from error
    try:
        file = pyarrow.parquet.ParquetFile(path)
        if "prompt" not in file.schema_arrow.names:
            raise UserError(f"{path}: no column 'prompt' among {', '.join(file.schema_arrow.names)}; add it")
        column = file.read(columns=["prompt"])["prompt"].to_pylist()
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: not a readable parquet file ({str(error).splitlines()[0]})") from error
    return ((f"row {index}", prompt) for index, prompt in enumerate(column))


def _jsonl(path: Path) -> Iterable[tuple[str, Any]]:
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if line.strip():
            try:
                entry = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise UserError(f"{path}: line {number}: not JSON ({error})") from error
            if not isinstance(entry, dict) or "prompt" not in entry:
                raise UserError(f"{path}: line {number}: no key 'prompt'; each line is an object with one")
            yield f"line {number}", entry["prompt"]


def _text(path: Path) -> Iterable[tuple[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return ((f"line {number}", line) for number, line in enumerate(lines, start=1) if line.strip())


def _checked(prompt: Any, where: str) -> Prompt:
    if isinstance(prompt, str) and prompt.strip():
        return prompt
    fields = ("role", "content")
    if (
        isinstance(prompt, list)
        and prompt
        and all(isinstance(m, dict) and all(isinstance(m.get(f), str) for f in fields) for m in prompt)
    ):
        return [{field: message[field] for field in fields} for message in prompt]
    raise UserError(
        f"{where}: 'prompt' must be a non-empty string or a list of messages with role and content"
    )


def require_room(number: int, tokens: Sequence[int], most: int) -> None:
    """Raise UserError for a prompt that leaves an engine of `most` tokens (max_model_len) no room for a response."""
    if len(tokens) >= most:
        raise UserError(
            f"prompt {number} has {len(tokens)} tokens and the engine takes {most} with the response; shorten it "
            "or raise max_model_len"
        )
