"""Which records a figure or table is made of: training, greedy and validation records are never mixed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np

from arpo_entropy_recorder.step_files.read import Step

# In order of preference: the others are shown only where there is nothing of the first.
KINDS = ("sampled", "greedy", "validation")


class Accumulator(Protocol):
    """Takes steps whose records are all of one kind; null entropies are among them, padding rows are not."""

    def add(self, step: Step) -> None: ...


A = TypeVar("A", bound=Accumulator)


def accumulate(steps: Iterable[Step], make: Callable[[], A]) -> tuple[A, Counter[str], str]:
    """Feed the records of one kind to an accumulator.

    Returns the accumulator of the first of KINDS that has records with an entropy, how many records were left
    out and why, and the kind. A stale step, which a later run went back behind, is left out whole.
    """
    found: dict[str, A] = {}
    taken: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for step in steps:
        if step.stale:
            left_out["stale steps"] += 1
            continue
        padding, greedy = _flag(step, "padding", False), ~_flag(step, "do_sample", True)
        null = np.isnan(step.columns["entropy"])
        left_out["padding rows"] += int(padding.sum())
        left_out["without an entropy (null)"] += int((null & ~padding).sum())
        real = ~padding
        masks = (
            {"validation": real} if step.validate else {"sampled": real & ~greedy, "greedy": real & greedy}
        )
        for kind, mask in masks.items():
            known = int(np.count_nonzero(mask & ~null))
            if known:
                taken[kind] += known
                found.setdefault(kind, make()).add(_only(step, mask))
    chosen = next((kind for kind in KINDS if kind in found), KINDS[0])
    left_out.update({kind: count for kind, count in taken.items() if kind != chosen})
    return found.get(chosen) or make(), +left_out, chosen


def _flag(step: Step, name: str, absent: bool) -> np.ndarray:
    """A boolean column; the key's meaning when absent stands for a column that is not there."""
    column = step.columns.get(name)
    return np.full(len(step.columns["entropy"]), absent) if column is None else column.astype(bool)


def _only(step: Step, mask: np.ndarray) -> Step:
    if mask.all():
        return step
    return replace(step, columns={name: column[mask] for name, column in step.columns.items()})
