import errno
import gc
import json
import logging
import os
import signal
import stat
import subprocess
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rank_processes import columns, found, temporary_files, token_ids

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.step_files import merge as shards
from arpo_entropy_recorder.step_files import write as write_module
from arpo_entropy_recorder.step_files.read import read_steps
from arpo_entropy_recorder.step_files.schema import FIELDS
from arpo_entropy_recorder.step_files.write import StepWriter


def record(directory, steps, rank=0, size=1, **options):
    writer = StepWriter(directory, dp_rank=rank, dp_size=size, **options)
    for step in steps:
        writer.add(step, False, columns(step, rank))
        writer.flush()
    writer.close()


# What a file holds


def test_a_step_is_a_json_list_with_one_record_a_line(tmp_path):
    record(tmp_path, [12])
    text = (tmp_path / "entropy_step_12.json").read_text()
    records = json.loads(text)
    assert [r["token_id"] for r in records] == token_ids(12, 0)
    assert records[1] == {
        "global_step": 12,
        "sample_idx": 1,
        "parent_idx": None,
        "round": 1,
        "tool": None,
        "is_after_tool_call": True,
        "token_id": token_ids(12, 0)[1],
        "entropy": pytest.approx(columns(12)["entropy"][1], rel=1e-7),
        "call": 0,
        "run": 0,
    }
    lines = text.splitlines()
    assert lines[0] == "["
    assert lines[-1] == "]"
    assert len(lines) == len(records) + 2
    assert all(json.loads(line.rstrip(",")) == r for line, r in zip(lines[1:-1], records, strict=True))


def test_validation_has_a_file_of_its_own_and_batches_add_up(tmp_path):
    writer = StepWriter(tmp_path)
    writer.add(7, False, columns(7))
    for call in range(3):
        writer.add(7, True, columns(7, call=call))
        writer.flush()
    writer.close()
    assert sorted(p.name for p in tmp_path.glob("*.json")) == [
        "entropy_step_7.json",
        "entropy_validate_step_7.json",
    ]
    records = json.loads((tmp_path / "entropy_validate_step_7.json").read_text())
    assert [r["token_id"] for r in records] == [t for call in range(3) for t in token_ids(7, 0, call)]
    assert [r["call"] for r in records] == [call for call in range(3) for _ in token_ids(7, 0)]


def test_what_is_said_by_absence_is_left_out(tmp_path):
    writer = StepWriter(tmp_path)
    base = columns(1, records=3)
    writer.add(
        1,
        False,
        base
        | {
            "padding": np.array([False, True, False]),
            "do_sample": [True, False, True],
            "source": ["a", None, "b"],
        },
    )
    writer.close()
    first, second, third = json.loads((tmp_path / "entropy_step_1.json").read_text())
    assert second["padding"] is True
    assert second["do_sample"] is False
    assert "source" not in second
    assert not {"padding", "do_sample"} & (first.keys() | third.keys())
    assert first["source"] == "a"


def test_a_step_without_records_is_an_empty_list(tmp_path):
    writer = StepWriter(tmp_path)
    writer.add(1, False, columns(1, records=0))
    writer.close()
    assert json.loads((tmp_path / "entropy_step_1.json").read_text()) == []
    (step,) = read_steps([tmp_path])
    assert len(step) == 0


UNIT = st.one_of(st.floats(0, 1, width=32), st.just(float("nan")), st.sampled_from([0.0, 1.0]))
NAT = st.integers(0, 2**63 - 1)


@st.composite
def calls(draw):
    n = draw(st.integers(0, 12))
    rows = lambda value: st.lists(value, min_size=n, max_size=n)  # noqa: E731
    out = {
        "sample_idx": np.array(draw(rows(NAT)), np.int64),
        "round": np.array(draw(rows(st.integers(0, 2**31 - 1))), np.int32),
        "is_after_tool_call": np.array(draw(rows(st.booleans())), bool),
        "entropy": np.array(draw(rows(UNIT)), np.float32),
    }
    width = draw(st.integers(1, 4))
    of: dict[int, int] = {}
    sample = out["sample_idx"].tolist()
    optional = {
        # A trajectory has one prompt: records that name several are refused.
        "prompt_idx": rows(NAT).map(
            lambda idx: [of.setdefault(s, p) for s, p in zip(sample, idx, strict=True)]
        ),
        "parent_idx": rows(st.none() | NAT),
        "tool": rows(st.none() | st.text()),
        "token_id": rows(st.none() | NAT),
        "window": st.one_of(
            rows(st.lists(UNIT, min_size=width, max_size=width)).map(
                lambda w: np.array(w, np.float32).reshape(n, width)
            ),
            rows(st.lists(UNIT.map(lambda x: float(np.float32(x))), max_size=4)),
        ),
        "tokens": rows(st.lists(NAT, max_size=4)),
        "do_sample": rows(st.booleans()),
        "padding": rows(st.booleans()),
        "incomplete": rows(st.booleans()),
        "source": rows(st.none() | st.sampled_from(["rescored", "simulated"])),
    }
    return out | {key: draw(values) for key, values in optional.items() if draw(st.booleans())}


def expected_records(batches, step, run):
    """What a file must hold, by the schema's words alone."""
    absent = {"do_sample": True, "padding": False, "incomplete": False}
    records = []
    for call, batch in enumerate(batches):
        plain = {k: c.tolist() if isinstance(c, np.ndarray) else c for k, c in batch.items()}
        for i in range(len(plain["entropy"])):
            record = {"global_step": step, "call": call, "run": run}
            for key, values in plain.items():
                value = values[i]
                if (key == "source" and value is None) or value is absent.get(key, "never"):
                    continue
                if key == "window":
                    value = [None if v != v else v for v in value]
                record[key] = None if value != value else value
            records.append({f.name: record[f.name] for f in FIELDS if f.name in record})
    return records


def as_float32(records):
    """Floats are written as the shortest text of a float32."""
    cast = lambda v: float(np.float32(v)) if isinstance(v, float) else v  # noqa: E731
    return [
        {k: [cast(x) for x in v] if k == "window" else cast(v) for k, v in record.items()}
        for record in records
    ]


@given(batches=st.lists(calls(), min_size=1, max_size=3))
def test_what_is_written_is_what_json_and_the_reader_read(tmp_path_factory, batches):
    directory = tmp_path_factory.mktemp("run")
    writer = StepWriter(directory)
    for batch in batches:
        writer.add(3, False, batch)
    writer.close()
    expected = expected_records(batches, 3, 0)
    text = (directory / "entropy_step_3.json").read_text(encoding="utf-8")
    parsed = json.loads(text)
    assert [list(r) for r in parsed] == [list(r) for r in expected]
    assert as_float32(parsed) == expected
    (step,) = read_steps([directory])
    assert len(step) == len(expected)
    entropy = [float("nan") if r["entropy"] is None else r["entropy"] for r in expected]
    np.testing.assert_array_equal(step.columns["entropy"].astype(np.float32), np.array(entropy, np.float32))
    # A run that counts rounds from 1 is read one lower, and its step says so.
    lower = {"round": int(step.rounds_from_one)}
    for key in ("sample_idx", "prompt_idx", "round", "call", "is_after_tool_call"):
        if key in step.columns:
            assert step.columns[key].tolist() == [r.get(key, -1) - lower.get(key, 0) for r in expected]
    for key in ("parent_idx", "token_id"):
        if key in step.columns:
            assert step.columns[key].tolist() == [-1 if r.get(key) is None else r[key] for r in expected]
    if "tool" in step.columns:
        assert step.columns["tool"].tolist() == [r.get("tool") for r in expected]
    if "tokens" in step.columns:
        assert [t.tolist() for t in step.columns["tokens"]] == [r.get("tokens", []) for r in expected]
    if "window" in step.columns:
        for row, r in zip(step.columns["window"].astype(np.float32), expected, strict=True):
            values = [np.nan if v is None else v for v in r.get("window", [])]
            np.testing.assert_array_equal(row[: len(values)], np.array(values, np.float32))
            assert np.isnan(row[len(values) :]).all()
    for key, absent in {"do_sample": True, "padding": False, "incomplete": False}.items():
        if key in step.columns:
            assert step.columns[key].tolist() == [r.get(key, absent) for r in expected]


def test_columns_that_are_not_the_schema_s_are_refused_and_not_in_the_way(tmp_path):
    writer = StepWriter(tmp_path)
    writer.add(1, False, columns(1) | {"entrpy": [0.0] * 40})
    with pytest.raises(ValueError, match="entrpy"):
        writer.flush()
    writer.add(2, False, columns(2) | {"round": [0]})
    with pytest.raises(ValueError, match="unequal length"):
        writer.flush()
    writer.add(3, False, columns(3))
    writer.close()
    assert list(found(tmp_path)) == [3]


@pytest.mark.parametrize("way", ["flush", "close", "resume"])
def test_columns_that_cannot_be_encoded_take_no_others_with_them(tmp_path, caplog, way):
    writer = StepWriter(tmp_path)
    for step in (1, 2):
        writer.add(step, False, columns(step))
        writer.add(step, False, columns(step) | {"round": [0]})
        writer.add(step, False, columns(step))
    if way == "flush":
        with pytest.raises(ValueError, match="unequal length"):
            writer.flush()
    elif way == "resume":
        writer.add(1, False, columns(1, records=3))
    writer.close()
    assert caplog.text.count("cannot be encoded and are lost: columns of unequal length") == (way != "flush")
    assert {step: records.total() for step, records in found(tmp_path).items()} == {
        1: 3 if way == "resume" else 2 * len(token_ids(1, 0)),
        2: 2 * len(token_ids(2, 0)),
    }
    StepWriter(tmp_path).close()  # the directory is free again


# RunLog: resume, restart, two jobs


def test_the_same_records_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        record(tmp_path / name, [1, 2])
    for name in ("entropy_step_1.json", "entropy_step_2.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_resumed_steps_replace_the_old_ones_and_the_rest_is_told_to_be_stale(tmp_path):
    record(tmp_path, range(40, 48))
    record(tmp_path, [41, 42, 43])
    steps = list(read_steps([tmp_path]))
    assert [s.global_step for s in steps] == list(range(40, 48))
    assert [int(s.columns["run"][0]) for s in steps] == [0, 1, 1, 1, 0, 0, 0, 0]
    assert [s.global_step for s in steps if s.stale] == [44, 45, 46, 47]
    assert all(len(s) == 40 for s in steps)


def test_validating_again_makes_no_trained_step_stale_but_training_again_does(tmp_path):
    record(tmp_path, range(40, 43))
    writer = StepWriter(tmp_path)
    writer.add(40, True, columns(40))
    writer.flush()
    # So far it may be a validation of an older checkpoint and nothing else.
    assert [(s.global_step, s.validate, s.stale) for s in read_steps([tmp_path])] == [
        (40, False, False),
        (40, True, False),
        (41, False, False),
        (42, False, False),
    ]
    writer.add(41, False, columns(41))
    writer.close()
    assert [(s.global_step, s.stale) for s in read_steps([tmp_path], validate=False)] == [
        (40, False),
        (41, False),
        (42, True),
    ]


def test_going_back_within_one_process_counts_as_a_new_run(tmp_path, caplog):
    writer = StepWriter(tmp_path)
    for step in (1, 2, 3, 2):
        writer.add(step, False, columns(step))
        writer.flush()
    writer.close()
    assert [(s.global_step, int(s.columns["run"][0]), s.stale) for s in read_steps([tmp_path])] == [
        (1, 0, False),
        (2, 1, False),
        (3, 0, True),
    ]
    assert caplog.text.count("step 2 comes after step 3, as after a resume") == 1


def holder(directory, rank=0):
    """A child process that records into `directory` until it is killed."""
    ready, told = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            StepWriter(directory, dp_rank=rank, dp_size=2)
            os.write(told, b"x")
            time.sleep(60)
        finally:
            os._exit(0)
    os.read(ready, 1)
    os.close(ready)
    os.close(told)
    return pid


def test_a_second_job_on_a_directory_is_refused_until_the_first_is_dead(tmp_path):
    pid = holder(tmp_path)
    try:
        with pytest.raises(UserError) as refused:
            StepWriter(tmp_path, dp_rank=0, dp_size=2)
        message = str(refused.value)
        assert str(tmp_path) in message
        assert f"process {pid} on " in message
        assert "entropy_save_dir" in message
        assert "\n" not in message
        StepWriter(tmp_path, dp_rank=1, dp_size=2).close()  # another rank of the same job
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    StepWriter(tmp_path, dp_rank=0, dp_size=2).close()


def test_a_forked_child_does_not_keep_the_directory_after_its_parent(tmp_path):
    writer = StepWriter(tmp_path)
    ready, told = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(told, b"x")
        time.sleep(60)
        os._exit(0)
    try:
        os.read(ready, 1)
        descriptors = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        assert not [name for name in descriptors if str(tmp_path) in name]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        writer.close()


def test_a_second_recorder_in_one_process_is_a_run_of_its_own(tmp_path):
    first = StepWriter(tmp_path)
    first.add(1, False, columns(1))
    second = StepWriter(tmp_path)
    first.close()
    second.add(2, False, columns(2))
    second.close()
    assert [int(s.columns["run"][0]) for s in read_steps([tmp_path])] == [0, 1]


def test_a_recorder_whose_follower_has_gone_starts_a_run_of_its_own(tmp_path):
    first = StepWriter(tmp_path)
    first.add(1, False, columns(1))
    StepWriter(tmp_path).close()
    first.add(2, False, columns(2))
    first.close()
    assert [int(s.columns["run"][0]) for s in read_steps([tmp_path])] == [0, 2]


def test_a_directory_that_is_moved_and_linked_to_is_written_on(tmp_path):
    writer = StepWriter(tmp_path / "a")
    writer.add(1, False, columns(1))
    writer.flush()
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    writer.add(2, False, columns(2))
    writer.close()
    assert [(s.global_step, int(s.columns["run"][0])) for s in read_steps([tmp_path / "b"])] == [
        (1, 0),
        (2, 0),
    ]


def test_a_step_whose_name_is_taken_waits_alone(tmp_path):
    (tmp_path / "entropy_step_1.json").mkdir()
    writer = StepWriter(tmp_path)
    for step in (1, 2, 3):
        writer.add(step, False, columns(step))
        writer.flush()
    assert writer.pending_steps == 1
    (tmp_path / "entropy_step_1.json").rmdir()
    writer.close()
    assert [s.global_step for s in read_steps([tmp_path])] == [1, 2, 3]


def test_a_file_system_that_cannot_sync_a_directory_has_the_files_all_the_same(tmp_path, monkeypatch):
    sync = os.fsync

    def fsync(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    writer = StepWriter(tmp_path)
    writer.add(1, False, columns(1))
    writer.flush()
    assert writer.pending_steps == 0
    writer.close()


def test_step_files_without_their_journal_are_older_than_what_is_recorded_there(tmp_path):
    record(tmp_path, [1, 2, 3, 4])
    (tmp_path / ".entropy_recorder.dp0").unlink()
    record(tmp_path, [2])
    assert [(int(s.columns["run"][0]), s.stale) for s in read_steps([tmp_path])] == [
        (0, False),
        (1, False),
        (0, True),
        (0, True),
    ]


@pytest.mark.parametrize("text", [b"no JSON", b'[{"run": 6}]'], ids=["garbage", "spaced"])
def test_without_a_journal_any_old_file_is_looked_at_and_none_is_in_the_way(tmp_path, monkeypatch, text):
    (tmp_path / "entropy_step_7.json").write_bytes(text)
    (tmp_path / "entropy_step_8.json").write_text("[]")
    opened = open

    def refuse(path, *args, **kwargs):
        if str(path).endswith("entropy_step_8.json"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr("builtins.open", refuse)
    record(tmp_path, [1])
    monkeypatch.undo()
    assert json.loads((tmp_path / "entropy_step_1.json").read_text())[0]["run"] == (7 if b"6" in text else 1)


def test_a_journal_cut_short_by_a_death_is_no_obstacle(tmp_path):
    record(tmp_path, [1])
    with open(tmp_path / ".entropy_recorder.dp0", "ab") as journal:
        journal.write(b'{"run":1,"dp_si')
    record(tmp_path, [2])
    assert [int(s.columns["run"][0]) for s in read_steps([tmp_path])] == [0, 1]


def test_a_journal_of_many_starts_is_read_to_its_end(tmp_path):
    lines = (b'{"run":%d,"dp_size":1,"host":"%b","pid":1}\n' % (run, b"h" * 60) for run in range(20_000))
    (tmp_path / ".entropy_recorder.dp0").write_bytes(b"".join(lines))
    record(tmp_path, [1])
    assert [int(s.columns["run"][0]) for s in read_steps([tmp_path])] == [20_000]


def test_left_over_temporary_files_go_with_the_next_run_of_their_rank_only(tmp_path):
    for rank in (0, 1, 10):
        (tmp_path / f".entropy_step_3.json.dp{rank}.tmp").write_bytes(b'[\n{"half')
    record(tmp_path, [4], rank=0, size=16)
    assert sorted(p.name for p in temporary_files(tmp_path)) == [
        ".entropy_step_3.json.dp1.tmp",
        ".entropy_step_3.json.dp10.tmp",
    ]
    assert list(found(tmp_path)) == [4]


def test_a_disabled_writer_touches_nothing(tmp_path):
    writer = StepWriter(tmp_path / "none", enabled=False)
    writer.add(1, False, columns(1))
    writer.flush()
    writer.close()
    assert not (tmp_path / "none").exists()


# Writes that fail


def test_what_cannot_be_written_waits_and_the_log_says_how_much(tmp_path, monkeypatch, caplog):
    writer = StepWriter(tmp_path)
    fails = True
    replace = os.replace

    def sometimes(*args):
        if fails:
            raise OSError(28, "No space left on device")
        replace(*args)

    monkeypatch.setattr(shards.os, "replace", sometimes)
    for step in (1, 2, 3):
        writer.add(step, False, columns(step))
        writer.flush()
        assert writer.pending_steps == step
    assert f"{3} steps wait in memory" in caplog.text
    assert not temporary_files(tmp_path)
    fails = False
    writer.flush()
    assert writer.pending_steps == 0
    assert {s: set(c) for s, c in found(tmp_path).items()} == {s: set(token_ids(s, 0)) for s in (1, 2, 3)}
    writer.close()


def test_the_oldest_waiting_steps_are_dropped_and_counted(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    writer = StepWriter(tmp_path / "file" / "run", max_pending_steps=3)
    for step in range(1, 6):
        writer.add(step, False, columns(step))
        writer.flush()
    assert (writer.pending_steps, writer.dropped_steps) == (3, 2)
    (tmp_path / "file").unlink()
    writer.close()
    assert list(found(tmp_path / "file" / "run")) == [3, 4, 5]
    assert "dropped, 2 in all" in caplog.text


def test_a_directory_that_vanished_is_made_again(tmp_path):
    directory = tmp_path / "run"
    writer = StepWriter(directory)
    writer.add(1, False, columns(1))
    writer.flush()
    subprocess.run(["rm", "-r", str(directory)], check=True)
    writer.add(2, False, columns(2))
    writer.close()
    assert list(found(directory)) == [2]


def test_records_that_are_in_no_file_are_counted(tmp_path, monkeypatch):
    writer = StepWriter(tmp_path, max_pending_steps=1, late_steps=1)
    size = len(columns(1)["entropy"])
    writer.add(1, False, columns(1))
    writer.flush()
    assert (writer.pending_records, writer.dropped_records) == (0, 0)
    with monkeypatch.context() as patch:
        patch.setattr(write_module, "write_file", full_disk)
        writer.add(1, False, columns(1))
        writer.flush()
        # Those of the first call are in the file.
        assert (writer.pending_records, writer.dropped_records) == (size, 0)
        writer.add(2, False, columns(2))
        writer.add(2, False, columns(2))
        writer.flush()
        assert (writer.pending_records, writer.dropped_records) == (2 * size, size)
    writer.flush()
    assert (writer.pending_records, writer.dropped_records) == (0, size)
    writer.close()
    assert list(found(tmp_path)) == [1, 2]


def full_disk(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_records_that_wait_are_written_when_the_process_ends(tmp_path):
    script = (
        "from rank_processes import columns; from arpo_entropy_recorder.step_files.write import StepWriter\n"
        f"writer = StepWriter({str(tmp_path)!r}); writer.add(5, False, columns(5))"
    )
    here = Path(__file__).parents[1] / "helpers"
    environment = os.environ | {"PYTHONPATH": f"{here}:{here.parent}"}
    subprocess.run([os.sys.executable, "-c", script], check=True, env=environment, timeout=60)
    assert set(found(tmp_path)[5]) == set(token_ids(5, 0))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 512 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("NOT TESTED on a real full or read-only file system: mounting one needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_loses_nothing(small_disk, caplog):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    writer = StepWriter(small_disk)
    for step in range(1, 41):
        writer.add(step, False, columns(step))
        writer.flush()
    assert writer.pending_steps > 5
    assert "No space left on device" in caplog.text
    assert all(set(counts) == set(token_ids(step, 0)) for step, counts in found(small_disk).items())
    ballast.unlink()
    writer.flush()
    assert writer.pending_steps == 0
    counts = found(small_disk)
    assert list(counts) == list(range(1, 41))
    assert all(dict.fromkeys(token_ids(step, 0), 1) == counts[step] for step in counts)
    writer.close()


def test_a_disk_that_is_full_from_the_start_is_waited_for(small_disk, caplog):
    with open(small_disk / "ballast", "wb") as ballast, pytest.raises(OSError, match="No space left"):
        ballast.write(bytes(1_000_000))
    writer = StepWriter(small_disk)
    writer.add(1, False, columns(1))
    writer.flush()
    assert writer.pending_steps == 1
    (small_disk / "ballast").unlink()
    writer.close()
    assert list(found(small_disk)) == [1]


def test_a_read_only_disk_that_recovers_loses_nothing(small_disk):
    def remount(mode):
        subprocess.run(["mount", "-o", f"remount,{mode}", str(small_disk)], check=True)

    remount("ro")
    writer = StepWriter(small_disk / "run")  # cannot even be made
    writer.add(1, False, columns(1))
    writer.flush()
    assert writer.pending_steps == 1
    remount("rw")
    writer.add(2, False, columns(2))
    writer.flush()
    assert writer.pending_steps == 0
    # With no file open for writing the disk can turn read-only; the journal stays open all the time.
    writer.add(3, False, columns(3))
    writer.close()
    assert list(found(small_disk / "run")) == [1, 2, 3]


# Cost


def test_memory_stays_below_three_times_the_file(tmp_path):
    writer = StepWriter(tmp_path)
    data = columns(1, records=30_000)
    tracemalloc.start()
    writer.add(1, False, data)
    writer.flush()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    writer.close()
    assert peak < 3 * (tmp_path / "entropy_step_1.json").stat().st_size


def test_a_long_run_keeps_nothing_of_the_steps_written(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    writer = StepWriter(tmp_path)
    data = columns(1)
    sizes = []
    tracemalloc.start()
    for step in range(150):
        writer.add(step, False, data)
        writer.flush()
        if step in (50, 149):
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    descriptors = len(os.listdir("/proc/self/fd"))
    writer.add(150, False, data)
    writer.flush()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    writer.close()
    assert sizes[1] - sizes[0] < 40_000
    assert not caplog.text


def test_an_earlier_writer_of_this_process_does_not_write_over_a_later_ones_files(tmp_path):
    first, second = StepWriter(tmp_path), StepWriter(tmp_path)
    second.add(1, False, columns(3, records=3))
    second.flush()
    with pytest.raises(RuntimeError, match="a later recorder"):
        first.add(1, False, columns(1))
    first.flush()
    assert len(json.loads((tmp_path / "entropy_step_1.json").read_text())) == 3
