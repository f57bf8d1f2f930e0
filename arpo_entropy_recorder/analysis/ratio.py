"""The entropy after tool results over the entropy before any, with its interval, from six sums.

What is counted is a prompt at a step: A is the mean, over its trajectories that have both, of their mean after-tool
entropies, B the mean of their starts. The six sums n, A, B, A*A, B*B and A*B add over steps, so that whatever holds
them for each step has the ratio of any set of steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from arpo_entropy_recorder.analysis.statistics import MIN_INTERVAL

N, A, B, AA, BB, AB = range(6)
# An interval is at least this wide, as a share of the ratio: differences that are smaller come from rounding.
ROUNDING = 1e-9


class Ratio(NamedTuple):
    """`after` / `before`, two means over `n` prompts, and the ratio's interval; NaN where not defined."""

    n: int
    after: float
    before: float
    ratio: float
    low: float
    high: float


def six_sums(after: np.ndarray, before: np.ndarray, at: np.ndarray, length: int) -> np.ndarray:
    """The sums of `length` steps, float64[length, 6].

    `after` and `before` are the prompts' A and B, float64[n], and `at` the row of a prompt's step, int64[n].
    """
    terms = (np.ones_like(after), after, before, after * after, before * before, after * before)
    return np.stack([np.bincount(at, term, minlength=length) for term in terms], axis=-1).astype(float)


def fieller(sums: np.ndarray, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ratio, low and high, float64[...] each, of `sums`, float64[..., 6].

    The interval holds the r for which the paired t test of A - r B does not reject (Fieller 1954), so it excludes 1
    exactly when the paired t interval of A - B excludes 0. It begins at 0, as no ratio of entropies lies below. All
    three are NaN where these r have no bound, since B is then not clearly above 0, and below five prompts.
    """
    n = sums[..., N]
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = sums[..., A] / n, sums[..., B] / n
        square = _quantile(n - 1, confidence) ** 2 / (n * (n - 1))
        saa, sbb, sab = sums[..., AA] - n * a * a, sums[..., BB] - n * b * b, sums[..., AB] - n * a * b
        ratio, low, high = _solve(
            a * a - square * saa, a * b - square * sab, b * b - square * sbb, a / b, n >= MIN_INTERVAL
        )
    return ratio, low, high


def ratio_of(sums: np.ndarray, confidence: float = 0.95) -> Ratio:
    """The ratio of one set of steps, whose sums are float64[6]."""
    n, after, before = sums[N], sums[A], sums[B]
    means = (float(after / n), float(before / n)) if n else (np.nan, np.nan)
    return Ratio(int(n), *means, *map(float, fieller(sums, confidence)))


def level(last: np.ndarray, first: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean A of `last` over mean A of `first`, with low and high; sums of two sets of other steps, float64[6] each.

    Fieller's interval of two independent means from 0 on, with the smaller set's degrees of freedom. NaN where not
    defined.
    """
    n, m = last[N], first[N]
    if min(n, m) < MIN_INTERVAL:
        return np.nan, np.nan, np.nan
    a, b = last[A] / n, first[A] / m
    square = _quantile(min(n, m) - 1, confidence) ** 2
    va, vb = (last[AA] - n * a * a) / (n * (n - 1)), (first[AA] - m * b * b) / (m * (m - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, low, high = _solve(a * a - square * va, a * b, b * b - square * vb, a / b, True)
    return float(ratio), float(low), float(high)


def fold(one: Ratio, other: Ratio) -> tuple[float, float, float]:
    """`one` over `other`, two ratios of independent prompts, with low and high: the difference of their logarithms.

    The interval is put together from theirs, and has their confidence (method of variance estimates recovery, Zou and
    Donner 2008). NaN where one of the ratios is not defined.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        x, x_low, x_high = np.log([one.ratio, one.low, one.high])
        y, y_low, y_high = np.log([other.ratio, other.low, other.high])
        low = x - y - np.hypot(x - x_low, y_high - y)
        high = x - y + np.hypot(x_high - x, y - y_low)
        return float(np.exp(x - y)), float(np.exp(low)), float(np.exp(high))


def _solve(
    c: np.ndarray, b: np.ndarray, a: np.ndarray, ratio: np.ndarray, enough: np.ndarray | bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The r >= 0 with a r^2 - 2 b r + c <= 0 around `ratio`, float64[...]; NaN unless a > 0 and there is `enough`."""
    half = np.sqrt(np.maximum(b * b - a * c, np.square(ROUNDING * b)))
    bounded = (a > 0) & enough
    low, high = np.maximum((b - half) / a, 0), (b + half) / a
    return tuple(np.where(bounded, value, np.nan) for value in (ratio, low, high))  # type: ignore[return-value]


def _quantile(freedom: np.ndarray, confidence: float) -> np.ndarray:
    """Student's t, two-sided."""
    from scipy.special import stdtrit

    return stdtrit(np.maximum(freedom, 1), (1 + confidence) / 2)
