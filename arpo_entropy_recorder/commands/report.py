"""Write one self-contained HTML page: the answer, the figures, the numbers, and trajectories to read.

The page says whether the entropy after tool results exceeds the initial one, by how much and how surely, and
what the files tell about the run. It loads nothing from a network and can be mailed or printed.

Trajectories are shown if the records hold tokens (record_tokens = true, or rescored) and the run's tokenizer is
known: from --model, or for rescored records from the model that rescored them. Those with the highest entropies
after a tool result come first. In each segment the first tokens are shaded by their entropies, as many as were
recorded (--window). The text of tool results is known for rescored records only.

examples:
  arpo-entropy report checkpoints --open
  arpo-entropy report checkpoints -o report.html --model Qwen2.5-7B --trajectories 50
  arpo-entropy report entropies -o report.html --model toy
"""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from arpo_entropy_recorder.atomic import check_output
from arpo_entropy_recorder.commands.arguments import (
    TOY,
    add_step_files,
    naming,
    non_empty,
    output_path,
    require,
    whole,
)
from arpo_entropy_recorder.errors import UserError

if TYPE_CHECKING:
    from arpo_entropy_recorder.report.transcript import Transcriber
    from arpo_entropy_recorder.step_files.runs import RunFiles


def configure(parser: argparse.ArgumentParser) -> None:
    add_step_files(parser)
    parser.add_argument("-o", "--output", default="report.html", type=output_path, metavar="PATH",
                        help="the page, as .html (default: %(default)s)")  # fmt: skip
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument("--model", "--tokenizer", type=non_empty, metavar="PATH",
                        help="the run's model or tokenizer, to show what was written; "
                             "'toy' for the tiny agent of record")  # fmt: skip
    parser.add_argument("--trajectories", type=whole, default=20, metavar="N",
                        help="trajectories to show (default: %(default)s)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from arpo_entropy_recorder.commands.reading import chosen_steps, selection_of, the_run
    from arpo_entropy_recorder.errors import printable
    from arpo_entropy_recorder.report.page import make_report, write_report
    from arpo_entropy_recorder.report.transcript import UnknownTokenError

    with naming("--output"):
        output = check_output(args.output, (".html", ".htm"))
    browser = _browser() if args.open else None
    # First, since loading a tokenizer takes seconds.
    run = the_run(args)
    selection = selection_of(args, run)
    transcriber = _transcriber(args.model, run) if args.trajectories else None
    try:
        page = make_report(
            chosen_steps(args, run, selection), transcriber, args.trajectories, selection, run.vocab_size
        )
    except UnknownTokenError as error:
        raise UserError(f"--model: {error}") from error
    with naming("--output"):
        write_report(page, output)
    print(printable(f"{output}: {len(page.encode()) / 1e6:.1f} MB"))
    if browser and not browser.open(output.resolve().as_uri()):
        raise UserError(f"--open: the browser did not take {output}; open it yourself")
    return 0


def _browser() -> webbrowser.BaseBrowser:
    try:
        return webbrowser.get()
    except webbrowser.Error as error:
        raise UserError(
            "--open: there is no browser here; leave it out and open the page elsewhere"
        ) from error


def _transcriber(model: str | None, run: RunFiles) -> Transcriber | None:
    """With the tokenizer of `model`; without `model`, with that of rescored records, if it is still there."""
    from arpo_entropy_recorder.commands.progress import say
    from arpo_entropy_recorder.report.transcript import Transcriber
    from arpo_entropy_recorder.rescore.tokenizer import load_tokenizer

    if model == TOY:
        return Transcriber(_toy_tokenizer())
    if model:
        require("--model", "transformers")
        with naming("--model"):
            return Transcriber(load_tokenizer(model))
    if (rescored_with := _rescored_with(run)) is None:
        return None
    try:
        return Transcriber(load_tokenizer(rescored_with))
    except UserError as error:
        say(f"without trajectories: {error}")
        return None


def _toy_tokenizer() -> Any:
    """The tokenizer of the agent that `record --model toy` builds, and deletes at its end."""
    require("--model toy", "transformers", "tokenizers")
    from arpo_entropy_recorder.rescore.tokenizer import load_tokenizer
    from arpo_entropy_recorder.rollout.toy_agent import write_tokenizer

    with TemporaryDirectory(prefix="toy-agent-") as directory:
        write_tokenizer(Path(directory))
        return load_tokenizer(directory)


def _rescored_with(run: RunFiles) -> str | None:
    """The model that the records were rescored with; None for others."""
    from arpo_entropy_recorder.rescore.manifest import read_manifest

    for directory in run.directories:
        manifest = read_manifest(directory)
        if manifest is not None:
            return next((step["model"] for step in manifest["steps"].values()), None)
    return None
