"""Processes that are killed while they write, and what is in the files then.

The long runs are marked `faults`; each has a short run of the same code in the default suite. Every test
prints attempts, survivors, records expected and records found (`pytest -s`).
"""

import json
import os
import random
import time
from collections import Counter
from dataclasses import dataclass

import pytest
from rank_processes import (
    RankProcess,
    found,
    shard_files,
    temporary_files,
    token_ids,
    whole_files,
)
from summary_line import Summary

from arpo_entropy_recorder.step_files.read import read_steps


@dataclass
class Tally(Summary):
    """The summary line of one test."""

    def told(self, capsys):
        self.show(capsys)
        assert self.expected == self.found


def check_files(directory, size, records):
    """Every file in place parses and, if whole, holds every record of its step exactly once."""
    for path in directory.glob("entropy_step_*.json"):
        got = Counter(r["token_id"] for r in json.loads(path.read_bytes()))
        step = int(path.name.split("_")[2].split(".")[0])
        ranks = range(size) if ".dp" not in path.name else [int(path.name.split(".dp")[1].split("of")[0])]
        assert got == Counter(t for r in ranks for t in token_ids(step, r, 0, records)), path.name


def await_moment(directory, rng, longest):
    """Until a random moment; half of the time one right after a file appeared, moved or went."""
    deadline = time.monotonic() + rng.random() * longest
    changes = rng.randrange(1, 15) if rng.random() < 0.5 else None
    seen = None
    while time.monotonic() < deadline and changes != 0:
        if changes is None:
            time.sleep(max(0.0, deadline - time.monotonic()))
        elif directory.exists() and (names := set(os.listdir(directory))) != seen:
            seen, changes = names, changes - 1


def kill_at_random(directory, size, steps, records, rng, tally, longest):
    """Starts all ranks, kills them at one random moment, checks; then lets them finish, and checks again."""
    processes = [RankProcess(directory, rank, size, 1, steps, records=records) for rank in range(size)]
    await_moment(directory, rng, longest)
    survived = [not process.kill() for process in processes]
    tally.attempts += 1
    tally.survivors += all(survived)
    check_files(directory, size, records)
    seen = found(directory)
    for process in processes:
        for step in range(1, process.flushed + 1):
            mine = token_ids(step, process.rank, 0, records)
            tally.expected += len(mine)
            tally.found += sum(seen.get(step, {}).get(token, 0) for token in mine)
    assert all(count == 1 for counts in seen.values() for count in counts.values())
    if not all(survived):
        again = [
            RankProcess(directory, p.rank, size, min(p.flushed + 1, steps), steps, records=records)
            for p in processes
        ]
        for process in again:
            process.wait()
    check_files(directory, size, records)
    assert not temporary_files(directory)
    assert not shard_files(directory)
    assert len(whole_files(directory)) == steps


def run_kills(tmp_path, capsys, name, attempts, size, steps, records):
    tally = Tally(name)
    rng = random.Random(7)
    longest = 0.0
    for attempt in range(attempts):
        if attempt % 25 == 0:  # how long it takes to the end, on a machine whose load may change
            start = time.monotonic()
            whole = tmp_path / f"whole{attempt}"
            for process in [
                RankProcess(whole, rank, size, 1, steps, records=records) for rank in range(size)
            ]:
                process.wait()
            longest = 1.05 * (time.monotonic() - start)
        kill_at_random(tmp_path / str(attempt), size, steps, records, rng, tally, longest)
    tally.told(capsys)


def test_some_kills_while_flushing(tmp_path, capsys):
    run_kills(tmp_path, capsys, "kills while flushing (short)", 25, 1, 4, 4000)


def test_some_kills_while_joining(tmp_path, capsys):
    run_kills(tmp_path, capsys, "kills while joining (short)", 10, 3, 3, 1000)


@pytest.mark.faults
def test_many_kills_while_flushing(tmp_path, capsys):
    run_kills(tmp_path, capsys, "kills while flushing", 300, 1, 4, 4000)


@pytest.mark.faults
def test_many_kills_while_joining(tmp_path, capsys):
    run_kills(tmp_path, capsys, "kills while joining", 300, 3, 3, 1000)


def many_writers(directory, capsys, name, size, steps, delay, victims):
    """`victims` are killed half-way and restarted after the step that they were at."""
    tally = Tally(name, attempts=size)
    processes = {rank: RankProcess(directory, rank, size, 1, steps, delay=delay) for rank in range(size)}
    for rank in victims:
        while processes[rank].flushed < steps // 3:
            time.sleep(0.002)
            processes[rank].collect()
        assert processes[rank].kill()
        skipped = processes[rank].flushed + 1
        processes[rank] = RankProcess(directory, rank, size, skipped + 1, steps, delay=delay)
        victims[rank] = skipped
    tally.survivors = sum(process.wait() for process in processes.values())
    check_files(directory, size, 40)
    for step in read_steps([directory]):
        counts = Counter(step.columns["token_id"].tolist())
        missing = {rank for rank in range(size) if not counts.keys() & set(token_ids(step.global_step, rank))}
        # Only the unflushed step of a killed rank may be missing, and the reader says so.
        assert missing <= {rank for rank, skipped in victims.items() if skipped == step.global_step}
        assert step.missing_ranks == tuple(sorted(missing))
        assert (directory / f"entropy_step_{step.global_step}.json").exists() == (not missing)
        tally.expected += 40 * (size - len(missing))
        tally.found += len(step)
        assert len(counts) == len(step)
        tally.note += f"; step {step.global_step} lacks ranks {sorted(missing)}" if missing else ""
    assert not temporary_files(directory)
    tally.told(capsys)


def test_few_writers_of_which_one_is_restarted(tmp_path, capsys):
    # Steps enough that the victim is still at work when it is killed, on a busy machine too.
    many_writers(tmp_path, capsys, "writers (short)", 5, 40, 0.03, {2: 0})


@pytest.mark.faults
@pytest.mark.parametrize("attempt", range(5))
def test_sixteen_writers_of_which_two_are_restarted(tmp_path, capsys, attempt):
    first, second = random.Random(attempt).sample(range(16), 2)
    many_writers(tmp_path, capsys, "16 writers, 50 steps, 2 restarted", 16, 50, 0.02, {first: 0, second: 0})


@pytest.mark.faults
def test_reading_while_ranks_write_and_join(tmp_path, capsys):
    """A step that was once read whole is read the same for ever after, whatever the writers do."""
    size, steps = 6, 40
    tally = Tally("reading while joining", attempts=0)
    processes = [RankProcess(tmp_path, rank, size, 1, steps, delay=0.02) for rank in range(size)]
    whole = {}
    while any(process.flushed < steps for process in processes):
        for process in processes:
            process.collect()
        flushed = {process.rank: process.flushed for process in processes}
        seen = found(tmp_path)
        tally.attempts += 1
        for rank, last in flushed.items():
            for step in range(1, last + 1):
                mine = token_ids(step, rank)
                tally.expected += len(mine)
                tally.found += sum(seen[step][token] for token in mine)
        for step, counts in seen.items():
            assert set(counts.values()) == {1}
            assert whole.setdefault(step, counts).keys() <= counts.keys()
            whole[step] = counts
    tally.survivors = sum(process.wait() for process in processes)
    tally.told(capsys)


def test_the_kill_tests_reach_half_written_files(tmp_path):
    """The kills are of use only if some come in the midst of a write."""
    for attempt in range(200):
        process = RankProcess(tmp_path / str(attempt), 0, 1, 1, 50, records=5000)
        while not (tmp_path / str(attempt)).exists() or not temporary_files(tmp_path / str(attempt)):
            os.sched_yield()
        process.kill()
        if temporary_files(tmp_path / str(attempt)):
            return
    pytest.fail("no temporary file was left behind in 200 kills")
