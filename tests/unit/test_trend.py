"""The trend of a training: its phases, and since when tool results no longer raise the entropy."""

import numpy as np
import pytest

from arpo_entropy_recorder.analysis.trend import change_point, phases, trend_of


def made_run(rises, prompts=16, seed=0, level=0.01, own=0.5):
    """What `trend_of` takes, of steps whose true after / before are `rises`, with so many prompts each."""
    random = np.random.default_rng(seed)
    n = np.broadcast_to(prompts, len(rises))
    at = np.repeat(np.arange(len(rises)), n)
    difficulty = level * np.exp(random.normal(0, 0.6, len(at)))
    after, before = difficulty * np.exp(random.normal(0, own, (2, len(at))))
    return np.arange(1, len(rises) + 1), at, after * np.asarray(rises, float)[at], before


@pytest.mark.parametrize(
    ("n", "first", "last"),
    [
        ([16] * 300, (0, 30), (270, 300)),
        ([16] * 20, (0, 5), (15, 20)),
        ([1] * 90, (0, 20), (70, 90)),
        ([1] * 30, (0, 10), (20, 30)),
        ([0] * 12 + [16] * 78, (0, 14), (81, 90)),
        ([0] * 40 + [16] * 20, (0, 20), (54, 60)),
    ],
)
def test_phases_are_tenths_widened_for_20_prompts(n, first, last):
    assert [(span.start, span.stop) for span in phases(np.array(n, float))] == [first, last]


def test_below_20_steps_there_are_no_phases():
    assert trend_of(*made_run([2.0] * 19)) is None
    assert trend_of(*made_run([2.0] * 20)).since is None


def test_a_sudden_collapse_is_told_with_its_step():
    for seed in range(5):
        trend = trend_of(*made_run([2.0] * 60 + [0.4] * 40, seed=seed))
        assert trend.first.ratio.low > 1 > trend.last.ratio.high
        assert abs(trend.since - 61) <= 2
        assert trend.since_low <= trend.since <= trend.since_high <= trend.since_low + 8
        assert (trend.last.first, trend.last.last) == (91, 100)


def test_a_slow_decline_is_dated_where_it_crosses_1():
    rises = np.geomspace(2.0, 0.5, 101)  # 1 at step 51
    found = [trend_of(*made_run(rises, 32, seed=seed)).since for seed in range(5)]
    assert np.abs(np.array(found) - 51).max() <= 8


def test_a_run_that_holds_has_no_since():
    trends = [trend_of(*made_run([1.9] * 60, seed=seed)) for seed in range(20)]
    assert {(trend.since, trend.since_low, trend.since_high) for trend in trends} == {(None, None, None)}
    assert all(trend.last.ratio.low > 1 for trend in trends)
    assert sum(not trend.level_low < 1 < trend.level_high for trend in trends) <= 2  # 1 or none expected


def test_a_steady_ratio_of_ever_lower_entropies_shows_in_the_level():
    steps, at, after, before = made_run([2.0] * 100, own=0.2)
    fade = 0.97**at
    trend = trend_of(steps, at, after * fade, before * fade)
    assert trend.last.ratio.ratio == pytest.approx(2.0, rel=0.1)
    assert trend.level_low < 0.97**90 < trend.level_high
    assert trend.level == pytest.approx(trend.last.ratio.after / trend.first.ratio.after)


def test_null_runs_seldom_get_a_verdict_and_a_since():
    trends = [trend_of(*made_run([1.0] * 20, 8, seed=seed)) for seed in range(300)]
    wrong = [any(r.low > 1 or r.high < 1 for r in (trend.first.ratio, trend.last.ratio)) for trend in trends]
    assert np.mean(wrong) <= 0.07
    assert sum(trend.since is not None for trend in trends) <= 10


def naive_change_point(n, after, before):
    sums = []
    for start in range(len(n)):
        terms = [
            k * np.log(a / b) for k, a, b in zip(n[start:], after[start:], before[start:], strict=True) if k
        ]
        sums.append(sum(terms))
    return int(np.argmin(sums))


def test_the_change_point_is_the_start_of_the_smallest_sum():
    random = np.random.default_rng(3)
    for _ in range(50):
        n = random.integers(0, 5, 12)
        after, before = n * random.lognormal(0, 0.5, (2, 12))
        assert change_point(n, after, before) == naive_change_point(n, after, before)


def test_a_step_of_certain_prompts_does_not_decide_alone():
    n, after, before = np.full(40, 8.0), np.repeat([0.8, 0.2], 20), np.full(40, 0.4)
    after[5] = 0
    assert change_point(n, after, before) == 20
    before[10] = 0
    assert change_point(n, after, before) == 20


def test_steps_keep_their_numbers_and_may_have_no_prompts():
    steps, at, after, before = made_run([2.0] * 30 + [0.4] * 30, [0, 16] * 30)
    trend = trend_of(steps * 10, at, after, before)
    assert (trend.first.first, trend.first.last, trend.last.first) == (10, 60, 550)
    assert 300 <= trend.since <= 330
    assert trend.first.ratio.n == 48
