"""The runs of a mask: where the policy wrote, and where a tool's result stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby


def runs(mask: Sequence[bool]) -> Iterator[tuple[bool, int, int]]:
    """The stretches of equal values in order: the value, and [start, end)."""
    start = 0
    for value, run in groupby(mask):
        end = start + sum(1 for _ in run)
        yield value, start, end
        start = end


def owned_runs(mask: Sequence[bool]) -> list[tuple[int, int]]:
    """[start, end) of each run of the policy's tokens."""
    return [(start, end) for owned, start, end in runs(mask) if owned]
