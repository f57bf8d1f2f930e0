"""Write one self-contained HTML page to read runs in: the answer, what any steps hold, trajectories.

The page says whether the entropy after tool results exceeds the initial one, and how that changed. Steps, a tool and
a run to compare with are chosen on it, and the address keeps the choice. Without a script, and printed, it has the
static figures and tables. It loads nothing from a network and can be mailed; its first line says what text it holds.

The text of trajectories is shown if the records hold tokens (record_tokens = true, or rescored) and the run's
tokenizer is known: from --model, or for rescored records from the model that rescored them. First tokens are shaded
by their entropies, as many as were recorded (--window). --rollout-dir adds prompts, tool results and scores from what
the trainer dumped: a line belongs to the trajectory of its step that wrote the same, if there is exactly one; a line
that the trainer cut, to the only one of its prompt that begins so.

examples:
  arpo-entropy report checkpoints --open
  arpo-entropy report checkpoints -o report.html --model Qwen2.5-7B --rollout-dir rollouts
  arpo-entropy report arpo=arpo/entropies grpo=grpo/entropies -o report.html --no-text
  arpo-entropy report --simulate --open
"""

from __future__ import annotations

import argparse
import webbrowser
from collections.abc import Iterator
from functools import cache
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
from arpo_entropy_recorder.commands.picture import chosen_words
from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.figures.words import LANGUAGES

if TYPE_CHECKING:
    from arpo_entropy_recorder.report.join import Join
    from arpo_entropy_recorder.report.page import RunPage
    from arpo_entropy_recorder.report.transcript import Transcriber
    from arpo_entropy_recorder.step_files.runs import RunFiles

SIMULATED = "simulated"


def configure(parser: argparse.ArgumentParser) -> None:
    add_step_files(parser, "*")
    parser.add_argument(
        "--simulate", action="store_true", help="made-up data, marked SIMULATED, to see the page"
    )
    parser.add_argument("-o", "--output", default="report.html", type=output_path, metavar="PATH",
                        help="the page, as .html (default: %(default)s)")  # fmt: skip
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument("--lang", choices=LANGUAGES, default="auto",
                        help="language of the labels; auto takes the locale's (default: %(default)s)")  # fmt: skip
    add_reader_options(parser)


def add_reader_options(parser: argparse.ArgumentParser) -> None:
    """What of the trajectories is on the page."""
    group = parser.add_argument_group("trajectories")
    group.add_argument("--model", "--tokenizer", type=non_empty, metavar="PATH",
                       help="the run's model or tokenizer, to show what was written; "
                            "'toy' for the tiny agent of record")  # fmt: skip
    group.add_argument("--rollout-dir", action="append", default=[], type=non_empty, metavar="DIR",
                       help="what the trainer dumped, to add prompts, tool results and scores; needs --model and "
                            "recorded tokens; of several runs NAME=DIR, once for each")  # fmt: skip
    group.add_argument("--trajectories", type=whole, metavar="N",
                       help="about how many trajectories to show of a run (default: 60)")  # fmt: skip
    group.add_argument("--no-text", action="store_true",
                       help="leave out all text of the rollouts; entropies and scores stay")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from arpo_entropy_recorder.report.page import make_page, write_report

    with naming("--output"):
        output = check_output(args.output, (".html", ".htm"))
    browser = _browser() if args.open else None
    words = chosen_words(args)
    page = make_page(list(run_pages(args)), words)
    with naming("--output"):
        write_report(page, output)
    print(printable(f"{output}: {len(page.encode()) / 1e6:.1f} MB"))
    if browser and not browser.open(output.resolve().as_uri()):
        raise UserError(f"--open: the browser did not take {output}; open it yourself")
    return 0


def run_pages(args: argparse.Namespace) -> Iterator[RunPage]:
    """Each run's part of the page. Raises UserError."""
    from arpo_entropy_recorder.analysis.simulate import simulate_steps
    from arpo_entropy_recorder.commands.reading import chosen_steps, selection_of
    from arpo_entropy_recorder.report.page import TRAJECTORIES, read_run
    from arpo_entropy_recorder.report.transcript import UnknownTokenError

    if args.simulate and args.paths:
        raise UserError("give step files or --simulate, not both")
    if not args.simulate and not args.paths:
        raise UserError("give step files, or --simulate for made-up ones")
    count = TRAJECTORIES if args.trajectories is None else args.trajectories
    if args.simulate:
        yield read_run(SIMULATED, simulate_steps(), None, count)
        return
    runs = _runs(args)
    dumps = _dumps(args, runs)
    for run in runs:
        selection = selection_of(args, run)
        # First, since loading a tokenizer takes seconds.
        transcriber = _transcriber(args.model, run) if count or dumps else None
        join = _join(dumps.get(run.name), transcriber)
        try:
            yield read_run(
                run.name, chosen_steps(args, run, selection), None if args.no_text else transcriber, count,
                selection, run.vocab_size, join,
            )  # fmt: skip
        except UnknownTokenError as error:
            raise UserError(f"--model: {error}") from error


def _runs(args: argparse.Namespace) -> list[RunFiles]:
    """The runs that the arguments name: one, or several that are directories or have names."""
    from arpo_entropy_recorder.commands.reading import a_run, refuse_one_name, the_run
    from arpo_entropy_recorder.step_files.runs import named

    if len(args.paths) == 1 or not all(named(word)[0] or Path(word).is_dir() for word in args.paths):
        return [the_run(args)]
    runs = [a_run(word, args) for word in args.paths]
    refuse_one_name([run.name for run in runs])
    return runs


def _dumps(args: argparse.Namespace, runs: list[RunFiles]) -> dict[str, Path]:
    """The directory of each run's dump, by the run's name."""
    from arpo_entropy_recorder.step_files.runs import named

    if args.rollout_dir and not args.model:
        raise UserError("--rollout-dir needs the run's tokenizer to compare tokens; give --model PATH")
    found: dict[str, Path] = {}
    for word in args.rollout_dir:
        name, paths = named(word)
        if name is None and len(runs) == 1:
            name = runs[0].name
        if name not in [run.name for run in runs] or len(paths) != 1:
            names = ", ".join(printable(run.name) for run in runs)
            raise UserError(f"--rollout-dir {printable(word)}: write NAME=DIR, NAME one of {names}")
        found[str(name)] = Path(paths[0])
    return found


def _join(directory: Path | None, transcriber: Transcriber | None) -> Join | None:
    from arpo_entropy_recorder.report.join import Join

    if directory is None or transcriber is None:
        return None
    with naming("--rollout-dir"):
        return Join(directory, transcriber.tokenizer)


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

    if model == TOY:
        return Transcriber(_toy_tokenizer())
    if model:
        require("--model", "transformers")
        with naming("--model"):
            return Transcriber(_tokenizer(model))
    if (rescored_with := _rescored_with(run)) is None:
        return None
    try:
        return Transcriber(_tokenizer(rescored_with))
    except UserError as error:
        say(f"without trajectories: {error}")
        return None


@cache
def _tokenizer(model: str) -> Any:
    """Loaded once: runs may share it, and the page that is served is made again with each step. Raises UserError."""
    from arpo_entropy_recorder.rescore.tokenizer import load_tokenizer

    return load_tokenizer(model)


@cache
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
