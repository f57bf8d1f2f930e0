"""Search results by query, from a JSON object as ARPO's search cache is, or one object a line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arpo_entropy_recorder.errors import UserError, shorten
from arpo_entropy_recorder.rollout.tools.tool import ToolError
from arpo_entropy_recorder.step_files.json_text import json_lines, parse_json

LIMIT = 8192
"""Characters of a result that the policy is shown."""

# Where search engines and retrieval servers keep a list of pages, and a page's texts in the order of reading.
PAGES = ("results", "result", "pages", "documents", "organic", "items")
TEXTS = ("title", "snippet", "text", "contents", "content", "description", "summary")
INNER = "document"  # Search-R1's retrieval server: {"document": {"contents": ...}, "score": ...}


class SearchCache:
    """Results looked up by the exact query, white space around it aside. Nothing is fetched or written.

    A result is a text, or pages that are joined by newlines; null is no result. Raises UserError for any other.
    """

    def __init__(self, path: Path):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot read the search cache: {error.strerror}") from error
        self._results: dict[str, str] = {}
        first_spelling: dict[str, str] = {}
        for query, value in _entries(data, path):
            result = _as_text(value, f"{path}: key {shorten(query)!r}")
            known = first_spelling.setdefault(query.strip(), query)
            if known != query and self._results.get(query.strip()) != result:
                raise UserError(
                    f"{path}: keys {known!r} and {query!r} differ in white space alone and have different results; "
                    "leave one of them out"
                )
            if result is not None:
                self._results[query.strip()] = result

    def __call__(self, content: str, /) -> str:
        try:
            return self._results[content.strip()][:LIMIT]
        except KeyError:
            raise ToolError("No result for this query.") from None


def _entries(data: bytes, path: Path) -> Iterator[tuple[str, Any]]:
    """Queries and results, of one object or of one a line."""
    try:
        values = [parse_json(data)]
    except ValueError as error:
        try:
            values = [parse_json(line) for _, line in json_lines(data)]
        except ValueError:
            raise UserError(
                f"{path}: not JSON ({error}); a search cache is one object, query to result"
            ) from error
    for value in values:
        if not isinstance(value, dict):
            raise UserError(
                f"{path}: a search cache is one JSON object, query to result; this is another value"
            )
        yield from value.items()


def _as_text(value: Any, where: str) -> str | None:
    """A result as the policy is given it; None for null, and for NaN, as pandas writes it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(filter(None, (_as_text(page, where) for page in value)))
    if isinstance(value, dict):
        if (
            pages := next((value[key] for key in PAGES if isinstance(value.get(key), list)), None)
        ) is not None:
            return _as_text(pages, where)
        if isinstance(value.get(INNER), dict | str):
            return _as_text(value[INNER], where)
        texts = [value[key] for key in TEXTS if isinstance(value.get(key), str)]
        if texts:
            return "\n".join(texts)
    raise UserError(
        f"{where}: its value must be a string, the result as text, or pages with {' or '.join(TEXTS[:3])}"
    )
