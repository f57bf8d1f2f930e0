"""What the trainer's loggers get of a call."""

import json
import logging

import numpy as np
import pytest
from real_like_runs import write_run

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.recorder.call_entropies import CallEntropies
from arpo_entropy_recorder.recorder.records import entropy_metrics
from arpo_entropy_recorder.recorder.rise import RiseLog
from arpo_entropy_recorder.step_files.read import read_steps

COLUMNS = {
    "sample_idx": np.array([0, 1, 0, 0, 1, 2]),
    "round": np.array([0, 0, 0, 1, 1, 0]),
    "is_after_tool_call": np.array([False, False, False, True, True, False]),
    "entropy": np.array([0.1, 0.3, 0.9, 0.5, 0.75, np.nan], dtype=np.float32),
}


def test_the_means_are_of_starts_and_of_what_follows_results():
    metrics = entropy_metrics(CallEntropies(COLUMNS))
    assert metrics.pop("entropy/initial/mean") == pytest.approx(0.2)
    assert (
        metrics.pop("entropy/after_tool/mean") == metrics.pop("entropy/round_1/mean") == pytest.approx(0.625)
    )
    assert metrics.pop("entropy/after_tool/std") == pytest.approx(0.125)
    assert metrics.pop("entropy/after_tool/share_above_0.6") == pytest.approx(0.5)
    assert metrics.pop("entropy/after_tool/p90") == pytest.approx(0.725)
    assert (metrics.pop("entropy/tool_results"), metrics.pop("entropy/null")) == (2, 1)
    assert metrics.pop("entropy/rise/share_of_prompts") == 1
    assert metrics.pop("entropy/rise/ratio") == pytest.approx(1.25 / 0.4)
    assert not metrics


def test_each_round_has_its_own_mean():
    metrics = entropy_metrics(
        CallEntropies(
            {
                "sample_idx": np.array([0, 0, 0, 1, 1]),
                "round": np.array([0, 1, 2, 0, 1]),
                "is_after_tool_call": np.array([False, True, True, False, True]),
                "entropy": np.array([0.1, 0.5, 0.9, 0.3, 0.7]),
            }
        )
    )
    assert metrics["entropy/round_1/mean"] == pytest.approx(0.6)
    assert metrics["entropy/round_2/mean"] == pytest.approx(0.9)
    assert metrics["entropy/after_tool/mean"] == pytest.approx(0.7)


def test_padding_and_nulls_are_left_out_and_a_figure_without_records_is_absent():
    padded = COLUMNS | {"padding": np.array([False, True, False, True, True, False])}
    assert entropy_metrics(CallEntropies(padded)) == {
        "entropy/initial/mean": pytest.approx(0.1),
        "entropy/tool_results": 0,
        "entropy/null": 1,
    }


def test_what_begins_amid_a_response_is_no_start():
    step = {"round": np.zeros(3, int), "is_after_tool_call": np.zeros(3, bool), "sample_idx": np.arange(3)}
    step["entropy"] = np.array([0.1, 0.5, 0.9])
    branch, elsewhere = step | {"parent_idx": [None, 0, 0]}, step | {"mid_start": np.array([0, 1, 1], bool)}
    found = {"entropy/initial/mean": 0.1, "entropy/tool_results": 0}
    assert entropy_metrics(CallEntropies(branch)) == entropy_metrics(CallEntropies(elsewhere)) == found


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("metrics")
    write_run(out, "hold", steps=3)
    return out / "entropies"


def columns_of(file):
    records = json.loads(file.read_text())
    lists = {name: [record[name] for record in records] for name in records[0]}
    arrays = {"sample_idx": int, "round": int, "is_after_tool_call": bool, "entropy": float}
    return lists | {name: np.array(lists[name], dtype) for name, dtype in arrays.items()}


@pytest.mark.parametrize("step", [1, 2, 3])
def test_the_rise_is_that_of_the_analysis(run, step):
    file = run / f"entropy_step_{step}.json"
    metrics = entropy_metrics(CallEntropies(columns_of(file)))
    pairs = analyse(read_steps([file])).pairs
    n, a, b, *_ = pairs.sums[0]
    assert n > 5
    assert metrics["entropy/rise/ratio"] == pytest.approx(a / b)
    assert metrics["entropy/rise/share_of_prompts"] == pairs.test().rising
    for tool in ("search", "python"):
        assert 0 < metrics[f"entropy/tool/{tool}/mean"] < 1


def test_the_most_called_tools_are_named_by_what_a_logger_takes():
    tools = [f"a/b {number}" for number in range(10) for _ in range(number + 1)]
    metrics = entropy_metrics(
        CallEntropies(
            {
                "sample_idx": np.arange(len(tools)),
                "round": np.ones(len(tools), int),
                "is_after_tool_call": np.ones(len(tools), bool),
                "entropy": np.full(len(tools), 0.5),
                "tool": tools,
            }
        )
    )
    named = {name for name in metrics if name.startswith("entropy/tool/")}
    assert named == {f"entropy/tool/a_b_{number}/mean" for number in range(2, 10)}


def a_call(ratio):
    """Columns of eight trajectories; after a tool result the entropy is `ratio` times the start's; None: none."""
    rounds = np.repeat([0, 1], 8) if ratio is not None else np.zeros(8, int)
    return {
        "sample_idx": np.tile(np.arange(8), len(rounds) // 8),
        "round": rounds,
        "is_after_tool_call": rounds > 0,
        "entropy": np.where(rounds > 0, 0.1 * (ratio or 0), 0.1),
    }


def warned(caplog, ratios):
    """The warnings of steps with these ratios, one call each."""
    log = RiseLog()
    with caplog.at_level(logging.WARNING):
        for step, ratio in enumerate([*ratios, 1.0], 1):
            log.add(step, CallEntropies(a_call(ratio)))
    return [record.getMessage() for record in caplog.records]


def test_the_log_warns_once_of_a_ratio_below_1(caplog):
    (line,) = warned(caplog, [2.0] * 30 + [0.5] * 40)
    # Of 20 steps more than two thirds have to be below.
    assert "up to step 44 the entropy after tool results is 0.95 times that before any, over 20 steps" in line


def test_it_warns_again_only_after_a_clear_rise(caplog):
    assert len(warned(caplog, [0.5] * 25 + [1.05] * 25 + [0.5] * 25)) == 1
    caplog.clear()
    assert len(warned(caplog, [0.5] * 25 + [2.0] * 25 + [0.5] * 25)) == 2


def test_a_training_of_few_steps_is_not_warned_of(caplog):
    assert warned(caplog, [0.5] * 19) == []


def test_the_log_warns_of_a_step_without_a_tool_result(caplog):
    assert warned(caplog, [2.0, None, None, 2.0, None]) == [
        f"entropy recorder: no tool result in step {step} (of this worker)" for step in (2, 5)
    ]


def test_calls_of_one_step_are_one_step(caplog):
    log = RiseLog()
    with caplog.at_level(logging.WARNING):
        for step in range(1, 10):
            log.add(step, CallEntropies(a_call(None)))
            log.add(step, CallEntropies(a_call(2.0)))
        log.add(10, CallEntropies(a_call(2.0)))
    assert not caplog.records
