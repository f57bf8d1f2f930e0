"""Streaming statistics of recorded entropies: one step at a time goes in, a few numbers a round stay.

Entropies are normalised, in [0, 1]. Records whose entropy is null (NaN in a column) and padding rows are left
out and counted; training, greedy and validation records are never mixed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import numpy as np

from .reader import Step
from .schema import HIGH_ENTROPY

POINTS_KEPT = 5_000
KINDS = ("sampled", "greedy", "validation")


@dataclass
class Group:
    """Count, mean, standard deviation and share above 0.6 of a stream of entropies, with a sample of points.

    The sample is uniform without replacement and depends on the order of the values alone, not on how they
    were cut into calls of `add`: each value draws a key, and the values with the smallest keys stay.
    """

    n: int = 0
    mean: float = float("nan")
    above: int = 0
    _squares: float = 0.0
    _keys: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)
    _points: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)
    _random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0), repr=False)

    def add(self, values: np.ndarray) -> None:
        """Take float64 `values` of shape [n], none of them NaN."""
        if not len(values):
            return
        mean = float(values.mean())
        squares = float(np.square(values - mean).sum())
        if self.n:  # Chan et al.'s merge of two means and sums of squares
            total = self.n + len(values)
            shift = mean - self.mean
            squares += self._squares + shift * shift * self.n * len(values) / total
            mean = self.mean + shift * len(values) / total
        self.mean, self._squares = mean, squares
        self.n += len(values)
        self.above += int(np.count_nonzero(values > HIGH_ENTROPY))
        self._keep(values)

    def _keep(self, values: np.ndarray) -> None:
        keys = self._random.random(len(values))
        if len(self._keys) == POINTS_KEPT:  # full: most newcomers are turned away without a sort
            near = keys < self._keys[-1]
            keys, values = keys[near], values[near]
        keys = np.concatenate([self._keys, keys])
        order = np.argsort(keys, kind="stable")[:POINTS_KEPT]
        self._keys, self._points = keys[order], np.concatenate([self._points, values])[order]

    @property
    def sd(self) -> float:
        """The sample standard deviation (n - 1 in the denominator); NaN for fewer than two values."""
        return (self._squares / (self.n - 1)) ** 0.5 if self.n > 1 else float("nan")

    @property
    def share_above(self) -> float:
        """The share of values above 0.6; NaN without values."""
        return self.above / self.n if self.n else float("nan")

    def points(self, most: int = POINTS_KEPT) -> np.ndarray:
        """At most `most` of the values, a uniform sample, float64[min(n, most)]."""
        return self._points[:most]


@dataclass
class Rounds:
    """After-tool entropies by round, and `initial`: those of round 0, before any tool result."""

    initial: Group = field(default_factory=Group)
    after_tool: Group = field(default_factory=Group)
    by_round: dict[int, Group] = field(default_factory=dict)
    steps: set[int] = field(default_factory=set)

    def add(self, step: Step) -> None:
        entropy, rounds = step.columns["entropy"], step.columns["round"]
        after = step.columns["is_after_tool_call"]
        self.steps.add(step.global_step)
        self.initial.add(entropy[(rounds == 0) & ~after])
        self.after_tool.add(entropy[after])
        for number in np.unique(rounds[after]).tolist():
            self.by_round.setdefault(number, Group()).add(entropy[after & (rounds == number)])


class Accumulator(Protocol):
    def add(self, step: Step) -> None: ...


A = TypeVar("A", bound=Accumulator)


def accumulate(steps: Iterable[Step], make: Callable[[], A]) -> tuple[A, Counter[str]]:
    """Feed the records of one kind to an accumulator.

    Returns the accumulator of the first of KINDS that has records with an entropy, and how many records were
    left out and why.
    """
    found: dict[str, A] = {}
    taken: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for step in steps:
        padding, greedy = _flag(step, "padding", False), ~_flag(step, "do_sample", True)
        null = np.isnan(step.columns["entropy"])
        left_out["padding rows"] += int(padding.sum())
        left_out["without an entropy (null)"] += int((null & ~padding).sum())
        keep = ~(padding | null)
        masks = (
            {"validation": keep} if step.validate else {"sampled": keep & ~greedy, "greedy": keep & greedy}
        )
        for kind, mask in masks.items():
            if mask.any():
                taken[kind] += int(mask.sum())
                found.setdefault(kind, make()).add(_only(step, mask))
    chosen = next((kind for kind in KINDS if kind in found), None)
    left_out.update({kind: count for kind, count in taken.items() if kind != chosen})
    return (found[chosen] if chosen else make()), +left_out


def left_out_line(left_out: Counter[str]) -> str:
    """The counts of `accumulate`, in words."""
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items()))


def _flag(step: Step, name: str, absent: bool) -> np.ndarray:
    """A boolean column; the key's meaning when absent stands for a column that is not there."""
    column = step.columns.get(name)
    return np.full(len(step.columns["entropy"]), absent) if column is None else column.astype(bool)


def _only(step: Step, mask: np.ndarray) -> Step:
    if mask.all():
        return step
    return replace(step, columns={name: column[mask] for name, column in step.columns.items()})
