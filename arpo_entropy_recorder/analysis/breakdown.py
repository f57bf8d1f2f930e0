"""Accumulators for what changes with the training step, the tool and the position within a segment."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from arpo_entropy_recorder.analysis.statistics import (
    MAX_BOOTSTRAP,
    MIN_INTERVAL,
    START,
    Group,
    split_rounds,
)
from arpo_entropy_recorder.errors import printable
from arpo_entropy_recorder.step_files.read import Step


def _small() -> Group:
    return Group(kept=MAX_BOOTSTRAP)


@dataclass
class Curve:
    """A mean over global steps, float64[steps]; `low` and `high` bound its band and are NaN where there is none.

    `records`, float64[n, 2], are step and entropy of the records where a step has too few for a band.
    """

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    records: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))


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
        """Each round's mean with its 95 % interval over the steps that have records of it.

        Computed once, since a bootstrap for each step and round takes its time: ask when all is added.
        """
        found: dict[int, list[tuple[float, ...]]] = {}
        few: dict[int, list[tuple[float, float]]] = {}
        for step, cells in sorted(self.cells.items()):
            for number, group in cells.items():
                if group.n:
                    found.setdefault(number, []).append((step, group.mean, *group.interval()))
                if group.n < MIN_INTERVAL:
                    few.setdefault(number, []).extend((step, value) for value in group.points())
        curves = {}
        for number, rows in sorted(found.items()):
            steps, mean, low, high = np.array(rows, float).T
            curves[number] = Curve(
                steps, mean, low, high, np.array(few.get(number, []), float).reshape(-1, 2)
            )
        return curves


@dataclass
class ByTools:
    """Entropies by tool and round, after that tool's results."""

    groups: dict[str, dict[int, Group]] = field(default_factory=dict)
    totals: dict[str, Group] = field(default_factory=dict)

    def add(self, step: Step) -> None:
        columns = step.columns
        if "tool" not in columns:
            return
        after = columns["is_after_tool_call"] & ~np.isnan(columns["entropy"])
        recorded = columns["tool"].tolist()
        names = {tool: printable(tool or "(not named)") for tool in set(recorded)}
        tools = np.array([names[tool] for tool in recorded], dtype=object)
        for tool in sorted(set(tools[after])):
            of_tool = after & (tools == tool)
            self.totals.setdefault(tool, Group()).add(columns["entropy"][of_tool])
            for number in np.unique(columns["round"][of_tool]).tolist():
                group = self.groups.setdefault(tool, {}).setdefault(number, Group())
                group.add(columns["entropy"][of_tool & (columns["round"] == number)])


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
