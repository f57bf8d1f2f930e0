"""The page of `report` served while a training is watched."""

from __future__ import annotations

import argparse
import io
from contextlib import redirect_stderr
from typing import TYPE_CHECKING

from arpo_entropy_recorder.commands.arguments import naming, port
from arpo_entropy_recorder.commands.report import add_reader_options, run_pages

if TYPE_CHECKING:
    from arpo_entropy_recorder.figures.words import Words
    from arpo_entropy_recorder.report.serve import PageServer


def add_serve_options(parser: argparse.ArgumentParser) -> None:
    """`--serve`, and what of the trajectories is on the page."""
    parser.add_argument("--serve", nargs="?", const=0, type=port, metavar="PORT",
                        help="serve the page of report to this machine alone, at PORT or any free one")  # fmt: skip
    add_reader_options(parser)


def started(args: argparse.Namespace) -> PageServer | None:
    """The server that the options ask for. Raises UserError where the port is taken."""
    from arpo_entropy_recorder.report.serve import PageServer

    if args.serve is None:
        return None
    with naming("--serve"):
        server = PageServer(args.serve)
    server.start()
    return server


def publish(server: PageServer, args: argparse.Namespace, words: Words) -> None:
    """Serve the page of the step files as they are now. Raises UserError."""
    from arpo_entropy_recorder.report.page import make_page

    with redirect_stderr(io.StringIO()):  # what is left out has been said of the figure
        runs = list(run_pages(args))
    server.publish(lambda version: make_page(runs, words, version))
