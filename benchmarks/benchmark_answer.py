"""How often the answer errs: made-up runs in which nothing changes, and collapses at a known step.

    python benchmarks/benchmark_answer.py [--runs 2000]

Trajectories have a level of their own; start and after-tool entropies scatter around it alike, with two tails, over
unequal numbers of rounds, and the higher the level, the more often a tool is called. So no trajectory changes, while
pooled records do. CPU only, about two minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from arpo_entropy_recorder.analysis.ratio import fieller, six_sums
from arpo_entropy_recorder.analysis.trend import CONFIDENCE, trend_of

TAILS = {"tail 0.8": 0.8, "tail 1.4": 1.4}
MAX_ROUNDS = 4


def null_prompts(
    random: np.random.Generator, runs: int, prompts: int, trajectories: int, tail: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """A and B of prompts, [runs, prompts] each, which of them have a trajectory with both, pooled after / before."""
    shape = (runs, prompts, trajectories)
    level = np.exp(random.normal(0, 0.6, shape[:2]))[..., None] * np.exp(random.normal(0, 0.5, shape))
    start = level * random.lognormal(-tail * tail / 2, tail, shape)
    after = level[..., None] * random.lognormal(-tail * tail / 2, tail, (*shape, MAX_ROUNDS))
    calls = (
        random.random((*shape, MAX_ROUNDS)) < (level / (1 + level))[..., None]
    )  # of a higher level call more
    given = np.cumprod(calls, axis=-1).astype(bool)
    rounds = given.sum(-1)
    both = rounds > 0
    of_trajectory = np.where(both, (after * given).sum(-1) / np.maximum(rounds, 1), 0)
    count = both.sum(-1)
    a, b = (np.where(both, x, 0).sum(-1) / np.maximum(count, 1) for x in (of_trajectory, start))
    return a, b, count > 0, float(after[given].mean() / start.mean())


def sums_of(a: np.ndarray, b: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The six sums of each row, [runs, 6]."""
    rows = np.broadcast_to(np.arange(len(a))[:, None], a.shape)[there]
    return six_sums(a[there], b[there], rows, len(a))


def null_rates(runs: int) -> Iterator[str]:
    yield "| prompts a phase | trajectories | tail | wrong verdict | wrong since | no ratio | pooled records |"
    yield "|---|---|---|---|---|---|---|"
    for prompts in (8, 16, 64):
        for trajectories in (4, 16):
            for name, tail in TAILS.items():
                random = np.random.default_rng([prompts, trajectories])
                wrong, below, undefined, pooled = np.zeros(runs, bool), np.zeros(runs, bool), 0, 0.0
                for _ in ("first", "last"):
                    a, b, there, pooled = null_prompts(random, runs, prompts, trajectories, tail)
                    _, low, high = fieller(sums_of(a, b, there), CONFIDENCE)
                    below = high < 1  # of the last phase in the end
                    wrong |= (low > 1) | below
                    undefined += int(np.isnan(low).sum())
                yield (
                    f"| {prompts} | {trajectories} | {name} | {wrong.mean():.1%} | {below.mean():.1%} "
                    f"| {undefined / 2 / runs:.0%} | {pooled:.2f}x |"
                )


def course(kind: str, at: float, steps: int) -> np.ndarray:
    """The true ratio of each step, from 2 at the beginning; below 1 since `at` of the way, at once or on a line."""
    share = (np.arange(steps) + 0.5) / steps
    if kind == "sudden":
        return np.where(share < at, 2.0, 0.4)
    return np.maximum(2 - share / at, 0.25)  # 2 at the beginning, 1 at `at`


def collapse_rates(runs: int) -> Iterator[str]:
    yield "| course | steps | below 1 from | runs called | median error (steps) | 90 % within | interval holds it |"
    yield "|---|---|---|---|---|---|---|"
    for kind in ("sudden", "linear"):
        for steps in (20, 60, 300):
            for at in (0.3, 0.6, 0.8):
                true = course(kind, at, steps)
                first = 1 + int(np.flatnonzero(true < 1)[0])
                some = max(runs // 20 if steps < 300 else runs // 50, 20)
                errors, held = [], 0
                for seed in range(some):
                    found = trend_of(*made(np.random.default_rng([seed, steps]), true))
                    if found is not None and found.since is not None:
                        errors.append(found.since - first)
                        held += found.since_low <= first <= found.since_high  # type: ignore[operator]
                spread = np.quantile(np.abs(errors), 0.9) if errors else np.nan
                yield (
                    f"| {kind} | {steps} | step {first} | {len(errors)} of {some} "
                    f"| {np.median(errors) if errors else np.nan:+.0f} | {spread:.0f} | {held} of {len(errors)} |"
                )


def made(
    random: np.random.Generator, ratios: np.ndarray, prompts: int = 16, correlated: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What `trend_of` takes; with `correlated` the steps' log ratios share an AR(1) noise of this sd, rho 0.9."""
    steps = len(ratios)
    at = np.repeat(np.arange(steps), prompts)
    noise = np.zeros(steps)
    for step in range(steps):
        before = noise[step - 1] if step else random.normal(0, correlated)
        noise[step] = 0.9 * before + random.normal(0, correlated * np.sqrt(1 - 0.81))
    level = np.exp(random.normal(0, 0.6, len(at)))
    after, start = level * random.lognormal(0, 0.6, (2, len(at)))
    return np.arange(1, steps + 1), at, after * (ratios * np.exp(noise))[at], start


def correlated_rates(runs: int) -> Iterator[str]:
    yield "| sd of the steps' common noise (AR(1), rho 0.9) | wrong verdict | wrong since |"
    yield "|---|---|---|"
    for sd in (0.0, 0.1, 0.2):
        wrong = since = 0
        some = max(runs // 4, 20)
        for seed in range(some):
            found = trend_of(*made(np.random.default_rng([seed, 7]), np.ones(60), correlated=sd))
            assert found is not None
            wrong += any(r.low > 1 or r.high < 1 for r in (found.first.ratio, found.last.ratio))
            since += found.since is not None
        yield f"| {sd} | {wrong / some:.1%} | {since / some:.1%} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=2000)
    chosen = parser.parse_args().runs
    for table in (null_rates, collapse_rates, correlated_rates):
        for line in table(chosen):
            print(line, flush=True)
        print()
