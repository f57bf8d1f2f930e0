"""Look whether a running job of verl's agent loop records: who has joined it, which engines are recorded, what came.

The job's collector writes what it knows beside the step files every ten seconds; this command reads it. The exit
status is 0 if nothing is wrong, also before the first record, and 1 if entropies are lost, an engine is not recorded
or the collector is silent.

examples:
  arpo-entropy check entropy
  ARPO_ENTROPY_DIR=entropy arpo-entropy check
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from arpo_entropy_recorder.commands.arguments import DIRECTORY, non_empty
from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.figures.words import counted
from arpo_entropy_recorder.recorder.settings import without_tilde

if TYPE_CHECKING:
    from arpo_entropy_recorder.live.status import Status

# The collector writes, and each engine's worker says hello, every 10 s.
SILENT_S = 60.0
MAX_WORKERS_SHOWN = 20


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory",
        nargs="?",
        type=non_empty,
        metavar="DIR",
        help=f"where the job records to (default: the environment's {DIRECTORY})",
    )


def run(args: argparse.Namespace) -> int:
    from arpo_entropy_recorder.live.status import read_status

    name = args.directory or os.environ.get(DIRECTORY)
    if not name:
        raise UserError(f"name the directory that the job records to, or set {DIRECTORY}")
    directory = without_tilde(name)  # a variable's is not the shell's
    status, age = read_status(directory)
    wrong = list(_wrong(status, age))
    for line in [*_facts(status, age), *_size(directory)]:
        print(printable(line))
    if wrong:
        verdict = "wrong: " + "; ".join(wrong)
    elif status.counts.get("records"):
        verdict = "recording" if not status.ended else "the job has ended, and all was recorded"
    else:
        verdict = "no record yet: a step is written when the trainer logs it"
    print(printable(f"verdict     {verdict}"))
    return 1 if wrong else 0


def _facts(status: Status, age: float) -> Iterator[str]:
    counts, workers = status.counts, status.workers
    state = "ended" if status.ended else f"last heard of {_time(age)} ago"
    up = _time(status.written - status.started)
    yield f"collector   {status.host}, process {status.pid}, at {status.address}; up for {up}, {state}"
    told = []
    for role in sorted({process.role for process in status.processes}):
        hosts = [process.host for process in status.processes if process.role == role]
        told.append(
            f"{role}: {counted(len(hosts), 'process', 'processes')} on {counted(len(set(hosts)), 'node')}"
        )
    yield "verl        " + ("; ".join(told) or "no agent loop worker and no trainer has joined yet")
    if not workers:
        yield "engines     no worker has been heard of yet"
    for worker in workers[:MAX_WORKERS_SHOWN]:
        runner, sent = worker.runner.rpartition(".")[2], worker.counters.get("values_sent", 0)
        seen = "ended" if worker.ended else "heard of"
        heard = f"{sent:,.0f} values sent, {seen} {_time(worker.seconds_ago)} before"
        what = f"not recorded: {worker.refused}" if worker.refused else f"recorded, {heard}"
        yield f"engines     {worker.host}, process {worker.pid}: {runner} of vLLM {worker.version}, {what}"
    if len(workers) > MAX_WORKERS_SHOWN:
        yield f"engines     and {len(workers) - MAX_WORKERS_SHOWN:,} more"
    yield (
        f"values      {status.values_received:,} received in {status.messages:,} messages; "
        f"{status.messages_refused:,} messages refused"
    )
    yield (
        f"records     {counts.get('records', 0):,} from {counts.get('trajectories', 0):,} trajectories, "
        f"{counts.get('nulls', 0):,} null; {counts.get('trajectories_waiting', 0):,} trajectories wait for the end "
        "of their step"
    )


def _wrong(status: Status, age: float) -> Iterator[str]:
    if status.cause is not None:
        yield status.cause
    if not status.ended:
        if age > SILENT_S:
            yield f"the collector has been silent for {_time(age)}: has the job ended?"
        elif silent := [w for w in status.workers if w.seconds_ago > SILENT_S and not w.ended]:
            yield f"{counted(len(silent), 'engine worker')} not heard of for {_time(SILENT_S)} or more"
    for name, what in (
        ("dropped", "trajectories dropped, as too many waited"),
        ("without_step", "trajectories without a step"),
        ("too_late", "records came too late for their step"),
        ("failures", "errors of the recorder, the first of them in the job's log"),
        ("records_unwritten", "records wait in memory, as they cannot be written"),
        ("records_dropped", "records are lost, as they could not be written"),
    ):
        if count := status.counts.get(name):
            yield f"{count:,} {what}"


def _size(directory: Path) -> Iterator[str]:
    """How much the newest training step takes."""
    from arpo_entropy_recorder.step_files.find import key_of, list_step_files
    from arpo_entropy_recorder.step_files.read import read_files

    files = [file for file in list_step_files(directory) if not key_of(file).validate]
    if not files:
        return
    file = max(files, key=lambda file: key_of(file).global_step)
    bad: list[UserError] = []
    for step in read_files([file], on_bad=bad.append):
        size, trajectories = file.stat().st_size, len(step.trajectories[1])
        yield (
            f"size        {file.name}: {size:,} bytes, {trajectories:,} trajectories; "
            f"{1000 * size / max(1, trajectories):,.0f} bytes for 1,000"
        )
    # A file that cannot be read says nothing of whether the job records.
    yield from (f"size        {error}" for error in bad)


def _time(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
