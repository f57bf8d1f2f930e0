"""The picture of a command: its options, where it goes, the language of its labels, and how it is drawn and saved."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from arpo_entropy_recorder.atomic import OutputError
from arpo_entropy_recorder.commands.arguments import naming, output_path
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.catalogue import GUIDE
from arpo_entropy_recorder.figures.media import MEDIA, Medium
from arpo_entropy_recorder.figures.words import LANGUAGES, Words, choose_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")


def add_picture_options(
    parser: argparse.ArgumentParser,
    default: str = "entropy_increase.png; a --figure other than rounds has entropy_FIGURE.png",
) -> None:
    """The options that every command with a picture has."""
    parser.add_argument("-o", "--output", type=output_path, metavar="PATH",
                        help=f"the picture, as .png, .pdf or .svg (default: {default})")  # fmt: skip
    parser.add_argument("--format", choices=FORMATS, help="kind of picture, if --output has no suffix")
    parser.add_argument("--for", dest="medium", choices=MEDIA, default="screen",
                        help="paper: 3.3 inches wide with text of 7 to 8 points; slide: 10 inches, 14 to 16 points "
                             "(default: %(default)s)")  # fmt: skip
    parser.add_argument("--lang", choices=LANGUAGES, default="auto",
                        help="language of the labels; auto takes the locale's (default: %(default)s)")  # fmt: skip


def chosen_picture(args: argparse.Namespace, figure_name: str) -> Path:
    """Where the picture goes: --output, or the guide's name for its figure and names like it for the others."""
    from arpo_entropy_recorder.figures.picture import picture_path

    default = f"entropy_{'increase' if figure_name in ('rounds', GUIDE.name) else figure_name}.{args.format or 'png'}"
    path: Path = args.output or Path(default)
    if args.format and not path.suffix and path.name not in ("", ".."):
        path = path.with_suffix(f".{args.format}")
    suffix = path.suffix.lower().lstrip(".")
    if args.format and suffix in FORMATS and suffix != args.format:
        raise UserError(f"--output {path} and --format {args.format} disagree; leave one of them out")
    with naming("--output", OutputError):
        return picture_path(path)


def chosen_words(args: argparse.Namespace) -> Words:
    """The labels in the language of --lang; says on stderr where it cannot be had."""
    from arpo_entropy_recorder.commands.progress import say

    words, warning = choose_words(args.lang)
    if warning:
        say(warning)
    return words


def draw_to(path: Path, figure_name: str, medium: Medium, make: Callable[[], Figure]) -> str | None:
    """Save the figure that `make` draws for `medium`; returns title and caption, where they are not in the picture.

    Raises UserError with the option that helps.
    """
    from arpo_entropy_recorder.figures.picture import save

    with naming(f"--figure {figure_name}:"):
        figure = make()
    with naming("--output", OutputError):
        save(figure, path, medium)
    return str(figure.get_label()) or None
