"""Where a loop branched, against a loop's own books, and the branching rules against the loops' words."""

import math
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from made_steps import draw_steps, make_step

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.analysis.branching import (
    Branching,
    aepo_probability,
    agreement,
    arpo_probability,
    places_of,
)
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.recorder.logprobs_entropy import logprobs_entropies

DRAWS = (np.arange(20_000) + 0.5) / 20_000  # of a uniform variable
CHANGES = np.array([-4.0, -1.0, -0.2, 0.0, 0.3, 2.0, 4.0])


def rollout(seed, calls=2):
    """A loop that branches as ARPO's does: its step, round by round, and (call, sample, round) of its branches."""
    random = np.random.default_rng(seed)
    rows, books = [], set()
    for call in range(calls):
        live = [{"sample": sample, "parent": -1, "round": 0, "after": False} for sample in range(3)]
        number = 3
        for _ in range(5):
            windows = random.random((len(live), 20))
            windows[random.random(windows.shape) < 0.1] = np.nan
            rows += [(call, *each.values(), window) for each, window in zip(live, windows, strict=True)]
            cut = random.random(len(live)) < 0.2  # by a length limit: no result follows
            kept = [(each, is_cut) for each, is_cut in zip(live, cut, strict=True) if random.random() < 0.8]
            live, new = [], []
            for each, is_cut in kept:
                live.append({**each, "round": each["round"] + (not is_cut), "after": not is_cut})
                if not is_cut and random.random() < 0.4:
                    books.add((call, each["sample"], each["round"] + 1))
                    new.append({**live[-1], "sample": number, "parent": each["sample"]})
                    number += 1
            live += new
    call, sample, parent, rounds, after, window = map(np.array, zip(*rows, strict=True))
    columns = {"call": call, "sample_idx": sample, "parent_idx": parent, "window": window}
    triples = zip(rounds.tolist(), after.tolist(), window[:, 0], strict=True)
    return make_step(triples, **columns), books


def test_rounds_may_be_of_any_size():
    last = 2**63 - 1
    step = make_step(
        [(0, False, 0.1), (last - 1, True, 0.2), (last, True, 0.3), (last, True, 0.4)],
        sample_idx=np.array([0, 0, 0, 1]),
        parent_idx=np.array([-1, -1, -1, 0]),
    )
    places, branched = places_of(step)
    assert (places.tolist(), branched.tolist()) == ([0, 1], [False, True])


@pytest.mark.parametrize("seed", range(5))
def test_places_and_branches_are_those_of_the_loops_books(seed):
    step, books = rollout(seed)
    places, branched = places_of(step)
    call, sample, rounds, after = (
        step.columns[name].tolist() for name in ("call", "sample_idx", "round", "is_after_tool_call")
    )
    expected = []
    for i, key in enumerate(zip(call, sample, strict=True)):
        behind = [j for j in range(i + 1, len(call)) if (call[j], sample[j]) == key]
        if behind and after[behind[0]]:
            expected.append((i, (*key, rounds[behind[0]]) in books))
    assert list(zip(places.tolist(), branched.tolist(), strict=True)) == expected
    assert {True, False} <= set(branched.tolist())


@pytest.mark.parametrize("seed", range(5))
def test_places_do_not_depend_on_the_records_order(seed):
    step, _ = rollout(seed)
    # Later rounds first; those of one round stay in their order.
    order = np.argsort(-step.columns["round"], kind="stable")
    turned = replace(step, columns={name: column[order] for name, column in step.columns.items()})
    expected, found = places_of(step), places_of(turned)
    assert dict(zip(order[found[0]].tolist(), found[1].tolist(), strict=True)) == dict(
        zip(expected[0].tolist(), expected[1].tolist(), strict=True)
    )


def test_a_served_trajectory_is_branched_in_whatever_call_it_goes_on():
    step, _ = rollout(0, calls=1)
    columns = {"call": step.columns["round"], "trajectory": step.columns["sample_idx"]}
    expected, found = (places_of(each) for each in (step, replace(step, columns=step.columns | columns)))
    assert expected[1].any()
    np.testing.assert_array_equal(found, expected)


def test_numbers_are_sums_over_the_window_and_change_against_the_trajectorys_first():
    step, _ = rollout(1)
    own = np.arange(len(step), dtype=float) / 100
    step.columns["logprobs_entropy"] = own
    found = Branching()
    found.add(step)
    places, _ = places_of(step)
    key = list(zip(step.columns["call"].tolist(), step.columns["sample_idx"].tolist(), strict=True))
    for row, place in enumerate(places.tolist()):
        first = key.index(key[place])
        sums = [math.fsum(v for v in step.columns["window"][i].tolist() if v == v) for i in (place, first)]
        assert found.column("exact")[row] == pytest.approx(sums[0], rel=1e-5)
        assert found.column("exact_change")[row] == pytest.approx(sums[0] - sums[1], abs=1e-5)
        assert found.column("own_change")[row] == pytest.approx(own[place] - own[first], abs=1e-5)


@pytest.mark.parametrize(("weight", "threshold"), [(0.2, 0.5), (0.5, 0.6), (0.2, 0.0), (0.2, 1.0), (0.2, -1)])
def test_arpos_probability_is_the_share_of_draws_that_branch(weight, threshold):
    for change, probability in zip(CHANGES, arpo_probability(CHANGES, weight, threshold), strict=True):
        cut = np.clip(DRAWS - weight * change, 0.0, 1.0)
        assert probability == pytest.approx(np.mean(cut <= threshold), abs=1e-4)


@pytest.mark.parametrize("consecutive", [0, 1, 7, 20, 30])
@pytest.mark.parametrize("threshold", [0.5, 0.0, 1.0])
def test_aepos_probability_is_the_share_of_draws_that_branch(consecutive, threshold):
    for change, probability in zip(
        CHANGES, aepo_probability(CHANGES, consecutive, 0.2, threshold), strict=True
    ):
        cut = np.clip((DRAWS + 0.2 * change) * max(0.0, 1 - 0.05 * consecutive), 0.0, 1.0)
        assert probability == pytest.approx(np.mean(cut >= threshold), abs=1e-4)


def test_the_difference_is_the_share_of_decisions_that_a_common_draw_changes():
    step, _ = rollout(2)
    step.columns["logprobs_entropy"] = 0.7 * np.nansum(step.columns["window"], axis=1)
    found = Branching()
    found.add(step)
    result = agreement(found)
    decisions = [
        np.clip(DRAWS - 0.2 * found.column(name)[:, None].astype(float), 0, 1) <= 0.5
        for name in ("exact_change", "own_change")
    ]
    assert result.difference == pytest.approx(np.mean(decisions[0] != decisions[1]), abs=1e-4)
    assert (result.n, result.correlation) == (len(found.column("own")), pytest.approx(1))


def test_the_figure_counts_places_and_needs_a_window_of_20():
    step, _ = rollout(3)
    _, branched = places_of(step)
    axes = draw_steps("branching", [step]).axes[0]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == [f"no branch\nn = {(~branched).sum()}", f"branch\nn = {branched.sum()}"]
    step.columns["logprobs_entropy"] = np.nan_to_num(step.columns["entropy"])
    axes = draw_steps("branching", [step]).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == labels * 2
    caption = axes.figure.get_supxlabel().replace("\n", " ")
    assert re.search(r"Rank correlation of the two: -?0\.\d\d \(n = \d+\)\.", caption)
    assert "By ARPO's rule (probability 0.5, weight 0.2)" in caption
    step.columns["window"] = step.columns["window"][:, :19]
    with pytest.raises(UserError, match="no step has windows of 20 tokens; record with entropy_window = 20"):
        draw_steps("branching", [step])


def token(*values):
    return {number: SimpleNamespace(logprob=value) for number, value in enumerate(values)}


def test_the_loops_number_is_of_all_alternatives_of_the_first_20_tokens():
    tokens = [token(math.log(0.5), math.log(0.25)), token(0.0), *[token(math.log(0.5))] * 30]
    expected = 0.5 * math.log(2) + 0.25 * math.log(4) + 18 * 0.5 * math.log(2)
    short, nothing = SimpleNamespace(logprobs=tokens[:1]), SimpleNamespace(logprobs=[])
    found = logprobs_entropies([SimpleNamespace(logprobs=tokens), short, nothing], 1000)
    assert found == pytest.approx(
        [expected / math.log(1000), (0.5 * math.log(2) + 0.25 * math.log(4)) / math.log(1000), 0]
    )
    (cut,) = logprobs_entropies([SimpleNamespace(logprobs=[token(0.0, -math.inf)])], 1000)
    assert math.isnan(cut)  # as in the loop


def test_no_number_is_read_where_none_was_asked_for():
    assert logprobs_entropies([SimpleNamespace(logprobs=None)], 1000) is None
    assert logprobs_entropies([SimpleNamespace()], 1000) is None


def test_other_statistics_do_not_need_the_number():
    step, _ = rollout(4)
    assert analyse([step]).branching.is_branched.any()
    without = make_step([(0, False, 0.1), (1, True, 0.2)])
    assert not analyse([without]).branching.branched
