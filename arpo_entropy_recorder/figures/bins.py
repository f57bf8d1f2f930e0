"""Global steps in bins of equal width, so that a long run is legible and a step without a record leaves a gap."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

import numpy as np

from arpo_entropy_recorder.analysis.breakdown import Curve

MAX_BINS = 50


class Bins(NamedTuple):
    """`number` bins of `width` global steps from `first` on; `spacing` is the one at which steps were recorded."""

    first: int
    spacing: int
    width: int
    number: int

    def at(self, steps: np.ndarray) -> np.ndarray:
        """The bin of each step, int64[n]."""
        return (np.asarray(steps, int) - self.first) // self.width

    @property
    def centres(self) -> np.ndarray:
        """The middle of each bin's steps, float64[number]."""
        return self.first + self.width * np.arange(self.number) + (self.width - self.spacing) / 2

    @property
    def edges(self) -> np.ndarray:
        """Where bins begin and end, float64[number + 1], half way between two steps."""
        return self.first + self.width * np.arange(self.number + 1) - self.spacing / 2

    def means_of(self, curve: Curve) -> tuple[np.ndarray, np.ndarray]:
        """The mean of a curve's records in each bin, NaN where there is none, and their number, float64[number] each.

        A log does not tell how many records its means are of: each counts as one.
        """
        at = self.at(curve.steps)
        n = np.array([group.n for group in curve.groups], float) if curve.groups else np.ones(len(at))
        counts = np.bincount(at, n, self.number)
        with np.errstate(invalid="ignore"):
            return np.bincount(at, n * curve.mean, self.number) / counts, counts


def bins_of(steps: np.ndarray, most: int = MAX_BINS) -> Bins:
    """At most `most` bins for global `steps`, int64[n] in order; one for each step where these are few enough."""
    spacing = int(np.gcd.reduce(np.diff(steps))) if len(steps) > 1 else 1
    length = int(steps[-1] - steps[0]) // spacing + 1
    factor = next(number for number in round_numbers() if -(-length // number) <= most)
    return Bins(int(steps[0]), spacing, factor * spacing, -(-length // factor))


def round_numbers() -> Iterator[int]:
    """1, 2, 5, 10, 20, 50, 100, ..., without an end."""
    return (factor * 10**power for power in count() for factor in (1, 2, 5))
