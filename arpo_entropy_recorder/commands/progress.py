"""Reading step files with a progress bar, where a person is watching, and lines on what is not whole."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from arpo_entropy_recorder.errors import printable
from arpo_entropy_recorder.step_files.decode import decode
from arpo_entropy_recorder.step_files.find import find_files, missing, read_bytes
from arpo_entropy_recorder.step_files.read import ReadError, Step, read_steps


def say(line: str) -> None:
    """One line for the person, on stderr, away from output that a program may read."""
    print(printable(line), file=sys.stderr)


def watched_steps(paths: Sequence[str], skip_bad: bool = False) -> Iterator[Step]:
    """The steps in `paths`, with a bar on a terminal's stderr; says which steps lack data-parallel ranks.

    With `skip_bad` the files that cannot be read are named and left out; without, the first raises ReadError.
    Files that hold no record at all raise it, too: nothing can be made of them.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    files: list[Path] = find_files(paths)
    lacking: list[int] = []
    records = 0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        if skip_bad:
            checking = progress.add_task("checking files", total=len(files))
            files = [file for file in files if _is_readable(file, partial(progress.advance, checking))]
        reading = progress.add_task("reading files", total=len(files))
        for step in read_steps(files, progress=lambda _: progress.advance(reading)) if files else ():
            records += len(step)
            if step.missing_ranks:
                lacking.append(step.global_step)
            yield step
    if not records:
        where = ", ".join(map(printable, paths))
        raise ReadError(f"{where}: no records there; was the recorder on, and did a step end?")
    if lacking:
        which = f"{len(lacking)} steps are" if len(lacking) > 1 else f"step {lacking[0]} is"
        say(f"{which} without the records of some data-parallel ranks")


def _is_readable(file: Path, done: Callable[[], None]) -> bool:
    try:
        decode(read_bytes(file), file)
    except FileNotFoundError:
        if not file.is_symlink():
            return True  # joined since it was listed: the reader finds what there is now
        say(f"skipped: {missing(file)}")
        return False
    except ReadError as error:
        say(f"skipped: {error}")
        return False
    finally:
        done()
    return True
