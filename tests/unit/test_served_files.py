"""Placed turns and values become step files: a trajectory in one file, steps as they are told."""

import json
import math

import numpy as np
import pytest
from served_books import Server, assistant, results

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.analysis.ancestry import initial_entropies
from arpo_entropy_recorder.live.serve.files import Row, ServedFiles
from arpo_entropy_recorder.live.serve.lineage import Lineage
from arpo_entropy_recorder.recorder.settings import Settings
from arpo_entropy_recorder.step_files.read import read_steps

VOCABULARY = 100
USER = [{"role": "user", "content": "Which river?"}]


class Recording:
    """Turns, their rows, and the files in a directory."""

    def __init__(self, directory, **settings):
        self.directory = directory
        self.server = Server()
        self.lineage = Lineage(self.server.digests, clock=lambda: self.server.clock)
        self.settings = Settings(save_dir=directory, **settings)
        self.files = ServedFiles(self.settings)
        self.files.describe(VOCABULARY, {"model": "toy"})
        self.rows, self.values = [], {}

    def ask(self, messages, *replies, step=None, version=None, nats=1.0):
        turn = self.server.turn(messages, *replies)
        for completion in turn.completions:
            completion.version = version
        for placed in self.lineage.place(turn):
            row = Row.of(placed, step, self.settings.record_tokens)
            self.rows.append(row)
            self.values[row.key] = [nats]
        return replies[0]

    def write(self, step=None):
        rows, self.rows = self.rows, []
        return self.files.write(rows, self.values, step)

    def records(self, step):
        return json.loads((self.directory / f"entropy_step_{step}.json").read_text())


@pytest.fixture
def recording(tmp_path):
    made = Recording(tmp_path)
    yield made
    made.files.close()


def after(messages, reply, *texts):
    return [*messages, reply, *results(reply, *texts)]


def test_a_record_says_where_a_turn_stands(recording):
    reply = recording.ask(USER, assistant("", ("search", "x")), nats=2.0)
    recording.ask(after(USER, reply, "found"), assistant("a"), assistant("b"), nats=0.5)
    assert recording.write() == [1]
    start, first, branch = recording.records(1)
    assert start["entropy"] == pytest.approx(2.0 / math.log(VOCABULARY))
    assert (start["sample_idx"], start["round"], start["is_after_tool_call"]) == (0, 0, False)
    assert (first["sample_idx"], first["round"], first["tool"]) == (0, 1, "search")
    assert (branch["sample_idx"], branch["parent_idx"], branch["trajectory"]) == (1, 0, 1)
    assert {record["prompt"] for record in recording.records(1)} == {start["prompt"]}
    assert len(start["prompt"]) == 16
    assert not any("mid_start" in record or "tokens" in record for record in recording.records(1))


def test_a_counted_trajectory_stays_in_the_file_that_it_began_in(recording):
    reply = recording.ask(USER, assistant("", ("search", "x")), nats=2.0)
    assert recording.write() == [1]
    recording.ask([{"role": "user", "content": "Other"}], assistant("a"))
    recording.ask(after(USER, reply, "found"), assistant("b"), nats=1.0)
    assert recording.write() == [1, 2]
    assert [record["sample_idx"] for record in recording.records(1)] == [0, 0]
    (step,) = read_steps([recording.directory / "entropy_step_1.json"])
    number, initial = initial_entropies(step)
    assert number.tolist() == [0, 0]
    assert initial.tolist() == pytest.approx([2.0 / math.log(VOCABULARY)])


def test_a_file_without_a_new_trajectory_takes_no_number(recording):
    reply = recording.ask(USER, assistant("a"))
    recording.write()
    recording.ask([*USER, reply, *USER], assistant("b"))
    assert recording.write() == [1]
    recording.ask(USER, assistant("c"))
    assert recording.write() == [2]


def test_a_conversation_outlives_the_files_that_are_kept(recording):
    messages, reply = USER, recording.ask(USER, assistant("a"))
    for k in range(20):
        recording.write()
        recording.ask([{"role": "user", "content": f"{k}"}], assistant("x"))
    recording.write()
    recording.ask([*messages, reply, *USER], assistant("late"))
    (step,) = recording.write()
    assert step == 22
    assert recording.records(step)[0]["mid_start"]
    assert recording.files.counts["too_late"] == 0


def test_the_rest_of_a_trajectory_in_another_step_is_no_start(recording):
    reply = recording.ask(USER, assistant("Hello."), version="3")
    recording.ask([*USER, reply, *USER], assistant("a"), version="4")
    assert recording.write() == [3, 4]
    (first,), (second,) = recording.records(3), recording.records(4)
    assert first["trajectory"] == second["trajectory"]
    assert second["mid_start"]
    steps = list(read_steps([recording.directory]))
    assert [step.starts.tolist() for step in steps] == [[True], [False]]


def test_a_branch_whose_parent_is_in_another_step_is_no_start(recording):
    reply = recording.ask(USER, assistant("Hello."), version="3")
    for word in "ab":
        recording.ask([*USER, reply, *USER], assistant(word), version="4")
    recording.write()
    going_on, branch = recording.records(4)
    assert (going_on["mid_start"], branch["parent_idx"]) == (True, 0)


def test_the_weights_version_is_the_step_before_the_header(recording):
    recording.ask(USER, assistant("a"), version="5", step=2)
    recording.ask(USER, assistant("b"), version="default", step=6)
    assert recording.write() == [5, 6]


def test_a_version_beyond_all_measure_is_none(recording):
    recording.ask(USER, assistant("a"), version="9" * 5000)
    assert recording.write() == [1]


def test_a_reply_whose_version_is_not_known_is_in_no_versions_step(recording, caplog):
    recording.ask(USER, assistant("a"), version="5")
    recording.ask(USER, assistant("cut off"))
    recording.ask(USER, assistant("told"), step=5)
    assert recording.write() == [5]
    assert len(recording.records(5)) == 2
    assert recording.files.counts["without_version"] == 1
    assert "left out, as the version of their weights is not known" in caplog.text


def test_counted_steps_before_the_first_version_are_warned_of_once(recording, caplog):
    recording.ask(USER, assistant("a"), version="default")
    recording.write()
    assert caplog.records == []
    for version in "23":
        recording.ask(USER, assistant("b"), version=version)
        recording.write()
    (record,) = caplog.records
    assert "weights' versions begin" in record.getMessage()


def test_a_flush_names_the_step_and_keeps_the_version(recording):
    recording.ask(USER, assistant("a"), version="11")
    assert recording.write(step=12) == [12]
    assert recording.records(12)[0]["policy_step"] == 11


def test_a_server_started_again_goes_on_counting(tmp_path):
    for count in (1, 2, 3):
        recording = Recording(tmp_path)
        recording.ask(USER, assistant("a"))
        assert recording.write() == [count]
        recording.files.close()
    assert len(list(read_steps([tmp_path]))) == 3


def test_what_comes_too_late_is_counted_and_told(recording, caplog):
    for step in (1, *range(30, 50)):
        recording.ask(USER, assistant("a"))
        recording.write(step=step)
    recording.ask(USER, assistant("a"))
    recording.write(step=2)
    assert recording.files.counts == {"records": 21, "nulls": 0, "too_late": 1}
    assert "left out, as they came too late for step" in caplog.text


def test_a_missing_value_is_null(recording):
    recording.ask(USER, assistant("a"))
    recording.values.clear()
    recording.write()
    assert recording.records(1)[0]["entropy"] is None
    assert recording.files.counts["nulls"] == 1


def test_tokens_and_windows_are_kept_if_asked_for(tmp_path):
    recording = Recording(tmp_path, window=3, record_tokens=True, prompt_id=False)
    recording.ask(USER, assistant("ab"))
    recording.write()
    recording.files.close()
    (record,) = recording.records(1)
    assert record["tokens"] == [ord("a"), ord("b")]
    assert record["token_id"] == ord("a")
    assert len(record["window"]) == 2
    assert "prompt" not in record


def test_the_figures_numbers_are_those_of_the_books(recording):
    """40 conversations over 10 files: the analysis pairs each result with its own conversation's start."""
    rng = np.random.default_rng(0)
    open_ones, changes = [], []
    for k in range(40):
        before = float(rng.uniform(0.5, 1.0))
        messages = [{"role": "user", "content": f"Question {k}"}]
        open_ones.append(
            (messages, recording.ask(messages, assistant("", ("search", "x")), nats=before), before)
        )
        if k % 4 == 3:
            recording.write()
        if k >= 10:
            messages, reply, before = open_ones.pop(0)
            now = float(rng.uniform(1.0, 2.0))
            recording.ask(after(messages, reply, "found"), assistant("end"), nats=now)
            changes.append(now - before)
    recording.write()
    test = analyse(read_steps([recording.directory])).pairs.test()
    assert test.trajectories == 30
    assert test.change == pytest.approx(np.mean(changes) / math.log(VOCABULARY), rel=1e-5)
