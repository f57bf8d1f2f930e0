"""Write one self-contained HTML page: the answer, the figures, the numbers, and trajectories to read.

The page says whether the entropy after tool results exceeds the initial one, by how much and how surely, and
what is known of the run from its files. It loads nothing from a network and can be mailed or printed.

Trajectories are shown where the records hold tokens (record_tokens = true, or rescored) and the run's tokenizer
is known: from --model, or for rescored records from what they were rescored with. Those with the highest
entropies after a tool result come first, each segment's first tokens shaded by their entropies (--window K of
them). The text of tool results is known for rescored records only.

examples:
  arpo-entropy report checkpoints -o report.html
  arpo-entropy report checkpoints -o report.html --model Qwen2.5-7B --trajectories 50
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from arpo_entropy_recorder.schema import UserError

if TYPE_CHECKING:
    from arpo_entropy_recorder.report.transcript import Transcriber


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="step files, a quoted glob of them, or a directory"
    )
    parser.add_argument("-o", "--output", default="report.html", type=Path, metavar="PATH",
                        help="the page (default: %(default)s)")  # fmt: skip
    parser.add_argument("--model", "--tokenizer", metavar="PATH",
                        help="the run's model or tokenizer, to show what was written")  # fmt: skip
    parser.add_argument("--trajectories", type=int, default=20, metavar="N",
                        help="trajectories to show (default: %(default)s)")  # fmt: skip
    parser.add_argument(
        "--skip_bad", action="store_true", help="name files that cannot be read and go on without"
    )


def run(args: argparse.Namespace) -> int:
    from arpo_entropy_recorder.progress import watched_steps
    from arpo_entropy_recorder.report.page import make_report, write_report
    from arpo_entropy_recorder.step_files.layout import printable

    output: Path = args.output
    if args.trajectories < 0:
        raise UserError(f"--trajectories {args.trajectories}: give a number from 0 on")
    if output.is_dir() or not output.parent.is_dir():
        raise UserError(f"--output {output}: name a file in a directory that exists")
    transcriber = _transcriber(args.model, args.paths) if args.trajectories else None
    page = make_report(watched_steps(args.paths, args.skip_bad), transcriber, args.trajectories)
    write_report(page, output)
    print(printable(f"{output}: {len(page.encode()) / 1e6:.1f} MB"))
    return 0


def _transcriber(model: str | None, paths: list[str]) -> Transcriber | None:
    """By the tokenizer that was asked for, else by that of rescored records if it is still there."""
    from arpo_entropy_recorder.progress import say
    from arpo_entropy_recorder.report.transcript import Transcriber
    from arpo_entropy_recorder.rescore.retokenize import load_tokenizer

    chosen = model or _rescored_with(paths)
    if chosen is None:
        return None
    try:
        return Transcriber(load_tokenizer(chosen))
    except UserError as error:
        if model:
            raise
        say(f"without trajectories: {error}")
        return None


def _rescored_with(paths: list[str]) -> str | None:
    """The model of rescored records, if it can be told."""
    from arpo_entropy_recorder.rescore.ledger import read_ledger

    for path in map(Path, paths):
        ledger = read_ledger(path if path.is_dir() else path.parent)
        if ledger is not None:
            return next((step["model"] for step in ledger["steps"].values()), None)
    return None
