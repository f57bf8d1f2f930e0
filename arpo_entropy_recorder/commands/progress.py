"""Reads step files with a progress bar on a terminal, and says what is skipped or missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.step_files.decode import ReadError
from arpo_entropy_recorder.step_files.read import Step
from arpo_entropy_recorder.step_files.runs import RunFiles


def say(line: str) -> None:
    """Print one line to stderr, apart from output that a program may read."""
    print(printable(line), file=sys.stderr)


def say_skipped(error: UserError) -> None:
    """Say what is left out, and why."""
    say(f"skipped: {error}")


def watched_steps(run: RunFiles, skip_bad: bool = False) -> Iterator[Step]:
    """The steps of a run, with a bar on a terminal's stderr; says which steps lack data-parallel ranks.

    With `skip_bad` the files that cannot be read are named and left out; without, the first raises ReadError.
    Files that hold no record at all raise it, too: nothing can be made of them.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    incomplete: list[int] = []
    from_one: set[Path] = set()
    records = 0
    # Where stderr is redirected, as `watch` does, there is no bar, whatever FORCE_COLOR says.
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        reading = progress.add_task("reading files", total=len(run.files))
        for step in run.steps(
            progress=lambda _: progress.advance(reading), on_bad=say_skipped if skip_bad else None
        ):
            records += len(step)
            if step.rounds_from_one and step.path is not None:
                from_one.add(step.path.parent)
            if step.missing_ranks:
                incomplete.append(step.global_step)
            yield step
    if not records:
        where = ", ".join(map(printable, run.directories))
        raise ReadError(f"{where}: no records there; was the recorder on, and did a step end?")
    for directory in sorted(from_one):
        say(
            f"{directory}: no round 0 there: rounds are taken to count from 1, as in the guide, and read one lower"
        )
    if incomplete:
        which = f"{len(incomplete)} steps are" if len(incomplete) > 1 else f"step {incomplete[0]} is"
        say(f"{which} without the records of some data-parallel ranks")
