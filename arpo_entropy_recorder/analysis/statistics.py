"""Streaming statistics of recorded entropies: steps go in one at a time, a few numbers a round are kept.

Entropies are normalised, in [0, 1]; a null entropy is NaN in a column and left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import log
from pathlib import Path
from statistics import NormalDist

import numpy as np

from arpo_entropy_recorder.step_files.read import Step
from arpo_entropy_recorder.step_files.run_info import import_of
from arpo_entropy_recorder.step_files.schema import HIGH_ENTROPY

POINTS_KEPT = 5_000
# How many values, and how many arrays of them, wait to be counted: at most some 30 KB of a group.
MAX_WAITING, MAX_ARRAYS = 2_048, 128
NO_VALUES = np.empty(0)
# Above this many values the bootstrap and the normal interval of a mean in [0, 1] agree to about a thousandth.
MAX_BOOTSTRAP = 200
MIN_INTERVAL = 5
NORMAL_975 = NormalDist().inv_cdf(0.975)
LIVE = "recorded"  # the source of a record that names none
ANY_ROUND = 10**9  # the round under which a log's mean over all rounds is shown, where it has none by round
START = 0  # the round under which the trajectories' first records are shown


@dataclass
class Group:
    """Count, mean, standard deviation and share above 0.6 of a stream of entropies, with a sample of points.

    NaN, a null entropy, is left out. The sample is uniform without replacement and depends on the order of the
    values alone, not on how they were cut into calls of `add`: each value draws a key, and the values with the
    `kept` smallest keys stay.
    """

    kept: int = POINTS_KEPT
    n: int = 0
    _mean: float = float("nan")
    _above: int = 0
    _squares: float = 0.0
    # Most groups are given a few values at a time, and one pass over many costs little more than one over few.
    _waiting: list[np.ndarray] = field(default_factory=list, repr=False)
    _room: int = MAX_WAITING
    _keys: np.ndarray = field(default_factory=lambda: NO_VALUES, repr=False)
    _points: np.ndarray = field(default_factory=lambda: NO_VALUES, repr=False)
    _random: np.random.Generator | None = field(default=None, repr=False)

    def add(self, values: np.ndarray) -> None:
        """Take float64 `values` of shape [n]."""
        values = values[~np.isnan(values)]
        if not len(values):
            return
        self.n += len(values)
        self._waiting.append(values)
        self._room -= len(values)
        if self._room < 0 or len(self._waiting) == MAX_ARRAYS:
            self._count()

    def _count(self) -> None:
        """Take in the values that wait."""
        if not self._waiting:
            return
        values = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        self._waiting, self._room = [], MAX_WAITING
        before = self.n - len(values)
        mean = float(values.mean())
        squares = float(np.square(values - mean).sum())
        if before:  # Chan et al.'s merge of two means and sums of squares
            shift = mean - self._mean
            squares += self._squares + shift * shift * before * len(values) / self.n
            mean = self._mean + shift * len(values) / self.n
        self._mean, self._squares = mean, squares
        self._above += int(np.count_nonzero(values > HIGH_ENTROPY))
        self._keep(values)

    def _keep(self, values: np.ndarray) -> None:
        self._random = self._random or np.random.default_rng(0)
        keys = self._random.random(len(values))
        if len(self._keys) == self.kept:  # full: drop most new values before sorting
            near = keys < self._keys[-1]
            keys, values = keys[near], values[near]
        keys = np.concatenate([self._keys, keys])
        order = np.argsort(keys, kind="stable")[: self.kept]
        self._keys, self._points = keys[order], np.concatenate([self._points, values])[order]

    @property
    def mean(self) -> float:
        """NaN without values."""
        self._count()
        return self._mean

    @property
    def sd(self) -> float:
        """The sample standard deviation (n - 1 in the denominator); NaN for fewer than two values."""
        self._count()
        return (self._squares / (self.n - 1)) ** 0.5 if self.n > 1 else float("nan")

    @property
    def share_above(self) -> float:
        """The share of values above 0.6; NaN without values."""
        self._count()
        return self._above / self.n if self.n else float("nan")

    def interval(self) -> tuple[float, float]:
        """The mean's 95 % interval: percentile bootstrap up to 200 values, normal above; NaN below five."""
        if self.n < MIN_INTERVAL:
            return float("nan"), float("nan")
        values = self.points()
        if self.n > min(self.kept, MAX_BOOTSTRAP) or not np.ptp(values):
            half = NORMAL_975 * self.sd / self.n**0.5
            return self.mean - half, self.mean + half
        from scipy import stats

        found = stats.bootstrap((values,), np.mean, n_resamples=999, method="percentile", random_state=0)
        return float(found.confidence_interval.low), float(found.confidence_interval.high)

    def points(self, most: int | None = None) -> np.ndarray:
        """At most `most` of the values that were kept, a uniform sample, float64[min(n, kept, most)]."""
        self._count()
        return self._points[:most]


@dataclass
class Rounds:
    """After-tool entropies by round, and `initial`: those of the trajectories' first records (`Step.starts`)."""

    initial: Group = field(default_factory=Group)
    after_tool: Group = field(default_factory=Group)
    by_round: dict[int, Group] = field(default_factory=dict)
    steps: set[int] = field(default_factory=set)

    def add(self, step: Step) -> None:
        self.steps.add(step.global_step)
        initial, after = split_rounds(step)
        self.initial.add(initial)
        for number, values in after.items():
            self.after_tool.add(values)
            self.by_round.setdefault(number, Group()).add(values)

    @property
    def with_start(self) -> dict[int, Group]:
        """The groups by round, in order, with `initial` at START where it has a value."""
        start = {START: self.initial} if self.initial.n else {}
        return start | dict(sorted(self.by_round.items()))


@dataclass
class Origins:
    """How many records are of each source, of calls recorded in part, of a lineage or a context that is not sure."""

    sources: Counter[str] = field(default_factory=Counter)
    incomplete: int = 0
    unsure: int = 0
    inexact: int = 0
    imports: dict[Path, str] = field(default_factory=dict)

    @property
    def simulated(self) -> bool:
        """True if any record is made up."""
        return bool(self.sources["simulated"])

    def add(self, step: Step) -> None:
        source = step.columns.get("source")
        self.sources.update([LIVE] * len(step) if source is None else [name or LIVE for name in source])
        self.incomplete += int(np.count_nonzero(step.columns.get("incomplete", False)))
        self.unsure += int(np.count_nonzero(step.columns.get("unsure", False)))
        if self.sources["imported"] and step.path is not None and step.path.parent not in self.imports:
            self.imports[step.path.parent] = import_of(step.path.parent)
        self.inexact += int(np.count_nonzero(step.columns.get("inexact", False)))


def nats_of(entropy: float, vocab_size: int) -> float:
    """A normalised entropy in nats; exp of it is the number of equally likely tokens that are as uncertain."""
    return entropy * log(vocab_size)


def split_rounds(step: Step) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """The entropies at the trajectories' starts, and those after a tool result by round; without the null ones."""
    entropy, rounds, after = (step.columns[name] for name in ("entropy", "round", "is_after_tool_call"))
    known = ~np.isnan(entropy)
    after, before = after & known, step.starts & known
    numbers = np.unique(rounds[after]).tolist()
    return entropy[before], {number: entropy[after & (rounds == number)] for number in numbers}
