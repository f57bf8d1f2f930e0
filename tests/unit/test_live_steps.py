"""Trajectories and values of an agent loop become step files: joined, in bounded time, written again when late."""

import errno
import json
import logging
import math

import numpy as np
import pytest

from arpo_entropy_recorder.live import steps as steps_module
from arpo_entropy_recorder.live.records import live_columns, wanted_values
from arpo_entropy_recorder.live.source import SHORTEST_WAIT_S, WAIT_S, likely_cause
from arpo_entropy_recorder.live.steps import LiveSteps
from arpo_entropy_recorder.live.trajectory import Request, Segment, Trajectory
from arpo_entropy_recorder.recorder.settings import Settings
from arpo_entropy_recorder.step_files import write as write_module
from arpo_entropy_recorder.step_files.read import read_steps

VOCAB = 100
LN = math.log(VOCAB)


class Source:
    """Values by key, and what was asked for."""

    def __init__(self, values):
        self.values, self.waits, self.wanted = values, [], []

    def take(self, wanted, timeout_s):
        self.waits.append(timeout_s)
        self.wanted.append(dict(wanted))
        return {key: (self.values.get(key, []) + [None] * count)[:count] for key, count in wanted.items()}

    def status(self):
        return {"workers": []}


def request(key, tokens=3, version=None):
    return Request(key, tokens, version)


def trajectory(name, *segments, step=1, **fields):
    fields = {"validate": False, "group": "g", "vocab_size": VOCAB, **fields}
    return Trajectory(step, segments=list(segments), **fields)


def start(key, **fields):
    return Segment(0, requests=[request(key, **fields)])


def after(key, *tools, round=1, **fields):
    return Segment(round, True, tools, requests=[request(key, **fields)])


def settings(path, **fields):
    return Settings(save_dir=path, strict=True, **fields)


def read(path, name="entropy_step_1.json"):
    return json.loads((path / name).read_text())


def test_records_say_what_the_trajectory_says(tmp_path):
    source = Source({"a": [1.0], "b": [2.0], "c": [3.0]})
    steps = LiveSteps(source, settings(tmp_path))
    steps.add(trajectory("t", start("c"), group="h", order=(1,)))
    steps.add(trajectory("s", start("a"), after("b", "search", "search"), order=(0,), prompt="12"))
    metrics = steps.finish(1)
    first, second, third = read(tmp_path)
    assert [r["sample_idx"] for r in (first, second, third)] == [0, 0, 1]
    assert [r["prompt_idx"] for r in (first, second, third)] == [0, 0, 1]
    assert (second["tool"], second["tools"], second["round"]) == ("search", ["search", "search"], 1)
    assert first["tool"] is None
    assert not first.keys() & {"tools", "token_id"}
    assert [r["entropy"] for r in (first, second, third)] == pytest.approx([1 / LN, 2 / LN, 3 / LN])
    assert (first["prompt"], third["prompt"]) == ("12", None)
    assert metrics["entropy/after_tool/mean"] == pytest.approx(2 / LN)
    assert metrics["entropy/initial/mean"] == pytest.approx(2 / LN)
    steps.close()


def test_tools_of_several_names_have_no_one_tool():
    columns = live_columns([trajectory("s", start("a"), after("b", "x", "y"))], {}, 1, 1)
    assert columns["tool"] == [None, None]
    assert columns["tools"] == [None, ["x", "y"]]


def test_resumed_segment_takes_values_of_each_request():
    segment = Segment(0, requests=[request("a", 0), request("b", 2, 4), request("c", 5, 5)])
    one = trajectory("s", segment)
    assert wanted_values([one], 4) == {"a": 0, "b": 2, "c": 2}
    # The engine had sampled a third token for b, which the abort lost.
    values = {"b": [1.0, 2.0, 9.0], "c": [3.0, 4.0, 5.0]}
    columns = live_columns([one], values, 4, 4)
    np.testing.assert_allclose(columns["window"][0], np.array([1, 2, 3, 4]) / LN, rtol=1e-6)
    assert "policy_step" not in columns
    assert live_columns([one], values, 5, 4)["policy_step"] == [4]


def test_missing_values_are_null_and_said_once(tmp_path, caplog):
    steps = LiveSteps(Source({"a": [1.0]}), settings(tmp_path))
    for step in (1, 2):
        steps.add(trajectory("s", start("a"), after("b", "x"), step=step))
        with caplog.at_level(logging.WARNING):
            metrics = steps.finish(step)
    assert [r["entropy"] for r in read(tmp_path)] == pytest.approx([1 / LN, None])
    assert metrics["entropy/null"] == 1
    said = [r.getMessage() for r in caplog.records if "are null" in r.getMessage()]
    assert len(said) == 1
    assert "1 of 2 entropies are null: no engine's worker has reported" in said[0]
    steps.close()


def test_waiting_gets_shorter_while_values_are_missing(tmp_path):
    source = Source({"b": [1.0]})
    steps = LiveSteps(source, settings(tmp_path))
    for step, key in enumerate(["a"] * 8 + ["b", "b"], start=1):
        steps.add(trajectory("s", start(key), step=step))
        steps.finish(step)
    assert source.waits[:3] == [WAIT_S, WAIT_S / 2, WAIT_S / 4]
    assert source.waits[8] == SHORTEST_WAIT_S
    assert source.waits[9] == WAIT_S
    steps.close()


def test_late_records_are_added_to_their_step(tmp_path):
    steps = LiveSteps(Source({k: [1.0] for k in "abcd"}), settings(tmp_path))
    for key, step in (("a", 1), ("b", 2), ("c", 1), ("d", 3)):
        steps.add(trajectory(key, start(key), step=step))
        steps.finish(max(step, 2))
    assert [(r["run"], r["call"]) for r in read(tmp_path)] == [(0, 0), (0, 1)]
    assert [len(step) for step in read_steps([tmp_path])] == [2, 1, 1]
    steps.close()


def test_step_is_the_policys_where_the_trainer_gives_none(tmp_path):
    steps = LiveSteps(Source({}), settings(tmp_path))
    steps.add(trajectory("s", start("a", version=7), after("b", "x", version=8), step=-1))
    steps.add(trajectory("t", start("c"), step=-1))
    steps.add(trajectory("u", start("d", version=8), step=-1, validate=True))
    steps.finish(7)
    assert not list(tmp_path.glob("*step*"))
    # The step that ends with version 8 is the 8th.
    steps.finish(8)
    first, second = read(tmp_path, "entropy_step_8.json")
    assert (first.get("policy_step"), second.get("policy_step")) == (7, None)
    (validation,) = read(tmp_path, "entropy_validate_step_8.json")
    assert "policy_step" not in validation
    assert steps.status()["without_step"] == 1
    steps.close()


def test_greedy_rows_are_marked_and_not_in_metrics(tmp_path):
    steps = LiveSteps(Source({"a": [1.0], "b": [3.0]}), settings(tmp_path))
    steps.add(trajectory("s", start("a"), order=(0,)))
    steps.add(trajectory("t", start("b"), order=(1,), is_greedy=True))
    assert steps.finish(1)["entropy/initial/mean"] == pytest.approx(1 / LN)
    assert [r.get("do_sample") for r in read(tmp_path)] == [None, False]
    steps.close()


def test_copies_beyond_a_groups_size_are_padding(tmp_path):
    steps = LiveSteps(Source({}), settings(tmp_path))
    for order in range(3):
        steps.add(trajectory("s", start(f"k{order}"), validate=True, group_size=2, order=(order,)))
    assert steps.finish(1) == {}
    records = read(tmp_path, "entropy_validate_step_1.json")
    assert [r.get("padding") for r in records] == [None, None, True]
    steps.close()


def test_only_a_logged_step_is_written(tmp_path):
    steps = LiveSteps(Source({"a": [1.0]}), settings(tmp_path))
    steps.add(trajectory("s", start("a"), step=2))
    assert steps.finish(1) == {}
    assert not (tmp_path / "entropy_step_2.json").exists()
    steps.close()
    assert (tmp_path / "entropy_step_2.json").exists()


def test_too_many_waiting_trajectories_cost_the_oldest_step(tmp_path, monkeypatch):
    monkeypatch.setattr(steps_module, "MAX_TRAJECTORIES", 2)
    steps = LiveSteps(Source({}), settings(tmp_path))
    for step in (5, 4, 6):
        steps.add(trajectory("s", start("a"), step=step))
    assert (steps.status()["dropped"], steps.status()["trajectories_waiting"]) == (1, 2)
    assert steps.finish(6)["entropy/dropped"] == 1
    assert sorted(p.name for p in tmp_path.glob("entropy_step*")) == [
        "entropy_step_5.json",
        "entropy_step_6.json",
    ]
    steps.close()


def test_what_is_being_written_does_not_count_as_unwritten(tmp_path, monkeypatch):
    write, seen = write_module.write_file, []

    def look(*args):
        seen.append(steps.status()["records_unwritten"])
        return write(*args)

    monkeypatch.setattr(write_module, "write_file", look)
    steps = LiveSteps(Source({}), settings(tmp_path))
    steps.add(trajectory(1, start("a")))
    steps.finish(1)
    assert set(seen) == {0}


def test_what_cannot_be_written_is_in_the_status(tmp_path, monkeypatch, caplog):
    def full_disk(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write_module, "write_file", full_disk)
    steps = LiveSteps(Source({}), Settings(save_dir=tmp_path))
    steps.add(trajectory(1, start("a")))
    steps.finish(1)
    assert steps.status()["records_unwritten"] == 1
    assert steps.status()["failures"] == 0
    monkeypatch.setattr(steps_module, "live_columns", full_disk)
    steps.add(trajectory(2, start("a"), step=2))
    steps.finish(2)
    assert steps.status()["failures"] == 1


def test_run_is_described(tmp_path):
    steps = LiveSteps(Source({"a": [1.0]}), settings(tmp_path))
    steps.describe({"model": "toy", "temperature": 0.7})
    steps.add(trajectory("s", start("a")))
    steps.finish(1)
    (entry,) = json.loads((tmp_path / "entropy_run.json").read_text())
    assert (entry["model"], entry["temperature"], entry["vocab_size"], entry["window"]) == (
        "toy",
        0.7,
        VOCAB,
        1,
    )
    steps.close()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {"workers": [{"refused": "speculative decoding"}]},
            "an engine is not recorded: speculative decoding",
        ),
        ({"workers": [], "messages_refused": 3}, "token of another job"),
        ({"workers": [{}], "lost": {"the collector did not read": 7}}, "the collector did not read (7)"),
        ({"workers": [{}], "keys_evicted": 7}, "more requests were under way"),
        ({"workers": [{}]}, "a worker died"),
    ],
)
def test_warning_names_the_likely_cause(status, words, monkeypatch):
    monkeypatch.delenv("VLLM_PLUGINS", raising=False)
    assert words in likely_cause(status)
    monkeypatch.setenv("VLLM_PLUGINS", "other,another")
    assert likely_cause(status) == "VLLM_PLUGINS=other,another leaves arpo_entropy out; add it"
