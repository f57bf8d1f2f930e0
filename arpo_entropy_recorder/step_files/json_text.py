"""JSON as other programs write it: with a byte order mark, and with NaN and Infinity, which JSON does not have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson

BOM = b"\xef\xbb\xbf"


def parse_json(text: bytes) -> Any:
    """The value of a JSON text; NaN and Infinity, as Python's `json.dumps` writes them, are floats.

    Raises ValueError with a message of one line.
    """
    text = text.removeprefix(BOM)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in text and b"Infinity" not in text:
            raise
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise error from None


def json_list(text: str) -> list[Any]:
    """The list that a text is in JSON; empty for any other text."""
    if not text.lstrip().startswith("["):
        return []
    try:
        return parse_json(text.encode())
    except ValueError:
        return []


def json_lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The texts of a file with one JSON value a line, each with its line's number from 1; blank lines are left out.

    A line ends with a newline alone: other separators may stand in a JSON string.
    """
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            yield number, line
