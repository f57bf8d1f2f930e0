"""Which dumped trajectories are branches of others: a branch's line holds its parent's beginning once more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from arpo_entropy_recorder.rescore.tokenized import Segment, Tokenized


class Branch(NamedTuple):
    """The sample_idx of the trajectory branched from, or None, and the segments that are the trajectory's own."""

    parent_idx: int | None
    segments: list[Segment]


def find_branches(trajectories: Mapping[int, Tokenized]) -> dict[int, Branch]:
    """Each trajectory's own segments, by sample_idx.

    One that reads the same as an earlier one up to the end of a tool result, token by token, is its branch: what
    comes before was generated once. Two samples can do so by chance; then one record stands for two equal ones.
    """
    first: dict[bytes, int] = {}
    branches = {}
    for sample_idx, trajectory in trajectories.items():
        tokens = np.array(trajectory.tokens, np.int64)
        ends = [span.stop for span in trajectory.spans if span.part.is_result]
        beginnings = [tokens[:end].tobytes() for end in ends]
        shared = next((n for n in range(len(ends), 0, -1) if beginnings[n - 1] in first), 0)
        parent = first[beginnings[shared - 1]] if shared else None
        branches[sample_idx] = Branch(parent, [s for s in trajectory.segments if s.round >= shared])
        for beginning in beginnings:
            first.setdefault(beginning, sample_idx)
    return branches
