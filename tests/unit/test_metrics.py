"""What the trainer's loggers get of a call."""

import numpy as np
import pytest

from arpo_entropy_recorder.recorder.records import entropy_metrics

COLUMNS = {
    "sample_idx": np.array([0, 1, 0, 0, 1, 2]),
    "round": np.array([0, 0, 0, 1, 1, 0]),
    "is_after_tool_call": np.array([False, False, False, True, True, False]),
    "entropy": np.array([0.1, 0.3, 0.9, 0.5, 0.75, np.nan], dtype=np.float32),
}


def test_the_means_are_of_starts_and_of_what_follows_results():
    metrics = entropy_metrics(COLUMNS)
    assert metrics.pop("entropy/initial/mean") == pytest.approx(0.2)
    assert (
        metrics.pop("entropy/after_tool/mean") == metrics.pop("entropy/round_1/mean") == pytest.approx(0.625)
    )
    assert metrics.pop("entropy/after_tool/std") == pytest.approx(0.125)
    assert metrics.pop("entropy/after_tool/share_above_0.6") == pytest.approx(0.5)
    assert not metrics


def test_each_round_has_its_own_mean():
    metrics = entropy_metrics(
        {
            "sample_idx": np.array([0, 0, 0, 1, 1]),
            "round": np.array([0, 1, 2, 0, 1]),
            "is_after_tool_call": np.array([False, True, True, False, True]),
            "entropy": np.array([0.1, 0.5, 0.9, 0.3, 0.7]),
        }
    )
    assert metrics["entropy/round_1/mean"] == pytest.approx(0.6)
    assert metrics["entropy/round_2/mean"] == pytest.approx(0.9)
    assert metrics["entropy/after_tool/mean"] == pytest.approx(0.7)


def test_padding_and_nulls_are_left_out_and_a_figure_without_records_is_absent():
    padded = COLUMNS | {"padding": np.array([False, True, False, True, True, False])}
    assert entropy_metrics(padded) == {"entropy/initial/mean": pytest.approx(0.1)}


def test_what_begins_amid_a_response_is_no_start():
    step = {"round": np.zeros(3, int), "is_after_tool_call": np.zeros(3, bool), "sample_idx": np.arange(3)}
    step["entropy"] = np.array([0.1, 0.5, 0.9])
    branch, elsewhere = step | {"parent_idx": [None, 0, 0]}, step | {"mid_start": np.array([0, 1, 1], bool)}
    assert entropy_metrics(branch) == entropy_metrics(elsewhere) == {"entropy/initial/mean": 0.1}
