"""`arpo-entropy check`: what it says of a job by the status that the job writes, and where there is none."""

import os
import time

import msgspec
import pytest
from command_line import record, write_step

from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.live.status import Process, Status, StatusFile, Worker, read_status
from arpo_entropy_recorder.step_files.names import STATUS_FILE

WORKER = Worker(
    "node1", 12, "0", "a.b.GPUModelRunner", "0.32.0", None, {"values_sent": 4096.0}, seconds_ago=3.0
)


def status(**fields):
    """A job that has recorded a step of two trajectories."""
    usual = {
        "started": 0.0,
        "written": 600.0,
        "ended": False,
        "host": "node0",
        "pid": 7,
        "address": "tcp://10.0.0.1:5555",
        "processes": [Process(host, pid, "agent loop worker") for host, pid in (("node0", 8), ("node1", 9))],
        "workers": [WORKER],
        "counts": {"trajectories": 2, "records": 3, "nulls": 0, "trajectories_waiting": 1},
        "values_received": 4096,
        "messages": 20,
        "messages_refused": 0,
        "cause": None,
    }
    return Status(**(usual | fields))


def check(directory, capsys, of=None, age=0.0):
    """The exit status of a check of a job with this status, and all that was printed."""
    if of is not None:
        path = directory / STATUS_FILE
        path.write_bytes(msgspec.json.encode(of))
        os.utime(path, (time.time() - age,) * 2)
    code = main(["check", str(directory)])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_a_job_that_records_is_described(tmp_path, capsys):
    write_step(tmp_path / "entropy_step_1.json", record(0.1, 0, 0), record(0.2, 1, 0), record(0.1, 0, 1))
    size = (tmp_path / "entropy_step_1.json").stat().st_size
    code, said = check(tmp_path, capsys, status())
    assert code == 0
    assert "node0, process 7, at tcp://10.0.0.1:5555; up for 10 min, last heard of" in said
    assert "agent loop worker: 2 processes on 2 nodes" in said
    assert "node1, process 12: GPUModelRunner of vLLM 0.32.0, recorded, 4,096 values sent" in said
    assert "3 from 2 trajectories, 0 null; 1 trajectories wait" in said
    assert f"entropy_step_1.json: {size:,} bytes, 2 trajectories; {size * 500:,} bytes for 1,000" in said
    assert said.endswith("verdict     recording\n")


def test_before_the_first_step_nothing_is_wrong(tmp_path, capsys):
    code, said = check(tmp_path, capsys, status(processes=[], workers=[], counts={}, values_received=0))
    assert code == 0
    assert "no agent loop worker and no trainer has joined yet" in said
    assert "no worker has been heard of yet" in said
    assert "no record yet" in said


@pytest.mark.parametrize(
    ("fields", "age", "words"),
    [
        ({"cause": "workers lost values: disk (3)"}, 0, "wrong: workers lost values: disk (3)"),
        ({}, 300, "wrong: the collector has been silent for 5 min"),
        ({"workers": [msgspec.structs.replace(WORKER, seconds_ago=90.0)]}, 0, "wrong: 1 engine worker not heard of"),
        ({"counts": {"records": 1, "too_late": 5}}, 0, "wrong: 5 records came too late"),
        ({"counts": {"failures": 3}}, 0, "wrong: 3 errors of the recorder"),
        ({"counts": {"records": 1, "records_unwritten": 1}, "ended": True}, 0, "wrong: 1 records wait in memory"),
    ],
    ids=["null", "silent", "worker", "late", "failures", "unwritten"],
)  # fmt: skip
def test_what_is_wrong_is_named_and_is_the_exit_status(tmp_path, capsys, fields, age, words):
    code, said = check(tmp_path, capsys, status(**fields), age)
    assert code == 1
    assert words in said.splitlines()[-1]


def test_an_engine_that_is_refused_says_why(tmp_path, capsys):
    worker = msgspec.structs.replace(WORKER, refused="speculative decoding")
    code, said = check(
        tmp_path, capsys, status(workers=[worker], cause="an engine is not recorded: speculative decoding")
    )
    assert code == 1
    assert "GPUModelRunner of vLLM 0.32.0, not recorded: speculative decoding\n" in said


def test_a_worker_that_has_ended_is_not_missed(tmp_path, capsys):
    gone = msgspec.structs.replace(WORKER, seconds_ago=3600.0, ended=True)
    code, said = check(tmp_path, capsys, status(workers=[WORKER, gone]))
    assert code == 0
    assert "4,096 values sent, ended 60 min before" in said


def test_a_job_that_has_ended_may_be_old(tmp_path, capsys):
    code, said = check(tmp_path, capsys, status(ended=True), age=1e6)
    assert code == 0
    assert "the job has ended, and all was recorded" in said


def test_no_job_is_one_line(tmp_path, capsys, monkeypatch):
    for directory in (tmp_path, tmp_path / "none"):
        code, said = check(directory, capsys)
        assert code == 2
        assert f"{directory}: no job records there" in said
        assert said.count("\n") == 1
    monkeypatch.delenv("ARPO_ENTROPY_DIR", raising=False)
    assert main(["check"]) == 2
    assert "name the directory that the job records to" in capsys.readouterr().err
    monkeypatch.setenv("ARPO_ENTROPY_DIR", str(tmp_path))
    assert main(["check"]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ARPO_ENTROPY_DIR", "~/mine")
    assert main(["check"]) == 2
    assert f"{tmp_path / 'mine'}: no job records there" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"started": 1', b"\xff" * 9, b"[" * 100_000])
def test_what_is_no_status_is_one_line(tmp_path, capsys, content):
    (tmp_path / STATUS_FILE).write_bytes(content)
    code, said = check(tmp_path, capsys)
    assert code == 2
    assert "not a job's status" in said
    assert said.count("\n") == 1


def test_what_a_status_says_is_shown_escaped(tmp_path, capsys):
    _, said = check(tmp_path, capsys, status(host="\x1b[2J", cause="a\nb"))
    assert "\x1b" not in said
    assert r"wrong: a\nb" in said


def test_a_status_is_written_again_and_again(tmp_path):
    number = iter(range(1000))
    file = StatusFile(tmp_path / "new" / "place", lambda: status(messages=next(number)), every_s=0.01)
    deadline = time.monotonic() + 60
    while not (tmp_path / "new" / "place" / STATUS_FILE).exists():
        assert time.monotonic() < deadline
    first = read_status(tmp_path / "new" / "place")[0].messages
    file.close()
    last, age = read_status(tmp_path / "new" / "place")
    assert last.messages > first
    assert age < 60
    assert [path.name for path in (tmp_path / "new" / "place").iterdir()] == [STATUS_FILE]


def test_a_place_that_cannot_be_written_is_said_once(tmp_path, caplog):
    (tmp_path / "file").touch()
    file = StatusFile(tmp_path / "file", status, every_s=60.0)
    file.write()
    file.close()
    (line,) = [entry.getMessage() for entry in caplog.records]
    assert "not written" in line


@pytest.mark.parametrize("data", [b"[", b'[{"sample_idx": 0}]'])
def test_a_newest_file_that_cannot_be_read_is_named_beside_the_verdict(tmp_path, capsys, data):
    (tmp_path / "entropy_step_2.json").write_bytes(data)
    code, said = check(tmp_path, capsys, status())
    assert code == 0
    assert f"size        {tmp_path}/entropy_step_2.json: " in said
    assert said.endswith("verdict     recording\n")
