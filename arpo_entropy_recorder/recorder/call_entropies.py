"""One call's entropies as metrics and warnings need them: what counts, what is a start, and each prompt's two means.

A prompt's A is the mean, over its trajectories that have both, of their mean after-tool entropies, B the mean of
their starts. `analysis/ratio.py` takes the same from step files.
"""

from __future__ import annotations

from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np


class CallEntropies:
    """One call's records, as `call_columns` makes them; what metrics and log both need of them is found once.

    entropy: float64[n], normalised, NaN for null. rounds: int64[n]. after: bool[n], after a tool result.
    real: bool[n], no padding. counted: bool[n], no padding and with an entropy.
    """

    def __init__(self, columns: dict[str, Any]) -> None:
        self.columns = columns
        self.entropy = np.asarray(columns["entropy"], dtype=np.float64)
        self.rounds, self.after = np.asarray(columns["round"]), np.asarray(columns["is_after_tool_call"])
        padding = columns.get("padding")
        self.real = np.ones(len(self.entropy), dtype=bool) if padding is None else ~np.asarray(padding)
        self.counted = self.real & ~np.isnan(self.entropy)

    @property
    def num_results(self) -> int:
        """The segments after a tool result."""
        return int(np.count_nonzero(self.after & self.real))

    @cached_property
    def starts(self) -> np.ndarray:
        """True, bool[n], for a trajectory's first record if it comes before any tool result and begins a response."""
        # What goes on after a length limit is round 0 too, but no start: only a trajectory's first record is one.
        first = np.zeros(len(self.rounds), dtype=bool)
        first[np.unique(np.asarray(self.columns["sample_idx"]), return_index=True)[1]] = True
        # Nor is what begins amid a response: as a branch, or as a trajectory whose beginning was written elsewhere.
        if "parent_idx" in self.columns:
            first &= np.array([parent is None for parent in self.columns["parent_idx"]], dtype=bool)
        if "mid_start" in self.columns:
            first &= ~np.asarray(self.columns["mid_start"])
        return first & ~self.after & (self.rounds == 0)

    @cached_property
    def prompt_means(self) -> tuple[np.ndarray, np.ndarray]:
        """A and B of the prompts that have both, float64[prompts] each; a branch's start is its parent's."""
        entropy, samples = self.entropy, np.asarray(self.columns["sample_idx"])
        starts = dict(
            zip(samples[m := self.starts & self.counted].tolist(), entropy[m].tolist(), strict=True)
        )
        parents = dict(
            zip(samples.tolist(), self.columns.get("parent_idx") or [None] * len(samples), strict=True)
        )
        rows = self.columns.get("prompt_idx") or [None] * len(samples)
        prompts = dict(zip(samples.tolist(), rows, strict=True))
        after_tool: dict[int, list[float]] = {}
        chosen = self.counted & self.after
        for sample, value in zip(samples[chosen].tolist(), entropy[chosen].tolist(), strict=True):
            after_tool.setdefault(sample, []).append(value)
        means: dict[Any, list[tuple[float, float]]] = {}
        for sample, values in after_tool.items():
            ancestor = sample
            while ancestor not in starts and parents.get(ancestor) is not None:
                ancestor = parents[ancestor]
            if ancestor in starts:
                row = prompts[sample]
                prompt = ("row", row) if row is not None else ("trajectory", sample)
                means.setdefault(prompt, []).append((fmean(values), starts[ancestor]))
        found = np.array([[fmean(side) for side in zip(*pairs, strict=True)] for pairs in means.values()])
        found = found.reshape(-1, 2)
        return found[:, 0], found[:, 1]
