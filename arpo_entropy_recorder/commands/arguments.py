"""Arguments that several commands share, checks of their values, and of the packages that a command needs."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from arpo_entropy_recorder.analysis.choices import OVER
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.recorder.settings import MAX_WINDOW, without_tilde

# The model that `record` builds on the spot, and `report` knows the words of.
TOY = "toy"
# The variable that names the directory which a job records to.
DIRECTORY = "ARPO_ENTROPY_DIR"
# Seconds. time.sleep() refuses very long times, and a day is enough.
MAX_WAIT = 86_400


def add_step_files(parser: argparse.ArgumentParser, nargs: str = "+") -> None:
    """The arguments `paths` and `skip_bad` of the commands that read step files."""
    parser.add_argument(
        "paths",
        nargs=nargs,
        type=non_empty,
        metavar="PATH",
        help="a run: its directory, files or a quoted glob; NAME=DIR names it, NAME=DIR,DIR joins a resumed one",
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="skip files that cannot be read, and name them"
    )
    add_selection(parser)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """The options that choose among a run's records."""
    group = parser.add_argument_group("what is looked at")
    of_steps = group.add_mutually_exclusive_group()
    of_steps.add_argument("--steps", type=span, metavar="FROM-TO", help="steps, as 200-300, 200- or 250")
    of_steps.add_argument("--last", type=positive, metavar="N", help="the last N steps")
    group.add_argument(
        "--tool", type=non_empty, metavar="NAME", help="only what comes after this tool's results"
    )
    group.add_argument("--validation", action="store_true", help="validation steps instead of training steps")
    group.add_argument("--over", choices=OVER,
                       help="a segment's first entropy, or its recorded window's mean (default: first)")  # fmt: skip


def add_recording_directory(parser: argparse._ActionsContainer) -> None:
    """The option `output` of the commands that record."""
    parser.add_argument("-o", "--output", type=output_path, metavar="DIR", default=os.environ.get(DIRECTORY) or ".",
                        help=f"where the step files go (default: ${DIRECTORY}, else .)")  # fmt: skip


def check_writable(out: Path) -> None:
    """Make the directory `out` where it is not there. Raises UserError unless files can be written in it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {out}: cannot make the directory: {error.strerror}") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise UserError(f"--output {out}: no permission to write there; choose another directory")


def non_empty(text: str) -> str:
    """A path or a name. An empty one, from an unset shell variable, would mean the working directory."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; is a variable unset?")
    return text


def output_path(text: str) -> Path:
    """A path to write to, with ~ expanded: the shell leaves that of `--output=~/x` as it is."""
    try:
        return without_tilde(non_empty(text))
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def span(text: str) -> tuple[int | None, int | None]:
    """Steps from one to another, both count; None where an end is left open."""
    match = re.fullmatch(r"(\d{1,18})?(?:(-)(\d{1,18})?)?", text)
    low, dash, high = match.groups() if match else (None, None, None)
    if low is None and high is None:
        raise argparse.ArgumentTypeError(f"{text} is not like 200-300, 200-, -300 or 250")
    first, last = (int(end) if end else None for end in (low, high if dash else low))
    if first is not None and last is not None and last < first:
        raise argparse.ArgumentTypeError(f"{text} ends before it begins")
    return first, last


def window_size(text: str) -> int:
    return _number(
        text, int, lambda value: 1 <= value <= MAX_WINDOW, f"a whole number from 1 to {MAX_WINDOW:,}"
    )


def positive(text: str) -> int:
    return _number(text, int, lambda value: value >= 1, "a whole number from 1 on")


def whole(text: str) -> int:
    return _number(text, int, lambda value: value >= 0, "a whole number from 0 on")


def port(text: str) -> int:
    return _number(text, int, lambda value: 0 < value < 2**16, "a port, from 1 to 65,535")


def non_negative(text: str) -> float:
    return _number(text, float, lambda value: 0 <= value < math.inf, "a number from 0 on")


def seconds(text: str) -> float:
    return _number(
        text, float, lambda value: 0 < value <= MAX_WAIT, f"a number above 0 and up to {MAX_WAIT:,}"
    )


def fraction(text: str) -> float:
    return _number(text, float, lambda value: 0 < value <= 1, "above 0 and up to 1")


def _number(text: str, kind: type, accepts: Callable[[Any], bool], wanted: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not accepts(value):
        raise argparse.ArgumentTypeError(f"{text} is not {wanted}")
    return value


@contextmanager
def naming(option: str, kind: type[UserError] = UserError) -> Iterator[None]:
    """Put the option in front of what the library says is wrong, in errors of this kind."""
    try:
        yield
    except kind as error:
        raise UserError(f"{option} {error}") from error


def require(purpose: str, *modules: str) -> None:
    """Raise UserError, before any work, where one of `modules`, each named as its package, is not installed."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UserError(f"{purpose} needs {' and '.join(modules)}: pip install {' '.join(missing)}")
