"""How entropies are distributed at each step, by round and tool: log bins, so that a page may pool what it likes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from arpo_entropy_recorder.analysis.breakdown import by_tool
from arpo_entropy_recorder.step_files.read import Step
from arpo_entropy_recorder.step_files.rows import number_rows

# Bin 0 holds what is below LOWEST, 0 too; the others divide LOWEST to 1 evenly on a log scale: 9.5 % each.
BINS, LOWEST = 128, 1e-5
# The round under which the trajectories' starts are kept: a record after a tool result may claim round 0.
START = -1


@dataclass
class Histograms:
    """Counts by bin of the entropies of each (step, round, tool), and their sums. Null entropies are left out.

    Tool 0 stands for none: the starts, and records of a file that names no tools; tool i is `tools[i - 1]`.
    """

    tools: list[str] = field(default_factory=list)
    _keys: list[np.ndarray] = field(default_factory=list, repr=False)
    _counts: list[np.ndarray] = field(default_factory=list, repr=False)
    _sums: list[np.ndarray] = field(default_factory=list, repr=False)

    def add(self, step: Step) -> None:
        """Take a step; the same number may come again, with other records."""
        entropy = step.columns["entropy"]
        known = ~np.isnan(entropy)
        after, starts = step.columns["is_after_tool_call"] & known, step.starts & known
        tool = np.zeros(len(step), int)
        for name, of_tool in by_tool(step, after):
            if name not in self.tools:
                self.tools.append(name)
            tool[of_tool] = self.tools.index(name) + 1
        for rows, rounds in ((starts, np.full(len(step), START)), (after, step.columns["round"])):
            if rows.any():
                self._take(step.global_step, rounds[rows], tool[rows], entropy[rows])

    def _take(self, global_step: int, rounds: np.ndarray, tool: np.ndarray, entropy: np.ndarray) -> None:
        first, group = number_rows((rounds, tool))
        keys = np.stack([rounds[first], tool[first]])
        cell = group * BINS + bin_of(entropy)
        counts = np.bincount(cell, minlength=keys.shape[1] * BINS).reshape(-1, BINS)
        self._keys.append(np.concatenate([np.full((1, keys.shape[1]), global_step), keys]))
        self._counts.append(counts.astype(np.uint32))
        self._sums.append(np.bincount(group, entropy, minlength=keys.shape[1]))

    @property
    def keys(self) -> np.ndarray:
        """Step, round and tool of each group, int64[3, groups]."""
        return np.concatenate([np.empty((3, 0), int), *self._keys], axis=1)

    @property
    def counts(self) -> np.ndarray:
        """Records by group and bin, uint32[groups, BINS]."""
        return np.concatenate([np.empty((0, BINS), np.uint32), *self._counts])

    @property
    def sums(self) -> np.ndarray:
        """The sum of each group's entropies, float64[groups]."""
        return np.concatenate([np.empty(0), *self._sums])


def bin_of(entropy: np.ndarray) -> np.ndarray:
    """The bin of each entropy, int64[n]."""
    place = 1 + (BINS - 1) * (1 - np.log10(np.maximum(entropy, LOWEST / 2)) / np.log10(LOWEST))
    return np.clip(np.floor(place), 0, BINS - 1).astype(int)
