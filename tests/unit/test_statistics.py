"""The streamed statistics against Python's own `statistics`, and which records they are made of."""

import statistics as oracle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_steps import make_step

from arpo_entropy_recorder.analysis.analysis import KINDS, analyse
from arpo_entropy_recorder.analysis.breakdown import ByPosition, BySteps
from arpo_entropy_recorder.analysis.pairs import Pairs
from arpo_entropy_recorder.analysis.statistics import POINTS_KEPT, Group, Rounds
from arpo_entropy_recorder.errors import UserError

entropies = st.lists(st.floats(0, 1), min_size=1, max_size=60)


@given(st.lists(entropies, min_size=1, max_size=5))
def test_a_group_fed_in_pieces_has_the_numbers_of_the_whole(pieces):
    group, whole = Group(), [value for piece in pieces for value in piece]
    for piece in pieces:
        group.add(np.array(piece))
    assert group.n == len(whole)
    assert group.mean == pytest.approx(oracle.fmean(whole), abs=1e-12)
    assert group.share_above == sum(value > 0.6 for value in whole) / len(whole)
    if len(whole) > 1:
        assert group.sd == pytest.approx(oracle.stdev(whole), abs=1e-9)
    else:
        assert np.isnan(group.sd)
    assert sorted(group.points()) == sorted(whole)


def test_an_empty_group_has_no_mean_rather_than_a_zero():
    group = Group()
    group.add(np.empty(0))
    assert group.n == 0
    assert np.isnan([group.mean, group.sd, group.share_above]).all()


def test_the_kept_points_are_a_uniform_sample_that_does_not_depend_on_the_pieces():
    values = np.arange(40_000) / 40_000
    at_once, in_pieces = Group(), Group()
    at_once.add(values)
    for piece in np.array_split(values, 37):
        in_pieces.add(piece)
    assert np.array_equal(at_once.points(), in_pieces.points())
    assert len(np.unique(at_once.points())) == POINTS_KEPT
    tenths, _ = np.histogram(at_once.points(), bins=10, range=(0, 1))
    assert abs(tenths - POINTS_KEPT / 10).max() < 5 * np.sqrt(POINTS_KEPT / 10)
    assert np.array_equal(at_once.points(100), at_once.points()[:100])


def test_rounds_hold_the_records_after_tool_calls_and_the_start():
    records = [(0, False, 0.1), (1, True, 0.7), (1, False, 0.9), (1, True, 0.8), (3, True, 0.5)]
    analysis = analyse([make_step(records, 4), make_step([(0, False, 0.3)], 6)])
    rounds = analysis.rounds
    assert {number: sorted(group.points()) for number, group in rounds.by_round.items()} == {
        1: [0.7, 0.8],
        3: [0.5],
    }
    assert sorted(rounds.initial.points()) == [0.1, 0.3]
    assert sorted(rounds.after_tool.points()) == [0.5, 0.7, 0.8]  # 0.9 continues a segment, after no tool
    assert rounds.steps == {4, 6}
    assert not analysis.left_out


def test_what_goes_on_after_a_length_limit_is_no_start():
    first, on, after = (0, False, 0.2), (0, False, 0.9), (1, True, 0.6)
    keys = {
        "call": np.array([0, 0, 0, 1, 0, 0, 0]),
        "dp_rank": np.array([0, 0, 0, 0, 1, 0, 0]),
        "sample_idx": np.array([0, 1, 0, 0, 0, 1, 2]),
    }
    step = make_step([first, (0, False, np.nan), on, first, first, on, after], **keys)
    step.columns["window"] = step.columns["entropy"][:, None]
    rounds, steps, positions = Rounds(), BySteps(), ByPosition()
    for accumulator in (rounds, steps, positions):
        accumulator.add(step)
    for group in (rounds.initial, steps.cells[1][0], positions.initial[0]):
        assert group.points().tolist() == [0.2, 0.2, 0.2]
    pairs = Pairs()
    pairs.add(make_step([first, on, after], sample_idx=np.zeros(3, int)))
    assert pairs.changes.tolist() == pytest.approx([0.4])


def test_null_entropies_and_padding_are_left_out_and_counted():
    records = [(1, True, 0.7), (1, True, np.nan), (1, True, 0.2), (1, True, np.nan)]
    step = make_step(records, padding=np.array([False, False, True, True]))
    analysis = analyse([step])
    assert analysis.rounds.after_tool.points().tolist() == [0.7]
    assert analysis.left_out == Counter({"padding rows": 2, "without an entropy (null)": 1})


def test_sampled_greedy_and_validation_records_are_never_mixed():
    train = make_step([(1, True, 0.7), (1, True, 0.1)], do_sample=np.array([True, False]))
    validation = make_step(
        [(1, True, 0.2), (1, True, 0.3)], validate=True, do_sample=np.array([False, False])
    )
    greedy = make_step([(1, True, 0.4)], do_sample=np.array([False]))
    analysis = analyse([validation, train])
    assert analysis.kind == KINDS[0]
    assert analysis.rounds.after_tool.points().tolist() == [0.7]
    assert analysis.left_out == Counter(greedy=1, validation=2)
    for step, kind, n in ((validation, "validation", 2), (greedy, "greedy", 1)):
        analysis = analyse([step])
        assert (analysis.rounds.after_tool.n, analysis.kind, analysis.left_out) == (n, kind, Counter())
    with pytest.raises(UserError, match="no steps there"):
        analyse([])


def test_a_stale_step_is_left_out_whole():
    analysis = analyse([make_step([(1, True, 0.7)], 3, stale=True), make_step([(1, True, 0.2)], 2)])
    assert analysis.rounds.after_tool.points().tolist() == [0.2]
    assert analysis.left_out == Counter({"stale steps": 1})


@pytest.mark.parametrize("n", [5, 40, 200, 201, 5_000])
def test_the_interval_covers_a_known_mean_about_as_often_as_it_says(n):
    covered, lengths = 0, []
    for seed in range(60):
        group = Group()
        group.add(np.random.default_rng(seed).uniform(0, 1, n))
        low, high = group.interval()
        covered += low <= 0.5 <= high
        lengths.append(high - low)
    assert covered >= 45  # of 57 expected; the bootstrap is short for five values
    assert np.mean(lengths) == pytest.approx(2 * 1.96 * (1 / 12 / n) ** 0.5, rel=0.2)


def test_too_few_values_have_no_interval_and_equal_ones_an_empty_one():
    group = Group()
    group.add(np.full(4, 0.5))
    assert np.isnan(group.interval()).all()
    group.add(np.full(4, 0.5))
    assert group.interval() == (0.5, 0.5)
