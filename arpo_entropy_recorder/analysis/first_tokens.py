"""Which token ids segments begin with: where nearly all begin alike, their first token tells of formatting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from arpo_entropy_recorder.step_files.read import Step

MAX_SHARE = 0.8


class Dominant(NamedTuple):
    """A token id that begins a `share` above MAX_SHARE of the segments after a tool result, or of the starts."""

    after_tool: bool
    token_id: int
    share: float


@dataclass
class FirstTokens:
    """How often each token id begins a trajectory, and a segment after a tool result."""

    starts: Counter[int] = field(default_factory=Counter)
    after_tool: Counter[int] = field(default_factory=Counter)

    def add(self, step: Step) -> None:
        tokens = step.columns.get("token_id")
        if tokens is None:
            return
        known = (tokens >= 0) & ~np.isnan(step.columns["entropy"])
        for counter, mask in (
            (self.starts, step.starts),
            (self.after_tool, step.columns["is_after_tool_call"]),
        ):
            found, counts = np.unique(tokens[known & mask], return_counts=True)
            counter.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))

    def most_common(self) -> Iterator[tuple[bool, int, int, int]]:
        """(after_tool, token id, its count, all that are known) of the commonest one of each kind that has any."""
        for after_tool, counter in ((False, self.starts), (True, self.after_tool)):
            for token_id, count in counter.most_common(1):
                yield after_tool, token_id, count, counter.total()

    def dominant(self) -> list[Dominant]:
        """The token ids that are more than 80 % of the starts, or of the first tokens after a tool."""
        return [
            Dominant(after_tool, token_id, count / total)
            for after_tool, token_id, count, total in self.most_common()
            if count / total > MAX_SHARE
        ]
