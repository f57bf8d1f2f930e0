"""What a tool's result looks like, so that it is told from other text that a loop appends."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate
from typing import NamedTuple

from arpo_entropy_recorder.recorder.token_lists import common_prefix
from arpo_entropy_recorder.step_files.schema import NO_TOOLS

# How much of a text is looked at: tokens that surely hold a tag and the white space around it, however they are cut.
EDGE = 24
STOP_TAG = re.compile(r"</([\w.-]+)>\s*$")


class Span(NamedTuple):
    """A result within a token list: tokens [start, end), and the tag of the tool that was called, if known."""

    start: int
    end: int
    tool: str | None


class ResultForm:
    """Judges appended text by its tokens, and learns from each sure result how results begin.

    `ends(tokens)` says whether text is a result by the way it ends, `begins(tokens)` by the way it begins. `tools`
    are the tags of the tools; without any every stop tag but `</think>` and `</answer>` calls one.
    """

    def __init__(
        self,
        ends: Callable[[list[int]], bool] = lambda tokens: False,
        begins: Callable[[list[int]], bool] = lambda tokens: False,
        tools: Collection[str] = (),
    ) -> None:
        self._ends, self._begins, self._tools = ends, begins, tools
        # What all sure results of a tool have begun with so far.
        self._openers: dict[str | None, list[int]] = {}
        # The tools whose opener alone already begins as a result does.
        self._sure_openers: set[str | None] = set()
        self._all_begin = False

    def tool_of(self, stop_reason: object) -> str | None:
        """The tag of the tool that a segment with this stop reason has called: `search` for `</search>`."""
        found = STOP_TAG.search(stop_reason) if isinstance(stop_reason, str) else None
        tag = found.group(1) if found else None
        # What may follow NO_TOOLS is no tool's result, whatever stop strings a loop has.
        is_tool = tag in self._tools if self._tools else tag not in NO_TOOLS
        return tag if is_tool else None

    def is_whole(self, tokens: list[int]) -> bool:
        """Whether `tokens` end as a result does."""
        return self._ends(tokens)

    def judge(self, tokens: list[int], tool: str | None) -> bool | None:
        """Whether `tokens`, appended after `tool` was called (None: no call), are a result; None: not known yet."""
        if not tokens:
            return False
        # Tokens are compared first: what ends and begins a text may have to be decoded for.
        if any(opener and tokens[: len(opener)] == opener for opener in self._openers.values()):
            return True
        if self._ends(tokens) or self._begins(tokens):
            return True
        if tool is None or self._all_begin:
            return False
        opener = self._openers.get(tool)
        return False if opener and tokens[0] != opener[0] else None

    def learn(self, tokens: list[int], tool: str | None) -> None:
        """Remember how `tokens`, a result of `tool`, begin."""
        known = self._openers.get(tool)
        if known and tokens[: len(known)] == known and (tool in self._sure_openers or not self._all_begin):
            # Nothing new, as with nearly all results; `begins` may have to decode.
            return
        self._all_begin = (self._all_begin or not self._openers) and self._begins(tokens)
        head = tokens[:EDGE]
        opener = head[: common_prefix(head, head if known is None else known)]
        self._openers[tool] = opener
        if self._all_begin and opener and self._begins(opener):
            self._sure_openers.add(tool)
        else:
            self._sure_openers.discard(tool)

    def find(self, tokens: list[int]) -> list[Span]:
        """The results in a text whose history is not known."""
        ends = [i for i in range(1, len(tokens) + 1) if self._ends(tokens[:i])]
        starts = [0, *ends][: len(ends)]
        return [Span(self._start(tokens, *edges), edges[1], None) for edges in zip(starts, ends, strict=True)]

    def _start(self, tokens: list[int], low: int, high: int) -> int:
        return next((i for i in range(low, high) if self._begins(tokens[i:high])), high - 1)


class TextResultForm(ResultForm):
    """The same by text: a result ends with `end` and, if `start` is not empty, begins with `start`."""

    def __init__(
        self,
        decode: Callable[[list[int]], str],
        end: str,
        start: str,
        tools: Collection[str] = (),
    ) -> None:
        super().__init__(
            lambda tokens: decode(tokens[-EDGE:]).rstrip().endswith(end),
            lambda tokens: bool(start) and decode(tokens[:EDGE]).lstrip().startswith(start),
            tools,
        )
        self._decode = decode
        self._text_of: dict[int, str] = {}
        # A result follows the call of a tool; one that has begun may be cut at the text's end.
        close = rf"(?:{re.escape(end)}|\Z)" if start else re.escape(end)
        self._result = re.compile(rf"</([\w.-]+)>(\s*{re.escape(start)}.*?{close})", re.DOTALL)

    def text(self, tokens: Sequence[int]) -> str:
        """What `tokens` read, for a message."""
        return self._decode(list(tokens))

    def find(self, tokens: list[int]) -> list[Span]:
        for token in set(tokens) - self._text_of.keys():
            self._text_of[token] = self._decode([token])
        texts = [self._text_of[token] for token in tokens]
        offsets = list(accumulate(map(len, texts), initial=0))
        spans = []
        for found in self._result.finditer("".join(texts)):
            tool, (start, end) = self.tool_of(f"</{found[1]}>"), found.span(2)
            if tool is not None and end > start:
                spans.append(Span(bisect_left(offsets, start), bisect_left(offsets, end), tool))
        return spans


def start_of(end: str) -> str:
    """`<result>` for `</result>`; nothing for an end that is no closing tag."""
    tag = re.fullmatch(r"</([\w.-]+)>", end)
    return f"<{tag.group(1)}>" if tag else ""
