"""Which trajectory each one of a step branched from, and the entropy that each one started with."""

from __future__ import annotations

import numpy as np

from arpo_entropy_recorder.step_files.read import Step


def parents_of(step: Step) -> np.ndarray:
    """The number of the trajectory that each one branched from, int64[trajectories].

    -1 for a start, and where the parent has no record in the step.
    """
    _, first = step.trajectories
    call, rank, sample = (column[first] for column in (*step.batch, step.columns["sample_idx"]))
    parent = step.columns.get("parent_idx", np.full(len(step), -1))[first]

    # Trajectories are numbered by call, rank and sample_idx, so their keys are in order.
    batch = np.cumsum((np.diff(call, prepend=call[:1]) != 0) | (np.diff(rank, prepend=rank[:1]) != 0))
    samples, code = np.unique(sample, return_inverse=True)
    keys = batch * len(samples) + code
    at = np.minimum(np.searchsorted(samples, parent), len(samples) - 1)
    wanted = batch * len(samples) + at
    found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where((parent >= 0) & (samples[at] == parent) & (keys[found] == wanted), found, -1)


def initial_entropies(step: Step) -> tuple[np.ndarray, np.ndarray]:
    """Each record's trajectory as a number, int64[n], and the trajectories' initial entropies, float64.

    A trajectory's initial entropy is that of its first record if this is a start (`Step.starts`); a branch
    whose first record is none has its parent's; NaN where none is known.
    """
    trajectory, first = step.trajectories
    known, parent = step.starts[first], parents_of(step)
    initial = np.where(known, step.columns["entropy"][first], np.nan)
    while len(heirs := np.flatnonzero((parent >= 0) & ~known & known[parent])):  # one generation each time
        initial[heirs], known[heirs] = initial[parent[heirs]], True
    return trajectory, initial
