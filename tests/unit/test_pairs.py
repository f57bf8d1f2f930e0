"""Each record against its own trajectory's start, found through its branches; the test against scipy's words."""

import statistics as oracle
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_steps import make_run, make_step
from scipy import stats

from arpo_entropy_recorder.analysis.ancestry import initial_entropies
from arpo_entropy_recorder.analysis.pairs import Pairs
from arpo_entropy_recorder.analysis.verdict import paired_numbers, paired_verdict


def naive_start(records, key):
    """The initial entropy of trajectory `key` by walking up one parent at a time; None where there is none."""
    visited = set()
    while key not in visited:
        visited.add(key)
        mine = [r for r in records if (r["call"], r["dp_rank"], r["sample_idx"]) == key]
        if not mine:
            return None
        if mine[0]["parent_idx"] < 0 and mine[0]["round"] == 0 and not mine[0]["is_after_tool_call"]:
            return mine[0]["entropy"]
        key = (*key[:2], mine[0]["parent_idx"])
    return None


@st.composite
def branching_records(draw):
    """Records of some calls and ranks; a branch's parent may be missing, later, or (in a broken file) itself."""
    records = []
    for _ in range(draw(st.integers(1, 25))):
        sample, parent = draw(st.integers(0, 7)), draw(st.integers(-1, 8))
        number = draw(st.integers(0, 2))
        records.append(
            {
                "call": draw(st.integers(0, 1)),
                "dp_rank": draw(st.integers(0, 1)),
                "sample_idx": sample * 10**17,  # no arithmetic on ids may overflow
                "parent_idx": parent * 10**17 if parent >= 0 else -1,
                "round": number,
                "is_after_tool_call": number > 0 or draw(st.booleans()),
                "entropy": draw(st.floats(0, 1)),
            }
        )
    return records


@given(branching_records())
def test_every_record_finds_the_start_that_a_walk_up_its_parents_finds(records):
    columns = {name: np.array([record[name] for record in records]) for name in records[0]}
    step = make_step([(0, False, 0.0)] * len(records), **columns)
    trajectory, initial = initial_entropies(step)
    by_round = sorted(records, key=lambda record: record["round"])
    for index, record in enumerate(records):
        expected = naive_start(by_round, (record["call"], record["dp_rank"], record["sample_idx"]))
        found = initial[trajectory[index]]
        assert np.isnan(found) if expected is None else found == expected


def test_a_branch_is_compared_with_its_ancestors_start_and_a_null_start_with_nothing():
    step = make_step(
        [(0, False, 0.2), (1, True, 0.6), (1, True, 0.7), (2, True, 0.9), (0, False, np.nan), (1, True, 0.5)],
        sample_idx=np.array([0, 0, 1, 2, 3, 3]),
        parent_idx=np.array([-1, -1, 0, 1, -1, -1]),
    )
    pairs = Pairs()
    pairs.add(step)
    assert {number: sorted(group.points()) for number, group in pairs.by_round.items()} == {
        1: pytest.approx([0.4, 0.5]),
        2: pytest.approx([0.7]),
    }
    assert pairs.unpaired == 1
    assert sorted(pairs.changes) == pytest.approx([0.4, 0.5, 0.7])


def test_the_paired_numbers_equal_an_independent_computation():
    steps = list(make_run(steps=4, trajectories=40))
    pairs, changes = Pairs(), []
    for step in steps:
        pairs.add(step)
        rows = list(zip(*(step.columns[k].tolist() for k in ("sample_idx", "round", "entropy")), strict=True))
        for sample in {row[0] for row in rows}:
            start = next(entropy for s, number, entropy in rows if s == sample and number == 0)
            after = [
                entropy for s, number, entropy in rows if s == sample and number > 0 and entropy == entropy
            ]
            if after and start == start:
                changes.append(oracle.fmean(after) - start)
    test = pairs.test()
    assert test.n == len(changes)
    assert test.change == pytest.approx(oracle.fmean(changes))
    assert test.effect == pytest.approx(oracle.fmean(changes) / oracle.stdev(changes))
    assert test.rising == sum(change > 0 for change in changes) / len(changes)
    assert test.p == pytest.approx(stats.wilcoxon(changes).pvalue)
    quantile = stats.t.ppf(0.975, len(changes) - 1)
    middle, half = oracle.fmean(changes), quantile * oracle.stdev(changes) / len(changes) ** 0.5
    assert (test.low, test.high) == pytest.approx((middle - half, middle + half))


def answer(test):
    return f"{paired_verdict(test)}: {paired_numbers(test)}."


@pytest.mark.parametrize(
    ("after", "before", "verdict"),
    [(0.7, 0.2, "Yes:"), (0.2, 0.7, "No: after-tool entropy is below"), (0.5, 0.5, "No clear")],
)
def test_the_answer_says_which_is_higher(after, before, verdict):
    random = np.random.default_rng(1)
    sample = np.repeat(np.arange(30), 2)
    spread = random.normal(0, 0.05, 30)
    spread -= spread.mean()
    records = [(r, r > 0, (after + spread[s]) if r else before) for s in range(30) for r in (0, 1)]
    pairs = Pairs()
    pairs.add(make_step(records, sample_idx=sample))
    said = answer(pairs.test())
    assert said.startswith(verdict)
    assert "\n" not in said


@pytest.mark.parametrize("after", [0.7, [0.6 + 0.1, 0.7]])
def test_equal_changes_have_no_effect_size_and_the_answer_says_so(after):
    records = [(0, False, 0.1)] * 8 + [(1, True, value) for value in np.broadcast_to(np.resize(after, 8), 8)]
    pairs = Pairs()
    pairs.add(make_step(records, sample_idx=np.tile(np.arange(8), 2)))
    said = answer(pairs.test())
    assert said.startswith("Yes")
    assert "nan" not in said
    assert "d_z not defined (all changes equal), Wilcoxon signed-rank p = 0.0078" in said
    # For five the least p is 0.0625.
    assert paired_verdict(of_changes([0.1] * 5)).startswith("No clear difference")
    assert "nan" not in answer(of_changes([0.0] * 5))


def clustered(seed, prompts=32, rollouts=16):
    """No change on average, but rollouts of one prompt change alike."""
    random = np.random.default_rng(seed)
    n = prompts * rollouts
    prompt = np.repeat(np.arange(prompts), rollouts)
    after = 0.5 + random.normal(0, 0.1, prompts)[prompt] + random.normal(0, 0.05, n)
    return make_step(
        [(0, False, 0.5)] * n + [(1, True, value) for value in after],
        sample_idx=np.tile(np.arange(n), 2),
        prompt_idx=np.tile(prompt, 2),
    )


def test_without_a_true_effect_the_interval_leaves_zero_out_about_as_often_as_it_says():
    wrong = 0
    for seed in range(100):
        pairs = Pairs()
        pairs.add(clustered(seed))
        test = pairs.test()
        wrong += not test.low <= 0 <= test.high
    assert wrong <= 15  # about 6 expected; over trajectories as if independent it is about 60
    assert "over n = 32 prompts with 512 trajectories; " in answer(test)


def of_changes(changes):
    """The test of so many prompts' changes."""
    pairs = Pairs()
    n = len(changes)
    pairs.add(
        make_step(
            [(0, False, 0.5)] * n + [(1, True, 0.5 + change) for change in changes],
            sample_idx=np.tile(np.arange(n), 2),
            prompt_idx=np.tile(np.arange(n), 2),
        )
    )
    return pairs.test()


@pytest.mark.parametrize("n", [5, 12])
def test_few_prompts_without_a_true_effect_are_seldom_called_one(n):
    random = np.random.default_rng(n)
    tests = [of_changes(random.normal(0, 0.05, n)) for _ in range(200)]
    assert sum(paired_verdict(test).startswith(("Yes", "No:")) for test in tests) <= 18  # 10 or less expected
    # And the interval keeps what it says: a bootstrap's leaves zero out 16 to 34 times.
    assert sum(not test.low <= 0 <= test.high for test in tests) <= 18


@pytest.mark.parametrize(
    "changes",
    [[1, 1, 1, 2, -1], [3, 3, -3, 3, 3, 3], [0, 1, 2, 3, -4], [0, 0, 1, 0, 0], [1, 1, 2, 2, 3, 3, -1, 5]],
    ids=str,
)
def test_ties_and_zeros_have_the_p_of_all_signs(changes):
    given = [change for change in changes if change]
    sizes = [abs(change) for change in given]
    ranks = [oracle.fmean([i for i, size in enumerate(sorted(sizes), 1) if size == mine]) for mine in sizes]
    wanted = sum(rank for rank, change in zip(ranks, given, strict=True) if change > 0)
    sums = [
        sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign)
        for signs in product([False, True], repeat=len(given))
    ]
    tails = (sum(found >= wanted for found in sums), sum(found <= wanted for found in sums))
    p = of_changes([change / 100 for change in changes]).p
    assert p == pytest.approx(min(2 * min(tails) / len(sums), 1))
    assert p == pytest.approx(stats.wilcoxon(changes, method=stats.PermutationMethod()).pvalue)


def test_no_answer_is_given_that_the_test_beside_it_denies():
    test = of_changes([0.01, 0.02, 0.03, 0.04, 0.05])
    assert test.low > 0
    assert test.p > 0.05
    assert answer(test).startswith(
        "No clear difference between after-tool and initial entropy: mean change +0.03"
    )


def test_changes_that_only_rounding_makes_are_none():
    pairs = Pairs()
    records = [(0, False, 0.3)] + [(1, True, value) for value in (0.1, 0.2, 0.6)]
    one = [(0, False, 0.3), (1, True, 0.4)]
    samples = np.concatenate([np.repeat(np.arange(49), 4), [49, 49]])
    pairs.add(make_step(records * 49 + one, sample_idx=samples, prompt_idx=samples))
    test = pairs.test()
    assert test.rising == 1 / 50
    assert test.p > 0.3
    assert answer(test).startswith("No clear difference")


def test_a_prompt_counts_once_a_call_and_rank_and_who_tells_none_for_itself():
    #                  sample, call, rank, prompt, change
    trajectories = [(0, 0, 0, 3, 0.1), (1, 0, 0, 3, 0.3), (2, 0, 0, 4, 0.5), (0, 1, 0, 3, 0.6)]
    trajectories += [(0, 0, 1, 3, 0.7), (3, 0, 0, -1, 0.2), (4, 0, 0, -1, 0.4)]
    sample, call, rank, prompt, change = (np.array(column) for column in zip(*trajectories, strict=True))
    names = {"sample_idx": sample, "call": call, "dp_rank": rank, "prompt_idx": prompt}
    step = make_step(
        [(0, False, 0.1)] * len(change) + [(1, True, 0.1 + value) for value in change],
        **{name: np.tile(column, 2) for name, column in names.items()},
    )
    pairs = Pairs()
    pairs.add(step)
    pairs.add(step)  # the same numbers in another step are other prompts
    assert sorted(pairs.changes) == pytest.approx(sorted([0.2, 0.5, 0.6, 0.7, 0.2, 0.4] * 2))
    test = pairs.test()
    assert (test.n, test.over, test.trajectories) == (12, "prompts", 14)
    step.columns["prompt_idx"][:] = -1
    pairs = Pairs()
    pairs.add(step)
    assert (pairs.test().n, pairs.test().over) == (7, "trajectories")


def test_without_pairs_or_with_too_few_there_is_no_answer():
    pairs = Pairs()
    assert "No answer" in answer(pairs.test())
    pairs.add(make_step([(0, False, 0.2), (1, True, 0.9)], sample_idx=np.array([0, 0])))
    assert "No answer" in answer(pairs.test())
    assert "there have to be 5 trajectories, not 1" in answer(pairs.test())


def naive_sums(records):
    """{(tool or None for all): (n, A, B)} of records with starts by `naive_start`, in plain Python."""
    found = {}
    for wanted in (None, "search", "python"):
        trajectories = {}
        for record in records:
            key = (record["call"], record["dp_rank"], record["sample_idx"])
            start = naive_start(records, key)
            if record["is_after_tool_call"] and start is not None and wanted in (None, record["tool"]):
                trajectories.setdefault((record["prompt_idx"], key, start), []).append(record["entropy"])
        means = {}
        for (prompt, _, start), entropies in trajectories.items():
            means.setdefault(prompt, []).append((oracle.fmean(entropies), start))
        both = [[oracle.fmean(column) for column in zip(*pairs, strict=True)] for pairs in means.values()]
        found[wanted] = (len(both), sum(a for a, _ in both), sum(b for _, b in both))
    return found


def test_a_prompts_means_are_those_of_its_trajectories():
    random = np.random.default_rng(7)
    records = []
    for sample in range(24):
        parent = int(random.integers(sample)) if sample and random.random() < 0.4 else -1
        prompt = (
            sample % 5 if parent < 0 else next(r["prompt_idx"] for r in records if r["sample_idx"] == parent)
        )
        for number in range(parent >= 0, int(random.integers(1, 5)) + (parent >= 0)):
            tool = str(random.choice(["search", "python"])) if number else None
            records.append(
                {"call": 0, "dp_rank": 0, "sample_idx": sample, "prompt_idx": prompt, "parent_idx": parent,
                 "round": number, "is_after_tool_call": number > 0, "tool": tool, "entropy": random.random()}
            )  # fmt: skip
    columns = {name: np.array([record[name] for record in records]) for name in records[0]}
    columns["tool"] = columns["tool"].astype(object)
    pairs = Pairs()
    pairs.add(make_step([(0, False, 0.0)] * len(records), 4, **columns))
    expected = naive_sums(records)
    assert pairs.steps.tolist() == [4]
    assert pairs.sums[0, :3] == pytest.approx(expected.pop(None))
    for tool, numbers in expected.items():
        assert pairs.by_tool[tool].sums(pairs.steps)[0, :3] == pytest.approx(numbers)
    with_tool = {record["sample_idx"] for record in records if record["is_after_tool_call"]}
    assert pairs.counts[0, :2].tolist() == [24, len(with_tool)]
    assert pairs.with_tool(slice(0, 1)) == len(with_tool) / 24


def test_rows_with_the_same_prompt_name_are_one_prompt():
    names = np.array(["x", "x", "y", None, None], object)
    step = make_step(
        [(0, False, 0.1)] * 5 + [(1, True, value) for value in (0.2, 0.4, 0.6, 0.7, 0.8)],
        sample_idx=np.tile(np.arange(5), 2),
        prompt_idx=np.tile(np.arange(5), 2),
        prompt=np.tile(names, 2),
    )
    pairs = Pairs()
    pairs.add(step)
    _, after, before, found = pairs.means.columns()
    assert sorted(zip(after.round(3), found, strict=True), key=str) == [
        (0.3, "x"),
        (0.6, "y"),
        (0.7, None),
        (0.8, None),
    ]
    assert before == pytest.approx(0.1)
