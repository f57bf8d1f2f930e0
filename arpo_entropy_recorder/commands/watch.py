"""Redraw a figure and print the table whenever the step files in a directory change, until Ctrl-C.

Start it before or during training. Each change reads all files again; reading takes at most half of the time.

examples:
  arpo-entropy watch checkpoints
  arpo-entropy watch checkpoints -f steps -o steps.svg --interval 60
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from arpo_entropy_recorder.commands.arguments import add_selection, non_empty, seconds
from arpo_entropy_recorder.commands.picture import add_picture_options, chosen_picture, chosen_words, draw_to
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.catalogue import FIGURES, draw
from arpo_entropy_recorder.figures.media import MEDIA
from arpo_entropy_recorder.figures.words import Words


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", type=non_empty, metavar="DIR", help="where step files appear; it need not exist yet"
    )
    parser.add_argument(
        "-f",
        "--figure",
        choices=FIGURES,
        default="rounds",
        metavar="FIGURE",
        help=f"which figure: {', '.join(FIGURES)} (default: %(default)s)",
    )
    add_selection(parser)
    add_picture_options(parser)
    parser.add_argument("--interval", type=seconds, default=5.0, metavar="SECONDS",
                        help="time between looks at the directory (default: %(default)s)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from arpo_entropy_recorder.commands.progress import say

    directory = Path(args.directory)
    args.paths, args.skip_bad = [args.directory], False
    _check_directory(directory)
    path = chosen_picture(args, args.figure)
    words = chosen_words(args)
    say(f"watching {directory}; Ctrl-C ends it")
    drawn: frozenset[tuple[str, int, int]] = frozenset()
    said = ""
    try:
        while True:
            now, started = _state(directory), time.monotonic()
            if now != drawn:
                try:
                    _redraw(args, path, words)
                except UserError as error:
                    # May succeed with the next step, or once the disk has room: try again.
                    if str(error) != said:
                        say(f"not drawn: {error}")
                    said = str(error)
                else:
                    drawn, said = now, ""
            time.sleep(max(args.interval, time.monotonic() - started))
    except KeyboardInterrupt:
        return 0


def _check_directory(directory: Path) -> None:
    """Raise UserError for a path that exists and cannot be listed: a file, or a directory without permission."""
    try:
        os.listdir(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(
            f"{directory}: cannot be watched: {error.strerror}; give the directory where step files appear"
        ) from error


def _state(directory: Path) -> frozenset[tuple[str, int, int]]:
    """Name, size and time of each step file, so that a step recorded again is seen, too."""
    found = set()
    for file in directory.glob("entropy*_step_*.json"):
        try:
            status = file.stat()
        except OSError:  # a shard that has just been joined, or a dangling link
            continue
        found.add((file.name, status.st_size, status.st_mtime_ns))
    return frozenset(found)


def _redraw(args: argparse.Namespace, path: Path, words: Words) -> None:
    from rich.console import Console

    from arpo_entropy_recorder.analysis.table import round_table
    from arpo_entropy_recorder.commands.reading import analyse_run, the_run
    from arpo_entropy_recorder.errors import printable

    analysis = analyse_run(args, the_run(args), {"tools", *FIGURES[args.figure].parts})  # the table has tools
    medium, what, caption = MEDIA[args.medium], f"{path} redrawn", None
    try:
        caption = draw_to(path, args.figure, medium, lambda: draw(args.figure, analysis, words, medium))
    except UserError as error:
        if analysis.has_results:
            raise
        what = f"not drawn, as no tool was called ({error})"
    console = Console()
    console.print(round_table(analysis, console.width))
    for line in (f"{what}; steps so far: {len(analysis.rounds.steps)}", caption):
        if line:
            console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
