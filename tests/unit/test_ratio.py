"""The ratio's interval is the paired t test turned round, and it errs as seldom as it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from arpo_entropy_recorder.analysis.ratio import Ratio, fieller, fold, level, ratio_of, six_sums


def sums_of(after, before):
    return six_sums(after, before, np.zeros(len(after), int), 1)[0]


def heavy(random, n, rise=1.0, own=0.7):
    """A and B of prompts: a common difficulty, and heavy tails of their own."""
    difficulty = np.exp(random.normal(0, 0.8, n))
    after, before = 0.01 * difficulty * np.exp(random.normal(0, own, (2, n)))
    return rise * after, before


def inverted(after, before, confidence):
    """The r at which a paired t test just rejects, by search."""
    middle = after.sum() / before.sum()

    def excess(r):
        return stats.ttest_1samp(after - r * before, 0).pvalue - (1 - confidence)

    return optimize.brentq(excess, -50 * middle, middle), optimize.brentq(excess, middle, 1e4 * middle)


@pytest.mark.parametrize(("n", "confidence"), [(24, 0.95), (60, 0.975), (400, 0.975)])
def test_the_interval_inverts_the_paired_t_test(n, confidence):
    for seed in range(3):
        after, before = heavy(np.random.default_rng(seed), n, rise=1.7, own=0.4)
        ratio, low, high = fieller(sums_of(after, before), confidence)
        assert ratio == pytest.approx(after.sum() / before.sum())
        assert (low, high) == pytest.approx(inverted(after, before, confidence), rel=1e-6)


ENTROPY = st.sampled_from([0.0, 1e-6, 1e-3, 0.02, 0.3, 1.0])


@given(st.lists(st.tuples(ENTROPY, ENTROPY), min_size=5, max_size=12))
def test_no_interval_reaches_below_0(prompts):
    after, before = np.array(prompts).T
    found = ratio_of(sums_of(after, before))
    if np.isfinite(found.low):
        assert 0 <= found.low <= found.ratio <= found.high
        # It is cut where the paired t test does not reject a ratio of 0: where it does not tell A from 0.
        lowest = after.mean() - stats.t.ppf(0.975, len(after) - 1) * stats.sem(after)
        if abs(lowest) > 1e-9 * after.mean():
            assert (found.low == 0) == (lowest < 0)


def test_it_excludes_1_exactly_when_the_t_test_does():
    agreed = 0
    for seed in range(300):
        after, before = heavy(np.random.default_rng(seed), 12, rise=1.5)
        low, high = stats.ttest_1samp(after - before, 0).confidence_interval(0.95)
        found = ratio_of(sums_of(after, before))
        if np.isfinite(found.low):
            assert (found.low > 1, found.high < 1) == (low > 0, high < 0)
            agreed += 1
    assert agreed > 250


def test_sums_of_steps_add_up_to_those_of_all():
    after, before = heavy(np.random.default_rng(0), 60)
    at = np.sort(np.random.default_rng(1).integers(0, 7, 60))
    by_step = six_sums(after, before, at, 7)
    assert by_step.sum(0) == pytest.approx(sums_of(after, before))
    for step in range(7):
        assert by_step[step] == pytest.approx(sums_of(after[at == step], before[at == step]))
    ratios, lows, highs = fieller(by_step)
    for step in range(7):
        assert (ratios[step], lows[step], highs[step]) == pytest.approx(
            ratio_of(by_step[step])[3:], nan_ok=True
        )


def test_no_ratio_where_the_starts_are_not_above_0():
    before = np.array([0.0] * 11 + [0.01])
    found = ratio_of(sums_of(np.full(12, 0.02), before))
    assert np.isnan(found[3:]).all()
    assert (found.n, found.after) == (12, pytest.approx(0.02))
    assert np.isnan(ratio_of(sums_of(np.full(9, 0.02), np.zeros(9))).ratio)


def test_below_five_prompts_there_is_no_ratio():
    assert np.isnan(ratio_of(sums_of(np.full(4, 0.2), np.full(4, 0.1))).ratio)
    found = ratio_of(sums_of(np.full(5, 0.2), np.full(5, 0.1)))
    assert found[3:] == pytest.approx((2, 2, 2))
    assert np.isnan(ratio_of(np.zeros(6))[1:]).all()


def test_equal_entropies_are_no_change_whatever_rounding_does():
    for seed in range(50):
        before, _ = heavy(np.random.default_rng(seed), 40)
        found = ratio_of(sums_of((before + 0.1) - 0.1, before))
        assert found.low <= 1 <= found.high
        assert found.high - found.low < 1e-6


def rate_of_errors(n, runs, simulate):
    random = np.random.default_rng(n)
    found = [simulate(random) for _ in range(runs)]
    return np.mean([not low <= 1 <= high for low, high in found if np.isfinite(low)])


@pytest.mark.parametrize("n", [8, 24])
def test_null_runs_are_seldom_called_a_change(n):
    assert rate_of_errors(n, 1000, lambda random: ratio_of(sums_of(*heavy(random, n)))[4:]) <= 0.06


@pytest.mark.parametrize(("n", "m"), [(25, 60), (60, 25)])
def test_the_level_inverts_a_test_of_two_means(n, m):
    random = np.random.default_rng(n)
    last, first = 0.3 * heavy(random, n, own=0.2)[0], heavy(random, m, own=0.2)[0]
    scatter = [values.var(ddof=1) / len(values) for values in (last, first)]

    def excess(r):
        t = (last.mean() - r * first.mean()) / np.sqrt(scatter[0] + r * r * scatter[1])
        return abs(t) - stats.t.ppf(0.9875, 24)

    middle = last.mean() / first.mean()
    expected = middle, optimize.brentq(excess, 0, middle), optimize.brentq(excess, middle, 50 * middle)
    assert level(sums_of(last, last), sums_of(first, first), 0.975) == pytest.approx(expected)


def test_the_level_of_two_equal_phases_is_seldom_called_a_change():
    def simulate(random):
        first, last = (sums_of(*heavy(random, 25, own=0.4)) for _ in range(2))
        return level(last, first)[1:]

    assert rate_of_errors(25, 1000, simulate) <= 0.065


def test_two_equal_ratios_are_seldom_told_apart():
    def simulate(random):
        return fold(*(ratio_of(sums_of(*heavy(random, 30, rise=1.8))) for _ in range(2)))[1:]

    assert rate_of_errors(30, 1000, simulate) <= 0.06


def test_a_fold_of_ratios_is_as_sure_as_both_are():
    one, other = Ratio(50, 0.4, 0.2, 2.0, 1.6, 2.5), Ratio(50, 0.1, 0.2, 0.5, 0.4, 0.625)
    ratio, low, high = fold(one, other)
    assert ratio == pytest.approx(4)
    assert (np.log(low), np.log(high)) == pytest.approx(
        np.log(4) + np.hypot(*[np.log(1.25)] * 2) * np.array([-1, 1])
    )
    assert fold(one, one)[0] == 1
    lost = fold(one._replace(low=0), other)
    assert lost[1] == 0
    assert lost[2] == pytest.approx(high)
    assert np.isnan(fold(one, Ratio(3, 0.1, 0.1, np.nan, np.nan, np.nan))).all()
