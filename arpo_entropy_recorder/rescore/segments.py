"""Split a response by its tags into what the policy wrote and what tools answered."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from arpo_entropy_recorder.step_files.schema import RESULT_TAG

ARPO_TOOLS = ("search", "python")
# vLLM stops at the token that completes `</search>`, which may hold a few more characters (`>\n`, `>.`).
OVERFLOW = 8


@dataclass(frozen=True)
class Part:
    """A stretch of a response. Parts joined are the response; `tool` names the tool of a result, else None."""

    text: str
    tool: str | None = None

    @property
    def is_result(self) -> bool:
        return self.tool is not None


def split_response(text: str, tools: Sequence[str] = ARPO_TOOLS) -> list[Part]:
    """The parts of a response in order; a part is never empty.

    A result is ` <result>\\n...\\n</result>` right after the closing tag of one of `tools`; one that is cut
    short runs to the end. A `<result>` anywhere else is the policy's own writing.
    """
    parts, start = [], 0
    for match in _pattern(tools).finditer(text):
        written = text[start : match.start("result")]
        parts += [Part(written)] if written else []
        parts.append(Part(match["result"], match["tool"]))
        start = match.end()
    return [*parts, Part(text[start:])] if text[start:] else parts


def has_result(text: str, tools: Sequence[str] = ARPO_TOOLS) -> bool:
    """True if the response holds a tool's result."""
    return _pattern(tools).search(text) is not None


def _pattern(tools: Sequence[str]) -> re.Pattern[str]:
    names = "|".join(map(re.escape, tools))
    # Where the result opens with a line of its own it closes with one, too: its text may mention the tag.
    whole = rf"<{RESULT_TAG}>(?:\n.*?(?:\n</{RESULT_TAG}>|\Z)|(?!\n).*?(?:</{RESULT_TAG}>|\Z))"
    return re.compile(rf"</(?P<tool>{names})>[^<]{{0,{OVERFLOW}}}?(?P<result>[ \n]?{whole})", re.DOTALL)
