"""What is read off a batch of prompts: rows by content, padding rows, the kind of call."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arpo_entropy_recorder.recorder.batch import Batch
from arpo_entropy_recorder.step_files.values import prompt_digest

PAD = 0


def batch(rows, dp_rank=0, dp_size=1, **meta_info):
    length = max(map(len, rows), default=1)
    ids = torch.tensor([[PAD] * (length - len(row)) + row for row in rows])
    return Batch(SimpleNamespace(batch={"input_ids": ids}, meta_info=meta_info), PAD, dp_rank, dp_size)


def rows_of(view, starts):
    return [place.row for place in view.places(starts)]


prompts = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4), min_size=1, max_size=6)


@settings(deadline=None)
@given(prompts, st.integers(1, 3))
def test_starts_that_repeat_each_row_get_their_rows(rows, times):
    starts = [list(row) for row in rows for _ in range(times)]
    expected = [i for i in range(len(rows)) for _ in range(times)]
    found = rows_of(batch(rows), starts)
    assert [rows[i] for i in found] == starts
    # Rows that read the same share their starts in order, so the whole list is as the loop made it.
    assert found == expected


@settings(deadline=None)
@given(prompts, st.randoms())
def test_starts_in_any_order_get_a_row_of_their_content(rows, rng):
    starts = [list(row) for row in rows]
    rng.shuffle(starts)
    assert [rows[i] for i in rows_of(batch(rows), starts)] == starts


def test_rows_that_read_the_same_but_start_unlike_numbers_are_told_by_their_objects():
    """AEPO: a probe for each row, then as many starts as the probes' entropies ask for."""
    view = batch([[900, 1], [900, 1], [900, 1]])
    lists = [[int("900"), 1] for _ in range(3)]
    assert rows_of(view, lists) == [0, 1, 2]
    starts = [0, 1, 1, 1, 2, 2]
    assert rows_of(view, [lists[row].copy() for row in starts]) == starts


def test_each_wave_of_starts_takes_rows_that_read_the_same_in_turn():
    """AEPO where its starts are other lists than its probes: a set of objects a row, copied as often as is due."""
    view = batch([[900, 1], [900, 1], [900, 1]])
    assert rows_of(view, [[int("900"), 1] for _ in range(3)]) == [0, 1, 2]
    lists, starts = [[int("900"), 1] for _ in range(3)], [0, 1, 1, 1, 2, 2]
    assert rows_of(view, [lists[row].copy() for row in starts]) == starts
    assert rows_of(view, [lists[2].copy()]) == [2]
    assert view.doubtful == set()


def test_a_share_that_does_not_come_out_even_is_not_sure():
    view = batch([[900, 1], [2], [900, 1]])
    view.places([[int("900"), 1] for _ in range(3)])
    assert view.doubtful == {0, 2}


@pytest.mark.parametrize("calls", [
    [[[900, 1], [900, 1], [2]]],  # row 2 before row 1
    [[[2], [900, 1], [900, 1]], [[900, 1], [900, 1]]],  # a part of the batch at a time
])  # fmt: skip
def test_rows_that_read_the_same_are_doubtful_in_another_order(calls):
    view = batch([[900, 1], [2], [900, 1]])
    for starts in calls:
        view.places([[int(str(token)) for token in start] for start in starts])
    assert view.doubtful == {0, 2}


@pytest.mark.parametrize(("start", "row", "prompt_len"), [
    ([5, 1, 2], 0, 3), ([5, 1, 2, 8], 0, 3), ([1, 2, 8], 1, 2), ([1, 7, 7, 2], 1, 4), ([3, 3], -1, 2)
])  # fmt: skip
def test_a_start_may_go_beyond_its_row_or_have_text_put_in(start, row, prompt_len):
    assert batch([[5, 1, 2], [1, 2]]).places([start, [1, 2]])[0][:2] == (row, prompt_len)


def test_a_start_of_no_row_is_no_padding():
    assert not batch([[1], [2]], dp_rank=1, dp_size=2, pad_size=2).is_padding(np.array([-1])).any()


def test_rows_that_read_the_same_share_their_starts_where_objects_do_not_tell_rows():
    view = batch([[900, 1], [900, 1]])
    assert rows_of(view, [[int("900"), 1] for _ in range(6)]) == [0, 0, 0, 1, 1, 1]


def test_copies_of_one_list_for_rows_that_read_the_same_are_doubtful():
    view, one = batch([[900, 1], [900, 1]]), [int("900"), 1]
    assert rows_of(view, [one.copy() for _ in range(4)]) == [0, 0, 0, 0]
    assert view.doubtful == {0, 1}


def test_a_start_that_is_in_no_row_gets_minus_one():
    assert rows_of(batch([[1, 2], [3]]), [[2], [1, 2], [9]]) == [-1, 0, -1]


def test_a_prompt_that_ends_like_a_longer_one_is_not_taken_for_it():
    assert rows_of(batch([[5, 1, 2], [1, 2]]), [[1, 2], [5, 1, 2]]) == [1, 0]


@pytest.mark.parametrize(("rank", "padded"), [(0, [False] * 3), (1, [False, True, True])])
def test_padding_rows_are_those_at_the_end_of_the_whole_batch(rank, padded):
    view = batch([[1], [2], [3]], dp_rank=rank, dp_size=2, pad_size=2)
    assert view.is_padding(np.arange(3)).tolist() == padded


def test_step_0_is_a_step():
    """Validation before training is verl's step 0."""
    assert batch([[1]], global_steps=0, validate=True).global_step == 0


def test_meta_info_says_which_call_it_is():
    assert batch([[1]]).global_step is None
    view = batch([[1]], global_steps=7, validate=True, do_sample=False)
    assert (view.global_step, view.validate, view.do_sample) == (7, True, False)


def test_a_prompt_has_one_digest_whatever_its_padding():
    short, long = batch([[5, 6]]), batch([[7], [5, 6], [1, 2, 3, 4]])
    (digest,) = short.prompt_digests(np.array([0]))
    assert long.prompt_digests(np.array([1, -1, 1])) == [digest, None, digest]
    assert digest == prompt_digest([5, 6]) != prompt_digest([6, 5])
