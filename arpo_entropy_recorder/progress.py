"""Reading step files with a progress bar, where a person is watching."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from .reader import Step, find_files, read_steps


def watched_steps(paths: Sequence[str]) -> Iterator[Step]:
    """The steps in `paths`, with a bar on a terminal's stderr and a line for each step that was left out."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("reading"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("reading", total=len(find_files(paths)))
        yield from read_steps(paths, progress=lambda *_: progress.advance(bar))


def say(line: str) -> None:
    """One line for the person, on stderr, away from output that a program may read."""
    print(line, file=sys.stderr)
