"""The command `arpo-entropy`: each sub-command is a module in `commands/`, imported when it is called."""

from __future__ import annotations

import argparse
import difflib
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from arpo_entropy_recorder import __version__
from arpo_entropy_recorder.errors import UserError, printable

# A command module has a docstring (the text of its --help), `configure(parser)` and `run(args) -> int`.
COMMANDS = {
    "serve": "run vllm serve and record the agents that talk to it (experimental)",
    "record": "run a model with tools under vLLM and record its entropies",
    "rescore": "get the entropies of a run that recorded none from the trajectories it dumped",
    "import": "turn entropies that another trainer recorded into step files",
    "plot": "draw the entropy-increase figure, and others, from step files or a log",
    "stats": "print the numbers behind the figures, and whether tool results raise the entropy",
    "compare": "compare runs: each one's answer, and how their ratios differ",
    "report": "write one HTML page: the answer, figures, numbers and trajectories to read",
    "watch": "redraw figure and table as step files appear",
    "check": "look whether a running verl job records",
    "export": "write all records as one Parquet or CSV file",
}
EXAMPLE = """\
example:
  arpo-entropy record --model PATH --prompts prompts.jsonl -o entropies
  arpo-entropy stats entropies
  arpo-entropy plot entropies -o entropy_increase.png

Options may be spelt with dashes or underscores: --skip-bad is --skip_bad.
'arpo-entropy COMMAND --help' explains a command.
"""


# Options by names that they had before; the help does not list these.
FORMER_NAMES = {"--out": "--output"}


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line that guess what was meant, and with --like_this taken for --like-this."""

    def __init__(self, **settings: Any) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(**{"formatter_class": formatter, "allow_abbrev": False, **settings})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        args = sys.argv[1:] if args is None else args
        return super().parse_known_args([self._spelt(word) for word in args], namespace)

    def _spelt(self, word: str) -> str:
        name, equals, value = word.partition("=")
        if not name.startswith("--"):
            return word
        dashed = name.replace("_", "-")
        option = FORMER_NAMES.get(dashed, dashed)
        return f"{option}{equals}{value}" if option in self._option_string_actions else word

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            if close := difflib.get_close_matches(str(value), map(str, action.choices or ()), n=1):
                error.message += f"; did you mean {close[0]}?"
            raise

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (try: {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `arpo-entropy` with the words `argv`; returns the exit status, 2 for what a user can put right."""
    words = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    _prepare_streams()
    try:
        args = _parse(words)
        status = args.run(args)
        sys.stdout.flush()
        return status
    except UserError as error:
        return _refused(str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _drop_output()  # the reader (`| head`) has gone
        return 1
    except OSError as error:  # a name too long, a directory that may not be entered, a full disk
        _drop_output()
        reason = str(error.strerror or error).partition("\n")[0]
        return _refused(
            f"{error.filename or 'standard output'}: {reason}; check the path, or make room there"
        )


def _prepare_streams() -> None:
    """Escape characters that a stream cannot encode, and discard output where the caller closed it (`>&-`)."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # print(file=None) would write to stdout
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _refused(line: str) -> int:
    print(f"arpo-entropy: error: {printable(line)}", file=sys.stderr)
    return 2


def _drop_output() -> None:
    """Discard what is still buffered, or Python complains about it once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse(words: list[str]) -> argparse.Namespace:
    about = "Entropies of tool-calling policies: record, plot, summarise."
    parser = Parser(prog="arpo-entropy", description=about, epilog=EXAMPLE)
    parser.add_argument("--version", action="version", version=f"arpo-entropy {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    chosen = parser
    for name, summary in COMMANDS.items():
        if words[:1] == [name]:
            module = import_module(f".commands.{name}", __package__)
            subparser = subparsers.add_parser(name, help=summary, description=module.__doc__)
            module.configure(subparser)
            subparser.set_defaults(run=module.run)
            chosen = subparser
        else:
            subparsers.add_parser(name, help=summary, add_help=False)
    args, unknown = parser.parse_known_args(words)
    if unknown and getattr(args, "passes_on", False):
        # `serve` hands them to vLLM. Behind one of them MODEL may be its value.
        if words.index(unknown[0]) < words.index(args.model):
            chosen.error("MODEL comes first, before vllm serve's options")
        args.rest, unknown = unknown, []
    if unknown:
        chosen.error(f"unrecognized arguments: {' '.join(unknown)}")
    return args
