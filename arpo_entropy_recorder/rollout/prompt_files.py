"""Prompts from a file: `.parquet`, `.jsonl` or `.txt`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeGuard

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rollout.prompts import Prompt
from arpo_entropy_recorder.step_files.json_text import json_lines, json_list, parse_json

KEY = "prompt"
# Columns with what a text model is not given, and the types of such parts in a message's content.
MEDIA = ("images", "image", "videos", "video", "audios", "audio")
MEDIA_PARTS = (*MEDIA, "image_url", "input_image", "input_audio", "video_url")


def load_prompts(
    path: str | Path, key: str = KEY, say: Callable[[str], object] = lambda line: None
) -> list[Prompt]:
    """The prompts of a file.

    `.parquet` and `.jsonl` have a column or key `key`: chat messages as in ARPO's data, a text, or messages as JSON
    text; `.txt` has one prompt per line. Images are left out, and `say` is called with a line that counts them.
    Raises UserError naming the file and the entry.
    """
    path = Path(path)
    readers = {".parquet": _parquet, ".jsonl": _jsonl, ".txt": _text}
    if path.suffix not in readers:
        raise UserError(f"{path}: prompts come from a .parquet, .jsonl or .txt file; rename or convert it")
    prompts, with_media = [], 0
    try:
        for where, entry in readers[path.suffix](path, key):
            prompt, has_media = _checked(entry[key], f"{path}: {where}", key)
            prompts.append(prompt)
            with_media += has_media or any(entry.get(name) for name in MEDIA)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); convert it") from error
    except OSError as error:
        raise UserError(f"{path}: cannot read the prompts: {error.strerror or error}") from error
    if not prompts:
        raise UserError(f"{path}: no prompts in it; give at least one")
    if with_media:
        say(
            f"{path}: {with_media:,} of {len(prompts):,} prompts have images or other media, which are left out"
        )
    return prompts


def _parquet(path: Path, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(f"{path}: reading parquet needs pyarrow; pip install pyarrow") from error
    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = file.schema_arrow.names
        if key not in names:
            raise UserError(
                f"{path}: no column {key!r} among {', '.join(names)}; add it, or name the one to use"
            )
        media = [_has_media(file.read(columns=[name])[name]) for name in MEDIA if name in names]
        column = file.read(columns=[key])[key].to_pylist()
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: not a readable parquet file ({str(error).splitlines()[0]})") from error
    for index, prompt in enumerate(column):
        yield f"row {index}", {key: prompt, MEDIA[0]: any(of_rows[index] for of_rows in media)}


def _has_media(column: Any) -> list[Any]:
    """For each row of a column whether it holds anything; images themselves are not turned into Python objects."""
    import pyarrow
    import pyarrow.compute

    is_list = pyarrow.types.is_list(column.type)
    return list((pyarrow.compute.list_value_length(column) if is_list else column.is_valid()).to_pylist())


def _jsonl(path: Path, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in json_lines(path.read_bytes()):
        try:
            entry = parse_json(line)
        except ValueError as error:
            raise UserError(f"{path}: line {number}: not JSON ({error})") from error
        if not isinstance(entry, dict) or key not in entry:
            raise UserError(f"{path}: line {number}: no key {key!r}; each line is an object with one")
        yield f"line {number}", entry


def _text(path: Path, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    # Lines end with a newline alone: U+2028, a form feed and the like are characters of a prompt.
    lines = path.read_bytes().decode("utf-8-sig").split("\n")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield f"line {number}", {key: line.removesuffix("\r")}


def _checked(prompt: Any, where: str, key: str) -> tuple[Prompt, bool]:
    """The prompt, and whether it has images or other media."""
    if isinstance(prompt, str) and _are_messages(found := json_list(prompt)):
        prompt = found
    if isinstance(prompt, str) and prompt.strip():
        return prompt, False
    if _are_messages(prompt):
        contents = [_content(message["content"], where, key) for message in prompt]
        roles = [message["role"] for message in prompt]
        messages = [{"role": role, "content": text} for role, (text, _) in zip(roles, contents, strict=True)]
        return messages, any(has_media for _, has_media in contents)
    raise UserError(
        f"{where}: {key!r} must be a non-empty string or a list of messages with role and content"
    )


def _are_messages(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and bool(value) and all(map(_is_message, value))


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("role"), str)
        and isinstance(value.get("content"), str | list)
    )


def _content(content: str | list[Any], where: str, key: str) -> tuple[str, bool]:
    """A message's text, and whether it had parts that are no text."""
    if isinstance(content, str):
        return content, False
    texts, has_media = [], False
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind in MEDIA_PARTS:
            has_media = True
        else:
            raise UserError(f"{where}: {key!r} has a message with a part that is neither text nor an image")
    return "".join(texts), has_media
