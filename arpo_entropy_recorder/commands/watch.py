"""Follow a training: numbers and figure, redrawn whenever the step files in a directory change, until Ctrl-C.

On a terminal one screen shows the last step beside the first and the last phase, how after-tool entropy and ratio
went, and the answer so far. Elsewhere, as in a log, each step is one line on stdout and all else is on stderr. The
ratio is after / before, sums over prompts; the level is after-tool entropy over that of the first phase, 5 steps at
least.

Without --figure a run of {least} steps and more is drawn as `effect`, a shorter one as `rounds`, both into
entropy_increase.png. Start it before or during training. Each change reads all files again; reading takes at most
half of the time.

--serve has the page of `report` too, which loads itself again. Only browsers of this machine that know its address
get it; from elsewhere: ssh -L PORT:127.0.0.1:PORT.

examples:
  arpo-entropy watch checkpoints
  arpo-entropy watch checkpoints >> training.log
  arpo-entropy watch checkpoints -f steps -o steps.svg --interval 60
  arpo-entropy watch checkpoints --serve 8123 --no-text
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from contextlib import AbstractContextManager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arpo_entropy_recorder.analysis.choices import MIN_STEPS
from arpo_entropy_recorder.commands.arguments import add_selection, non_empty, seconds
from arpo_entropy_recorder.commands.picture import add_picture_options, chosen_picture, chosen_words, draw_to
from arpo_entropy_recorder.commands.serving import add_serve_options, publish, started
from arpo_entropy_recorder.commands.stats import OVER_MEAN
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.catalogue import FIGURES, LONG, SHORT, default_figure, draw, spec_of
from arpo_entropy_recorder.figures.media import MEDIA
from arpo_entropy_recorder.figures.words import Words

if TYPE_CHECKING:
    from arpo_entropy_recorder.analysis.analysis import Analysis


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = str(__doc__).format(least=MIN_STEPS)
    parser.add_argument(
        "directory", type=non_empty, metavar="DIR", help="where step files appear; it need not exist yet"
    )
    parser.add_argument(
        "-f",
        "--figure",
        choices=FIGURES,
        metavar="FIGURE",
        help=f"which figure: {', '.join(FIGURES)} (default: effect from {MIN_STEPS} steps on, else rounds)",
    )
    add_selection(parser)
    add_picture_options(parser)
    parser.add_argument("--interval", type=seconds, default=5.0, metavar="SECONDS",
                        help="time between looks at the directory (default: %(default)s)")  # fmt: skip
    add_serve_options(parser)


def run(args: argparse.Namespace) -> int:
    directory = Path(args.directory)
    args.paths, args.skip_bad, args.simulate = [args.directory], False, False
    _check_directory(directory)
    # That it cannot be written is said before the first step.
    path = chosen_picture(args, args.figure or SHORT)
    words, server = chosen_words(args), started(args)
    title = f"watching {directory}; Ctrl-C ends it" + (f"; the page: {server.address}" if server else "")
    drawn: frozenset[tuple[str, int, int]] = frozenset()
    try:
        with _view(title) as view:
            while True:
                now, begun = _state(directory), time.monotonic()
                if now != drawn:
                    try:
                        _redraw(args, path, words, view)
                        if server is not None:
                            publish(server, args, words)
                    except UserError as error:
                        # May succeed with the next step, or once the disk has room: try again.
                        view.say(f"not drawn: {error}")
                    else:
                        drawn = now
                view.refresh()
                time.sleep(max(args.interval, time.monotonic() - begun))
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


def _redraw(args: argparse.Namespace, path: Path, words: Words, view: _View) -> None:
    """Read all files, show the numbers, draw the figure to `path`. Raises UserError where that cannot be done."""
    from arpo_entropy_recorder.commands.reading import analyse_run, the_run

    with redirect_stderr(io.StringIO()) as said:
        parts = {"pairs", "first_tokens", *spec_of(args.figure or LONG).parts}
        analysis = analyse_run(args, the_run(args), parts)
    view.show(analysis)
    for line in said.getvalue().splitlines():
        view.say(line)
    name = args.figure or default_figure(analysis)
    medium = MEDIA[args.medium]
    steps = len(analysis.rounds.steps)
    try:
        caption = draw_to(path, name, medium, lambda: draw(name, analysis, words, medium))
    except UserError as error:
        if analysis.has_results:
            raise
        view.say(f"not drawn, as no tool was called ({error}); steps so far: {steps}")
        return
    view.say(f"{path} redrawn; steps so far: {steps}")
    if caption:
        view.say(caption)


class _View(AbstractContextManager["_View"]):
    """Where what is found is shown."""

    def show(self, analysis: Analysis) -> None:
        """Show the numbers of all steps so far."""

    def say(self, line: str) -> None:
        """Show a line about the numbers or the picture."""

    def refresh(self) -> None:
        """Nothing has changed but, perhaps, the terminal's size."""

    def __exit__(self, *error: object) -> None:
        pass


class _Lines(_View):
    """A line a step on stdout, all else on stderr."""

    def __init__(self, title: str) -> None:
        self.shown: dict[int, tuple[float, ...]] = {}
        self.said = ""
        self.say(title)

    def show(self, analysis: Analysis) -> None:
        from arpo_entropy_recorder.analysis.watched import step_lines

        mark = " (SIMULATED)" if analysis.origins.simulated else ""
        pairs = analysis.pairs
        now = dict(zip(pairs.steps.tolist(), map(tuple, pairs.sums.tolist()), strict=True))
        # New steps, and those that were recorded again.
        rows = [row for row, (step, sums) in enumerate(now.items()) if self.shown.get(step) != sums]
        self.shown |= now
        for line in step_lines(pairs, rows):
            print(f"{line}{mark}", flush=True)

    def say(self, line: str) -> None:
        from arpo_entropy_recorder.commands.progress import say

        if line != self.said:
            say(line)
        self.said = line


class _Screen(_View):
    """One screen of the terminal, redrawn; its last state stays when it ends."""

    def __init__(self, title: str, console: Any) -> None:
        from rich.live import Live

        self.title, self.console = title, console
        self.analysis: Analysis | None = None
        self.told: list[str] = []
        self.live = Live(get_renderable=self._content, console=console, screen=True, auto_refresh=False)

    def _content(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        from arpo_entropy_recorder.analysis.watched import WatchScreen
        from arpo_entropy_recorder.errors import printable

        title = Text(printable(self.title), style="dim")
        if self.analysis is None:
            return Group(title, *map(Text, map(printable, self.told or ["no step file read yet"])))
        return Group(title, WatchScreen(self.analysis, OVER_MEAN, self.told))

    def __enter__(self) -> _Screen:
        self.live.start(refresh=True)
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()
        self.console.print(self._content())

    def show(self, analysis: Analysis) -> None:
        self.analysis, self.told = analysis, []

    def say(self, line: str) -> None:
        if line not in self.told:
            self.told.append(line)

    def refresh(self) -> None:
        self.live.refresh()


def _view(title: str) -> _View:
    """A screen where stdout is a terminal that can have one, else lines."""
    from rich.console import Console

    console = Console()
    # not `console.is_terminal`, which FORCE_COLOR sets for a pipe, too
    return _Screen(title, console) if sys.stdout.isatty() and not console.is_dumb_terminal else _Lines(title)
