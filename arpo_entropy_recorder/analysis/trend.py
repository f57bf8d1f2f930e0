"""How the entropy after tool results changed over a training: its first and last phase, and since when it is low.

Each step's policy is another one, so the answer for a run of many steps is a trend, not a mean over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arpo_entropy_recorder.analysis.choices import MIN_STEPS
from arpo_entropy_recorder.analysis.ratio import A, B, N, Ratio, level, ratio_of, six_sums

MIN_PHASE = 5
# A phase is widened until it has so many prompts, up to a third of the steps.
MIN_PROMPTS = 20
# Two ratios are looked at, so that a wrong word about either comes in at most 5 %.
CONFIDENCE = 0.975
RESAMPLES = 400
# A step of a few prompts, all of them certain, would outweigh all others.
MAX_STEP_RATIO = 100.0


@dataclass(frozen=True)
class Phase:
    """The steps `first` to `last`, and their after / before; `span` are their rows."""

    first: int
    last: int
    span: slice
    ratio: Ratio


@dataclass(frozen=True)
class Trend:
    """First and last phase; `level` is mean after-tool entropy of the last over that of the first, with its interval.

    `since` is the step from which on after / before is below 1, `since_low` to `since_high` its 95 % interval; None
    unless the last phase's interval lies below 1. What is not defined is NaN.
    """

    first: Phase
    last: Phase
    level: float
    level_low: float
    level_high: float
    since: int | None = None
    since_low: int | None = None
    since_high: int | None = None


def trend_of(
    steps: np.ndarray,
    at: np.ndarray,
    after: np.ndarray,
    before: np.ndarray,
    confidence: float = CONFIDENCE,
    dated: bool = True,
) -> Trend | None:
    """The trend of a run of MIN_STEPS steps at least; None of fewer, and without any prompt.

    `steps` are the recorded global steps in order, int64[steps]; of each prompt `at` is the row of its step,
    int64[n], in order, `after` and `before` its A and B (`ratio`), float64[n]. Without `dated` there is no `since`.
    """
    if len(steps) < MIN_STEPS or not len(at):
        return None
    sums = six_sums(after, before, at, len(steps))
    first, last = (phase_of(steps, sums, span, confidence) for span in phases(sums[:, N]))
    found = level(sums[last.span].sum(0), sums[first.span].sum(0), confidence)
    if not (dated and last.ratio.high < 1):
        return Trend(first, last, *found)
    low, high = np.quantile(resampled(at, after, before, len(steps)), (0.025, 0.975), method="nearest")
    since = int(change_point(sums[:, N], sums[:, A], sums[:, B]))
    return Trend(
        first, last, *found, *(int(steps[row]) for row in (since, min(low, since), max(high, since)))
    )


def phases(n: np.ndarray) -> tuple[slice, slice]:
    """The rows of the first and last phase of steps with `n` prompts each, float64[steps].

    A tenth of the steps and five at least, each widened until it has MIN_PROMPTS, never beyond a third.
    """
    return slice(0, _width(n)), slice(len(n) - _width(n[::-1]), len(n))


def phase_of(steps: np.ndarray, sums: np.ndarray, span: slice, confidence: float = CONFIDENCE) -> Phase:
    """The phase of the rows `span` of `steps`, int64[steps], and `sums`, float64[steps, 6]."""
    inside = steps[span]
    return Phase(int(inside[0]), int(inside[-1]), span, ratio_of(sums[span].sum(0), confidence))


def change_point(n: np.ndarray, after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The row from which on after / before is below 1, int64[...], of sums for each step, float64[..., steps].

    It is the one from which to the end the sum of n log(ratio of the step) is smallest. A step's ratio counts as at
    most 100 and at least 1 / 100.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.nan_to_num(after / before, nan=1.0, posinf=MAX_STEP_RATIO)
    scores = n * np.log(np.clip(ratios, 1 / MAX_STEP_RATIO, MAX_STEP_RATIO))
    from_here = np.cumsum(scores[..., ::-1], axis=-1)[..., ::-1]
    return np.argmin(from_here, axis=-1)


def resampled(at: np.ndarray, after: np.ndarray, before: np.ndarray, length: int) -> np.ndarray:
    """`change_point` of RESAMPLES bootstrap samples of each step's prompts, int64[RESAMPLES]; the same every time."""
    random = np.random.default_rng(0)
    n = np.bincount(at, minlength=length)
    sums = np.zeros((2, RESAMPLES, length))
    bounds = np.concatenate([[0], np.cumsum(n)])
    for row in np.flatnonzero(n):
        chosen = bounds[row] + random.integers(n[row], size=(RESAMPLES, n[row]))
        sums[0, :, row], sums[1, :, row] = after[chosen].sum(1), before[chosen].sum(1)
    return change_point(n, sums[0], sums[1])


def _width(n: np.ndarray) -> int:
    """How many of the first steps make a phase, by their numbers of prompts."""
    width, most = max(MIN_PHASE, len(n) // 10), len(n) // 3
    enough = int(np.searchsorted(np.cumsum(n), MIN_PROMPTS)) + 1
    return min(max(width, enough), max(most, MIN_PHASE))
