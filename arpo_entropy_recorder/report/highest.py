"""The trajectories with the highest entropy after a tool result, kept while steps stream past."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from arpo_entropy_recorder.analysis.pairs import initial_entropies
from arpo_entropy_recorder.step_files.read import Step


@dataclass(frozen=True)
class Record:
    """One segment of a trajectory, as recorded; `entropies` are those of its first tokens, NaN for null."""

    round: int
    tool: str | None
    is_after_tool_call: bool
    entropies: np.ndarray
    tokens: list[int] | None


@dataclass(frozen=True)
class Trajectory:
    """A trajectory's records in order; `initial` is NaN where it is not known (a branch has its parent's)."""

    global_step: int
    path: Path | None
    call: int
    dp_rank: int | None
    sample_idx: int
    parent_idx: int | None
    initial: float
    records: list[Record]

    @property
    def highest(self) -> float:
        """The highest first-token entropy after a tool result."""
        return max(r.entropies[0] for r in self.records if r.is_after_tool_call and r.entropies[0] >= 0)

    @property
    def tools(self) -> list[str]:
        return sorted({record.tool for record in self.records if record.tool})


@dataclass
class Highest:
    """The `most` trajectories of all steps with the highest after-tool entropies."""

    most: int
    _heap: list[tuple[float, int, Trajectory]] = field(default_factory=list, repr=False)
    _count: itertools.count = field(default_factory=itertools.count, repr=False)

    def add(self, step: Step) -> None:
        columns = step.columns
        after = columns["is_after_tool_call"] & ~np.isnan(columns["entropy"])
        if not after.any() or not self.most:
            return
        of, initial = initial_entropies(step)
        peak = np.full(len(initial), -1.0)
        np.maximum.at(peak, of[after], columns["entropy"][after])
        least = self._heap[0][0] if len(self._heap) == self.most else -1.0
        best = np.argsort(-peak, kind="stable")[: self.most]
        for number in best[peak[best] > least]:
            item = (float(peak[number]), -next(self._count), _take(step, of == number, initial[number]))
            (heapq.heappush if len(self._heap) < self.most else heapq.heappushpop)(self._heap, item)

    def trajectories(self) -> list[Trajectory]:
        """The highest first; of equals the one that came first."""
        return [trajectory for *_, trajectory in sorted(self._heap, key=lambda item: item[:2], reverse=True)]


def _take(step: Step, rows: np.ndarray, initial: float) -> Trajectory:
    columns = {name: column[rows] for name, column in step.columns.items()}

    def first(name: str) -> Any:
        value = columns[name][0].item() if name in columns else -1
        return None if value == -1 else value

    records = []
    for at in range(len(columns["entropy"])):
        window = columns["window"][at] if "window" in columns else np.empty(0)
        tokens = columns["tokens"][at].tolist() if "tokens" in columns else None
        width = len(window) if tokens is None else min(len(window), len(tokens))
        records.append(
            Record(
                int(columns["round"][at]),
                columns["tool"][at] if "tool" in columns else None,
                bool(columns["is_after_tool_call"][at]),
                np.concatenate([columns["entropy"][at : at + 1], window[1:width]]),
                tokens or None,
            )
        )
    return Trajectory(
        step.global_step, step.path, first("call") or 0, first("dp_rank"), int(columns["sample_idx"][0]),
        first("parent_idx"), float(initial), records,
    )  # fmt: skip
