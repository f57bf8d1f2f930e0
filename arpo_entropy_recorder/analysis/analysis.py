"""Everything that figures and tables are made of, gathered in one pass over the steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import partial

from arpo_entropy_recorder.analysis.breakdown import ByPosition, BySteps, ByTools
from arpo_entropy_recorder.analysis.pairs import Pairs
from arpo_entropy_recorder.analysis.selection import KINDS, accumulate
from arpo_entropy_recorder.analysis.statistics import Origins, Rounds
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.step_files.read import Step

PARTS = ("steps", "tools", "positions", "pairs")


@dataclass
class Analysis:
    """What the records hold; of `parts`, only those asked for are filled. `kind` is one of KINDS."""

    parts: Collection[str] = PARTS
    kind: str = KINDS[0]
    origins: Origins = field(default_factory=Origins)
    rounds: Rounds = field(default_factory=Rounds)
    steps: BySteps = field(default_factory=BySteps)
    tools: ByTools = field(default_factory=ByTools)
    positions: ByPosition = field(default_factory=ByPosition)
    pairs: Pairs = field(default_factory=Pairs)

    def add(self, step: Step) -> None:
        self.origins.add(step)
        self.rounds.add(step)
        for part in self.parts:
            getattr(self, part).add(step)


def analyse(steps: Iterable[Step], parts: Collection[str] = PARTS) -> tuple[Analysis, Counter[str]]:
    """Read all steps once; returns what they hold and what was left out (see `accumulate`).

    Raises UserError where no record is after a tool call.
    """
    analysis, left_out, kind = accumulate(steps, partial(Analysis, parts))
    analysis.kind = kind
    require_after_tool(analysis.rounds)
    return analysis, left_out


def require_after_tool(rounds: Rounds) -> None:
    """Raise UserError, in one clear line, where no entropy was recorded after a tool result."""
    if not rounds.by_round:
        raise UserError(
            "nothing to show: no record with an entropy is after a tool call (is_after_tool_call); from before "
            f"one: {rounds.initial.n:,}; did the policy call any tool?"
        )
