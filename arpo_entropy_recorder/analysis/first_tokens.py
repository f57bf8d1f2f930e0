"""Which token ids segments begin with: where nearly all begin alike, their first token tells of formatting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from arpo_entropy_recorder.step_files.read import Step

MAX_SHARE = 0.8


@dataclass(frozen=True)
class Commonest:
    """The token id that begins most of the segments after a tool result, or of the starts: `count` of `n` known."""

    after_tool: bool
    token_id: int
    count: int
    n: int

    @property
    def share(self) -> float:
        """Of all that are known, from 0 to 1."""
        return self.count / self.n


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

    def commonest(self) -> Iterator[Commonest]:
        """One of the starts and one of the segments after a tool result, where any is known."""
        for after_tool, counter in ((False, self.starts), (True, self.after_tool)):
            for token_id, count in counter.most_common(1):
                yield Commonest(after_tool, token_id, count, counter.total())

    def dominant(self) -> list[Commonest]:
        """Those that are more than 80 % of the starts, or of the first tokens after a tool."""
        return [token for token in self.commonest() if token.share > MAX_SHARE]
