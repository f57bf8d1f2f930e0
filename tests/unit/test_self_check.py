"""What a loop returns, with its mask of who wrote which token, against what was followed."""

from types import SimpleNamespace

import numpy as np
import pytest

from arpo_entropy_recorder.recorder.lineage import TrajectoryTracker
from arpo_entropy_recorder.recorder.results import ResultForm
from arpo_entropy_recorder.recorder.self_check import Findings, compare

PAD, EOS, END = 0, 9, 777


@pytest.fixture
def tracker():
    """Two trajectories of two prompts; each has been given a result, the second a notice before it."""
    tracker = TrajectoryTracker(ResultForm(lambda tokens: tokens[-1] == END))
    lists = [[1000, 2000], [2001]]
    tracker.begin(lists)
    tracker.end([[501, 502], [601]], ["</search>", "</python>"], ["stop", "stop"])
    lists[0] += [501, 502, 800, END]
    lists[1] += [601, 901, 902]
    tracker.begin(lists)
    tracker.end([[503], [602]], [None, None], ["stop", "stop"])
    lists[0].append(503)
    lists[1].append(602)
    return tracker


def output(responses, masks, prompts=((1000, 2000), (PAD, 2001))):
    width = max(map(len, responses))
    padded, mask = ([[*row, *[0] * (width - len(row))] for row in rows] for rows in (responses, masks))
    return SimpleNamespace(
        batch={"prompts": np.array(prompts), "responses": np.array(padded), "loss_mask": np.array(mask)}
    )


RESPONSES = [[501, 502, 800, END, 503], [601, 901, 902, 602]]
MASKS = [[1, 1, 0, 0, 1], [1, 0, 0, 1]]


def test_what_agrees_is_not_told(tracker):
    assert compare(tracker.trajectories, output(RESPONSES, MASKS), PAD) == Findings()
    ended = [[*RESPONSES[0], EOS], [601, 901]]
    assert compare(tracker.trajectories, output(ended, [[*MASKS[0], 1], [1, 0]]), PAD) == Findings()


def test_a_response_that_was_not_followed_is_told(tracker):
    found = compare(tracker.trajectories, output([[501, 504, 505], RESPONSES[1]], [[1, 1, 1], MASKS[1]]), PAD)
    assert (found.not_followed, found.disagreements) == (1, 0)
    assert "response 0 of the output" in found.example


def test_text_that_the_mask_gives_to_the_policy_is_no_result(tracker):
    responses = [RESPONSES[0], RESPONSES[1], RESPONSES[0]]
    tracker.trajectories[1].pieces[1].is_result = True
    found = compare(tracker.trajectories, output(responses[:2], [MASKS[0], [1, 1, 1, 1]]), PAD)
    assert (found.not_followed, found.disagreements) == (0, 1)
    assert tracker.settle() == []
    assert [segment.round for segment in tracker.segments] == [0, 0, 1, 0]


def test_text_that_is_not_known_is_settled_by_the_mask(tracker):
    tracker.trajectories[1].pieces[1].is_result = None
    assert compare(tracker.trajectories, output(RESPONSES, [MASKS[0], [1, 1, 1, 1]]), PAD) == Findings()
    assert tracker.trajectories[1].pieces[1].is_result is False


def test_policy_tokens_that_the_mask_gives_to_a_tool_make_a_trajectory_unsure(tracker):
    found = compare(tracker.trajectories, output(RESPONSES, [[1, 0, 0, 0, 1], MASKS[1]]), PAD)
    assert found.disagreements == 1
    assert [trajectory.unsure for trajectory in tracker.trajectories] == [True, False]


def test_a_mask_that_does_not_tell_results_is_not_believed(tracker):
    assert compare(tracker.trajectories, output(RESPONSES, [[1] * 5, [1] * 4]), PAD) == Findings()
    assert tracker.segments[2].round == 1


class NoArray:
    """As a tensor that has a gradient, or is nested or of bfloat16."""

    def __array__(self, *_, **__):
        raise TypeError("can't convert")


@pytest.mark.parametrize(
    "mask",
    [
        NoArray(),
        np.ones((1, 5), int),
        np.ones((2, 5, 1), int),
        np.full((2, 5), "x"),
        np.full((2, 5), None),
        [[1], [1, 0]],
    ],
)
def test_a_mask_of_another_form_is_not_believed(tracker, mask):
    given = output(RESPONSES, MASKS)
    given.batch["loss_mask"] = mask
    assert compare(tracker.trajectories, given, PAD) == Findings()
    assert tracker.segments[2].round == 1


@pytest.mark.parametrize("dtype", [bool, np.int8, np.float16])
def test_a_mask_may_have_any_type_of_number_and_is_left_as_it_was(tracker, dtype):
    given = output(RESPONSES, [MASKS[0], [1, 1, 1, 1]])
    tracker.trajectories[1].pieces[1].is_result = True
    given.batch["loss_mask"] = given.batch["loss_mask"].astype(dtype)
    for table in given.batch.values():
        table.flags.writeable = False
    found = compare(tracker.trajectories, given, PAD)
    assert (found.not_followed, found.disagreements) == (0, 1)


@pytest.mark.parametrize(
    "strange", [None, 3, SimpleNamespace(batch=None), SimpleNamespace(batch={"prompts": [[1]]})]
)
def test_an_output_of_another_form_is_not_compared(tracker, strange):
    assert compare(tracker.trajectories, strange, PAD) == Findings()
