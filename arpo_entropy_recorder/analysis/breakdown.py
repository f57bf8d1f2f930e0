"""Accumulators for what changes with the training step, the tool and the position within a segment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from arpo_entropy_recorder.analysis.statistics import MAX_BOOTSTRAP, START, Group, split_rounds
from arpo_entropy_recorder.errors import printable
from arpo_entropy_recorder.step_files.read import Step


def _small() -> Group:
    return Group(kept=MAX_BOOTSTRAP)


@dataclass
class Curve:
    """A round's mean over global steps, float64[steps], and the records' `groups` behind it; a log has none."""

    steps: np.ndarray
    mean: np.ndarray
    groups: Sequence[Group] = ()


@dataclass
class BySteps:
    """Entropies by global step and round; round 0 holds those of the trajectories' first records."""

    cells: dict[int, dict[int, Group]] = field(default_factory=dict)

    def add(self, step: Step) -> None:
        cells = self.cells.setdefault(step.global_step, {})
        initial, after = split_rounds(step)
        for number, values in {START: initial, **after}.items():
            cells.setdefault(number, _small()).add(values)

    @cached_property
    def curves(self) -> dict[int, Curve]:
        """Each round's mean over the steps that have records of it; ask when all is added."""
        found: dict[int, list[tuple[int, Group]]] = {}
        for step, cells in sorted(self.cells.items()):
            for number, group in cells.items():
                if group.n:
                    found.setdefault(number, []).append((step, group))
        return {
            number: Curve(
                np.array([step for step, _ in rows], float),
                np.array([group.mean for _, group in rows]),
                [group for _, group in rows],
            )
            for number, rows in sorted(found.items())
        }

    @property
    def numbers(self) -> np.ndarray:
        """The global steps that have a record, in order, int64[steps]."""
        return np.unique(np.concatenate([curve.steps for curve in self.curves.values()])).astype(int)


@dataclass
class ByTools:
    """Entropies by tool and round, after that tool's results."""

    groups: dict[str, dict[int, Group]] = field(default_factory=dict)
    totals: dict[str, Group] = field(default_factory=dict)

    def add(self, step: Step) -> None:
        columns = step.columns
        after = columns["is_after_tool_call"] & ~np.isnan(columns["entropy"])
        for tool, of_tool in by_tool(step, after):
            self.totals.setdefault(tool, Group()).add(columns["entropy"][of_tool])
            for number in np.unique(columns["round"][of_tool]).tolist():
                group = self.groups.setdefault(tool, {}).setdefault(number, Group())
                group.add(columns["entropy"][of_tool & (columns["round"] == number)])


def by_tool(step: Step, records: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The tools that `records`, bool[n], name, in order, each with those of them after its results, bool[n]."""
    if "tool" not in step.columns:
        return
    told, place = step.tools
    shown = [shown_tool(tool) for tool in told]
    for tool in sorted({shown[number] for number in np.unique(place[records]).tolist()}):
        yield tool, records & np.isin(place, [number for number, name in enumerate(shown) if name == tool])


def shown_tool(tool: str | None) -> str:
    """A record's tool as it is shown and told from others."""
    return printable(tool or "(not named)")


@dataclass
class ByPosition:
    """Entropies of a segment's first k tokens, after a tool result and at the answer's start."""

    after_tool: list[Group] = field(default_factory=list)
    initial: list[Group] = field(default_factory=list)

    def add(self, step: Step) -> None:
        window = step.columns.get("window")
        if window is None:
            return
        after = step.columns["is_after_tool_call"]
        for groups, mask in ((self.after_tool, after), (self.initial, step.starts)):
            groups.extend(_small() for _ in range(window.shape[1] - len(groups)))
            for group, values in zip(groups, window[mask].T, strict=False):
                group.add(values)
