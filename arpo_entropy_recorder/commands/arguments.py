"""Arguments that several commands share, checks of their values, and of the packages that a command needs."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.recorder.settings import MAX_WINDOW, without_tilde

# The model that `record` builds on the spot, and `report` knows the words of.
TOY = "toy"
# Seconds. time.sleep() refuses very long times, and a day is enough.
MAX_WAIT = 86_400


def add_step_files(parser: argparse.ArgumentParser) -> None:
    """The arguments `paths` and `skip_bad` of the commands that read step files."""
    parser.add_argument(
        "paths",
        nargs="+",
        type=non_empty,
        metavar="PATH",
        help="step files, a quoted glob of them, or a directory",
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="skip files that cannot be read, and name them"
    )


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


def window_size(text: str) -> int:
    return _number(
        text, int, lambda value: 1 <= value <= MAX_WINDOW, f"a whole number from 1 to {MAX_WINDOW:,}"
    )


def positive(text: str) -> int:
    return _number(text, int, lambda value: value >= 1, "a whole number from 1 on")


def whole(text: str) -> int:
    return _number(text, int, lambda value: value >= 0, "a whole number from 0 on")


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
