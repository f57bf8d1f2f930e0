import errno
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from rank_processes import (
    RECORDS,
    RankProcess,
    columns,
    found,
    shard_files,
    temporary_files,
    token_ids,
    whole_files,
)

from arpo_entropy_recorder.commands import progress
from arpo_entropy_recorder.step_files import merge as shards
from arpo_entropy_recorder.step_files.read import read_steps
from arpo_entropy_recorder.step_files.runs import find_run
from arpo_entropy_recorder.step_files.write import StepWriter


class Ranks:
    """All ranks of a job, in this process."""

    def __init__(self, directory, size):
        self.writers = [StepWriter(directory, dp_rank=rank, dp_size=size) for rank in range(size)]

    def record(self, step, *ranks, call=0, validate=False):
        for rank in ranks or range(len(self.writers)):
            self.writers[rank].add(step, validate, columns(step, rank, call))
            self.writers[rank].flush()

    def close(self):
        for writer in self.writers:
            writer.close()


@pytest.fixture
def job(tmp_path):
    started = []

    def start(size):
        started.append(Ranks(tmp_path, size))
        return started[-1]

    yield start
    for ranks in started:
        ranks.close()


def once(*ids):
    return Counter(token for some in ids for token in some)


def names(directory):
    return sorted(p.name for p in directory.glob("entropy_*"))


def test_the_last_rank_joins_the_shards_by_rank_then_call(tmp_path, job):
    ranks = job(3)
    ranks.record(5, 2, 0)
    assert names(tmp_path) == [
        "entropy_step_5.dp0of3.run0.call0.json",
        "entropy_step_5.dp2of3.run0.call0.json",
    ]
    ranks.record(5, 1)
    assert names(tmp_path) == ["entropy_step_5.json"]
    records = json.loads((tmp_path / "entropy_step_5.json").read_text())
    assert [r["token_id"] for r in records] == [t for rank in range(3) for t in token_ids(5, rank)]
    assert [r["dp_rank"] for r in records] == [rank for rank in range(3) for _ in token_ids(5, rank)]


def test_the_joined_bytes_do_not_depend_on_who_came_last(tmp_path):
    seen = set()
    for attempt in range(6):
        directory = tmp_path / str(attempt)
        ranks = Ranks(directory, 4)
        order = random.Random(attempt).sample(range(4), 4)
        for call in range(2):
            ranks.record(1, *order, call=call)
        ranks.close()
        assert names(directory) == ["entropy_step_1.json"]
        seen.add((directory / "entropy_step_1.json").read_bytes())
    assert len(seen) == 1


@pytest.mark.parametrize("validate", [False, True])
def test_later_calls_of_a_step_add_to_the_joined_file(tmp_path, job, validate):
    ranks = job(2)
    for call in range(3):
        ranks.record(1, call=call, validate=validate)
        (path,) = whole_files(tmp_path)
        expected = once(*(token_ids(1, r, c) for r in range(2) for c in range(call + 1)))
        assert Counter(r["token_id"] for r in json.loads(path.read_text())) == expected
        assert not shard_files(tmp_path)


def test_a_rank_that_is_calls_behind_is_neither_lost_nor_waited_for(tmp_path, job):
    ranks = job(3)
    ranks.record(1, 0, 1, call=0)
    ranks.record(1, 0, 1, call=1)
    ranks.record(1, 2, call=0)
    assert not whole_files(tmp_path)  # the last one's second call is still to come
    assert found(tmp_path)[1] == once(
        *(token_ids(1, r, c) for r, c in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)])
    )
    ranks.record(2)
    assert names(tmp_path) == ["entropy_step_1.json", "entropy_step_2.json"]
    ranks.close()


def test_reading_gives_the_same_before_during_and_after_joining(tmp_path, monkeypatch, job):
    ranks = job(3)
    ranks.record(1, 0, 1)
    seen = []

    def look(at):
        (step,) = read_steps([tmp_path])
        assert step.missing_ranks == ()
        seen.append((at, {k: v.tolist() for k, v in step.columns.items()}))

    write, remove = shards.write_file, shards.remove_shards

    def watched_write(path, parts, rank):
        look("before")
        write(path, parts, rank)
        look("both there")

    def watched_remove(directory, gone):
        for shard in gone:
            remove(directory, [shard])
            look("half removed")

    monkeypatch.setattr(shards, "write_file", watched_write)
    monkeypatch.setattr(shards, "remove_shards", watched_remove)
    ranks.record(1, 2)
    look("after")
    assert [at for at, _ in seen] == ["before", "both there", *["half removed"] * 3, "after"]
    assert all(step == seen[0][1] for _, step in seen)


def test_shards_joined_while_being_read_are_found_in_the_joined_file(tmp_path, monkeypatch, job):
    from arpo_entropy_recorder.step_files import file_decoder as reader

    ranks = job(2)
    ranks.record(1, 0)
    paths = [str(p) for p in shard_files(tmp_path)]
    read = reader.read_bytes

    def late(file):
        monkeypatch.setattr(reader, "read_bytes", read)
        ranks.record(1, 1)
        return read(file)

    monkeypatch.setattr(reader, "read_bytes", late)
    (step,) = read_steps(paths)
    assert Counter(step.columns["token_id"].tolist()) == once(token_ids(1, 0), token_ids(1, 1))


def test_shards_joined_before_skip_bad_has_tried_them_are_found(tmp_path, job):
    ranks = job(2)
    ranks.record(1, 0)
    run = find_run(str(tmp_path))
    ranks.record(1, 1)
    (step,) = progress.watched_steps(run, skip_bad=True)
    assert (len(step), step.missing_ranks) == (2 * RECORDS, ())


def test_shards_that_a_shell_listed_before_they_were_joined(tmp_path, job):
    ranks = job(2)
    ranks.record(1, 0)
    paths = [str(p) for p in shard_files(tmp_path)]
    ranks.record(1, 1)
    assert not any(Path(path).exists() for path in paths)
    (step,) = read_steps(paths)
    assert Counter(step.columns["token_id"].tolist()) == once(token_ids(1, 0), token_ids(1, 1))


def test_a_removal_cut_short_leaves_no_older_set_that_would_be_joined_again(tmp_path, monkeypatch, job):
    from arpo_entropy_recorder.step_files import write as writer

    ranks = job(2)
    with monkeypatch.context() as dying:
        dying.setattr(shards, "remove_shards", lambda *_: None)
        dying.setattr(writer, "remove_shards", lambda *_: None)
        ranks.record(1)
        remove = lambda directory, gone: [(directory / s.file_name).unlink() for s in gone[:2]]  # noqa: E731
        dying.setattr(shards, "remove_shards", remove)
        ranks.record(1, call=1)
    assert len(shard_files(tmp_path)) == 2
    expected = once(*(token_ids(1, r, c) for r in range(2) for c in range(2)))
    assert found(tmp_path)[1] == expected
    ranks.record(2)
    assert found(tmp_path)[1] == expected
    assert not shard_files(tmp_path)


def test_a_shard_changed_by_hand_is_left_alone(tmp_path, job, caplog):
    ranks = job(2)
    ranks.record(1, 0)
    (path,) = shard_files(tmp_path)
    path.write_bytes(b"[]")
    ranks.record(1, 1)
    assert path.read_bytes() == b"[]"
    assert not whole_files(tmp_path)
    assert not temporary_files(tmp_path)
    assert "was changed" in caplog.text


def test_a_join_that_died_before_removing_is_finished_by_the_next_flush(tmp_path, monkeypatch, job):
    ranks = job(2)
    with monkeypatch.context() as dying:
        dying.setattr(shards, "remove_shards", lambda *_: None)
        ranks.record(1)
    shard_files(tmp_path)[0].unlink()
    assert (len(whole_files(tmp_path)), len(shard_files(tmp_path))) == (1, 1)
    assert found(tmp_path)[1] == once(token_ids(1, 0), token_ids(1, 1))
    ranks.record(2)
    assert names(tmp_path) == ["entropy_step_1.json", "entropy_step_2.json"]
    assert found(tmp_path)[1] == once(token_ids(1, 0), token_ids(1, 1))


def test_a_left_over_older_shard_counts_for_nothing(tmp_path, job):
    ranks = job(2)
    ranks.record(1, 0)
    (old,) = shard_files(tmp_path)
    data = old.read_bytes()
    ranks.record(1, 1)
    ranks.record(1, call=1)
    old.write_bytes(data)
    expected = once(*(token_ids(1, r, c) for r in range(2) for c in range(2)))
    assert found(tmp_path)[1] == expected
    ranks.record(2)
    assert not shard_files(tmp_path)
    assert found(tmp_path)[1] == expected


def test_missing_ranks_are_told(tmp_path, job):
    ranks = job(4)
    ranks.record(1, 0, 2)
    ranks.record(2)
    assert [(s.global_step, s.missing_ranks) for s in read_steps([tmp_path])] == [(1, (1, 3)), (2, ())]


def test_stale_shards_are_never_joined_with_fresh_ones(tmp_path, job):
    ranks = job(2)
    ranks.record(40)
    ranks.record(41, 0)  # rank 1 dies before it has recorded step 41
    ranks.close()
    ranks = job(2)
    ranks.record(41, 1)
    assert [p.name for p in whole_files(tmp_path)] == ["entropy_step_40.json"]
    ranks.record(41, 0)
    assert names(tmp_path) == ["entropy_step_40.json", "entropy_step_41.json"]
    records = json.loads((tmp_path / "entropy_step_41.json").read_text())
    assert {r["run"] for r in records} == {1}
    assert Counter(r["token_id"] for r in records) == once(token_ids(41, 0), token_ids(41, 1))


def test_a_joined_step_is_replaced_after_a_resume(tmp_path, job):
    ranks = job(2)
    for step in (1, 2, 3):
        ranks.record(step)
    ranks.close()
    ranks = job(2)
    ranks.record(2)
    steps = list(read_steps([tmp_path]))
    assert [(s.global_step, set(s.columns["run"].tolist()), s.stale) for s in steps] == [
        (1, {0}, False),
        (2, {1}, False),
        (3, {0}, True),
    ]
    assert not shard_files(tmp_path)


@pytest.mark.parametrize(("before", "after"), [(2, 2), (4, 2), (2, 4)])
@pytest.mark.parametrize("journals", ["kept", "left behind"])
def test_what_a_resumed_rank_has_not_recorded_again_is_missing_not_mixed_in(
    tmp_path, job, before, after, journals
):
    ranks = job(before)
    for step in (1, 2, 3, 4):
        ranks.record(step)
    ranks.close()
    if journals == "left behind":  # as with `cp DIR/*`
        for journal in tmp_path.glob(".entropy_recorder.dp*"):
            journal.unlink()
    ranks = job(after)
    ranks.record(3, 0)
    assert [
        (s.global_step, set(s.columns["run"].tolist()), s.missing_ranks, s.stale)
        for s in read_steps([tmp_path])
    ] == [
        (1, {0}, (), False),
        (2, {0}, (), False),
        (3, {1}, tuple(range(1, after)), False),
        (4, {0}, (), True),
    ]
    ranks.record(3, *range(1, after))
    *_, third, fourth = read_steps([tmp_path])
    assert (set(third.columns["run"].tolist()), third.missing_ranks) == ({1}, ())
    assert fourth.stale


def test_ranks_of_a_smaller_world_are_not_mixed_into_a_step_of_a_larger_one(tmp_path, job):
    ranks = job(1)
    for step in (1, 2, 3):
        ranks.record(step)
    ranks.close()
    # Rank 0's recorder has not started again: its directory was not mounted, say.
    second = StepWriter(tmp_path, dp_rank=1, dp_size=2)
    for step in (2, 3):
        second.add(step, False, columns(step, 1))
        second.flush()
    second.close()
    assert [
        (s.global_step, set(s.columns["run"].tolist()), s.missing_ranks) for s in read_steps([tmp_path])
    ] == [
        (1, {0}, ()),
        (2, {1}, (0,)),
        (3, {1}, (0,)),
    ]


def test_a_link_to_nowhere_is_skipped_like_any_bad_file(tmp_path, job, capsys):
    job(1).record(1)
    (tmp_path / "entropy_step_2.json").symlink_to(tmp_path / "nowhere")
    assert [s.global_step for s in progress.watched_steps(find_run(str(tmp_path)), skip_bad=True)] == [1]
    assert "skipped: " in capsys.readouterr().err


def test_a_step_whose_name_is_taken_is_in_no_other_steps_way(tmp_path, job, caplog):
    (tmp_path / "entropy_step_1.json").mkdir()
    ranks = job(2)
    for step in (1, 2, 3):
        ranks.record(step)
    assert names(tmp_path) == [
        "entropy_step_1.dp0of2.run0.call0.json",
        "entropy_step_1.dp1of2.run0.call0.json",
        "entropy_step_1.json",
        "entropy_step_2.json",
        "entropy_step_3.json",
    ]
    assert "Is a directory" in caplog.text


def test_a_rank_restarted_alone_does_not_outdate_its_earlier_steps(tmp_path, job):
    ranks = job(2)
    ranks.record(1, 0)
    ranks.record(2, 0)
    ranks.writers[0].close()
    ranks.writers[0] = StepWriter(tmp_path, dp_rank=0, dp_size=2)
    ranks.record(3, 0)
    for step in (1, 2, 3):
        ranks.record(step, 1)
    assert names(tmp_path) == [f"entropy_step_{step}.json" for step in (1, 2, 3)]
    assert [s.stale for s in read_steps([tmp_path])] == [False] * 3


@pytest.mark.parametrize(("before", "after"), [(4, 2), (2, 4), (4, 1), (1, 4), (3, 2)])
@pytest.mark.parametrize("whole", [True, False])
def test_a_resume_with_another_world_size_replaces_all_ranks(tmp_path, job, before, after, whole):
    ranks = job(before)
    ranks.record(1)
    if before > 1 and not whole:
        ranks.record(2, *range(before - 1))
    else:
        ranks.record(2)
    ranks.close()
    ranks = job(after)
    for rank in range(after):
        ranks.record(2, rank)
        step = list(read_steps([tmp_path]))[-1]
        recorded = set(step.columns["token_id"][step.columns["run"] == 1].tolist())
        assert recorded == set().union(*(token_ids(2, r) for r in range(rank + 1)))
    step = list(read_steps([tmp_path]))[-1]
    assert Counter(step.columns["token_id"].tolist()) == once(*(token_ids(2, r) for r in range(after)))
    assert names(tmp_path) == ["entropy_step_1.json", "entropy_step_2.json"]


def test_a_joined_file_changed_by_hand_is_left_alone(tmp_path, job, caplog):
    ranks = job(2)
    ranks.record(1)
    (tmp_path / "entropy_step_1.json").write_text('{"mine": 1}')
    ranks.record(1, 0, call=1)
    ranks.record(2)
    assert (tmp_path / "entropy_step_1.json").read_text() == '{"mine": 1}'
    assert "was changed" in caplog.text


def test_ranks_at_once_neither_lose_nor_double(tmp_path):
    size, steps = 4, 6
    processes = [RankProcess(tmp_path, rank, size, 1, steps, delay=0.003) for rank in range(size)]
    for process in processes:
        process.wait()
    assert names(tmp_path) == [f"entropy_step_{step}.json" for step in range(1, steps + 1)]
    assert found(tmp_path) == {s: once(*(token_ids(s, r) for r in range(size))) for s in range(1, steps + 1)}
    assert not temporary_files(tmp_path)


def test_no_lock_means_shards_that_are_read_all_the_same(tmp_path, monkeypatch, job):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    ranks = job(2)
    ranks.record(1)
    assert len(shard_files(tmp_path)) == 2
    assert found(tmp_path)[1] == once(token_ids(1, 0), token_ids(1, 1))
