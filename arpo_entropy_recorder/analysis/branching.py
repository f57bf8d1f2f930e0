"""Where a rollout loop branched a trajectory: the entropy there and elsewhere, and what the loops' rules make of it.

A *place* is a segment behind which its trajectory went on after a tool result: there ARPO's loop decides whether to
branch, by how much the number of this segment exceeds that of the trajectory's first segment. The number is a sum
over the segment's first 20 tokens: here of the recorded entropies, in the loop of the log-probabilities that it was
given, which a record keeps as `logprobs_entropy`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from arpo_entropy_recorder.analysis.ancestry import parents_of
from arpo_entropy_recorder.step_files.read import Step
from arpo_entropy_recorder.step_files.schema import READ_TOKENS

# `branch_probability` and `entropy_weight` in the launch scripts of both.
THRESHOLD, WEIGHT = 0.5, 0.2


def arpo_probability(change: np.ndarray, weight: float = WEIGHT, threshold: float = THRESHOLD) -> np.ndarray:
    """How likely ARPO's loop branches where the number has changed by `change`, float64[n].

    With u uniform in [0, 1) it branches if u - weight * change, cut to [0, 1], is at most the threshold
    (`vllm_rollout_with_tools.py` of github.com/RUC-NLPIR/ARPO at e257337).
    """
    if not 0 <= threshold < 1:
        return np.full(np.shape(change), float(threshold >= 1))
    return np.clip(threshold + weight * np.asarray(change), 0.0, 1.0)


def aepo_probability(
    change: np.ndarray,
    consecutive: np.ndarray | int,
    weight: float = WEIGHT,
    threshold: float = THRESHOLD,
) -> np.ndarray:
    """How likely AEPO's loop branches, float64[n]; `consecutive` rounds before this one branched the same prompt.

    With u uniform in [0, 1) it branches if (u + weight * change) * (1 - 0.05 consecutive), cut to [0, 1], is at least
    the threshold; the factor is at least 0 (`vllm_rollout_with_tools.py` of verl_aepo_entropy).
    """
    factor = np.maximum(1 - 0.05 * np.asarray(consecutive, float), 0.0)
    if not 0 < threshold <= 1:
        return np.full(np.broadcast(change, factor).shape, float(threshold <= 0))
    with np.errstate(divide="ignore"):
        return np.clip(1 - threshold / factor + weight * np.asarray(change), 0.0, 1.0)


@dataclass
class Branching:
    """The places of all steps whose windows are READ_TOKENS long. Each list holds an array a step, [places].

    `exact` and `own`, float32: the place's number by the recorded entropies and by the loop's log-probabilities, NaN
    where not known; `exact_change` and `own_change`: against the trajectory's first segment. `branched`, bool:
    whether another trajectory began there.
    """

    exact: list[np.ndarray] = field(default_factory=list, repr=False)
    own: list[np.ndarray] = field(default_factory=list, repr=False)
    exact_change: list[np.ndarray] = field(default_factory=list, repr=False)
    own_change: list[np.ndarray] = field(default_factory=list, repr=False)
    branched: list[np.ndarray] = field(default_factory=list, repr=False)

    def add(self, step: Step) -> None:
        window = step.columns.get("window")
        if window is None or window.shape[1] < READ_TOKENS:
            return
        read = window[:, :READ_TOKENS]
        places, branched = places_of(step)
        trajectory, first = step.trajectories
        # A window of nulls has no sum.
        exact = np.where(np.isnan(read).all(axis=1), np.nan, np.nansum(read, axis=1))
        own = step.columns.get("logprobs_entropy", np.full(len(step), np.nan))
        for number, values, changes in (
            (exact, self.exact, self.exact_change),
            (own, self.own, self.own_change),
        ):
            values.append(number[places].astype(np.float32))
            changes.append((number[places] - number[first][trajectory[places]]).astype(np.float32))
        self.branched.append(branched)

    def column(self, name: str) -> np.ndarray:
        """The values of all steps under this name."""
        return np.concatenate([np.empty(0, np.float32), *getattr(self, name)])

    @property
    def is_branched(self) -> np.ndarray:
        """Whether another trajectory began at the place, bool[places]."""
        return np.concatenate([np.empty(0, bool), *self.branched])


@dataclass(frozen=True)
class Agreement:
    """Exact number against the loop's own over the `n` places that have both.

    `correlation` is Spearman's. `difference` is the mean absolute difference of the probability of a branch: under a
    common uniform draw the decision changes exactly where the draw lies between the two, so that it is the expected
    share of changed decisions, too. NaN where not defined.
    """

    n: int
    correlation: float
    difference: float


def agreement(branching: Branching, weight: float = WEIGHT, threshold: float = THRESHOLD) -> Agreement:
    """The agreement under ARPO's rule."""
    exact, own = branching.column("exact"), branching.column("own")
    changes = branching.column("exact_change"), branching.column("own_change")
    both = ~np.isnan([exact, own, *changes]).any(axis=0)
    n = int(both.sum())
    if not n:
        return Agreement(0, np.nan, np.nan)
    one, other = (arpo_probability(change[both].astype(float), weight, threshold) for change in changes)
    correlation = np.nan
    if np.ptp(exact[both]) and np.ptp(own[both]):
        from scipy.stats import spearmanr

        correlation = float(spearmanr(exact[both], own[both]).statistic)
    return Agreement(n, correlation, float(np.abs(one - other).mean()))


def places_of(step: Step) -> tuple[np.ndarray, np.ndarray]:
    """The places among a step's records, int64[places], and whether a trajectory began there, bool[places]."""
    trajectory, first = step.trajectories
    # Numbered anew, as a file may have rounds up to 2^63 - 1.
    rounds = np.unique(step.columns["round"], return_inverse=True)[1]
    after = step.columns["is_after_tool_call"]
    order = np.lexsort((rounds, trajectory))
    ahead = np.full(len(step), -1)
    same = trajectory[order[1:]] == trajectory[order[:-1]]
    ahead[order[:-1][same]] = order[1:][same]
    places = np.flatnonzero((ahead >= 0) & after[ahead])
    parent = parents_of(step)
    began = np.flatnonzero((parent >= 0) & after[first])
    span = int(rounds.max(initial=0)) + 1
    keys = trajectory[places] * span + rounds[ahead[places]]
    return places, np.isin(keys, parent[began] * span + rounds[first[began]])
