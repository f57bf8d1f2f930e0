"""Reads the run that a command names, and what its options choose of it."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from arpo_entropy_recorder.analysis.choices import FIRST
from arpo_entropy_recorder.analysis.selection import Selection
from arpo_entropy_recorder.commands.progress import say, watched_steps
from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.step_files.find import is_renamed, key_of
from arpo_entropy_recorder.step_files.runs import RunFiles, SeveralRunsError, find_one_run, find_run

if TYPE_CHECKING:
    from arpo_entropy_recorder.analysis.analysis import Analysis
    from arpo_entropy_recorder.step_files.read import Step


def the_run(args: argparse.Namespace) -> RunFiles:
    """The one run that the arguments name. Raises UserError, with the command for several where they are."""
    try:
        run = find_one_run(args.paths, validate=True if args.validation else None)
    except SeveralRunsError as error:
        words = " ".join(map(shlex.quote, error.words))
        raise UserError(
            f"{args.command} takes one run; compare several: arpo-entropy compare {printable(words)} (parts of one "
            "resumed run: NAME=DIR,DIR)"
        ) from error
    return announced(run)


def a_run(word: str, args: argparse.Namespace) -> RunFiles:
    """The run that a word names, among several."""
    try:
        return announced(find_run(word, validate=True if args.validation else None))
    except SeveralRunsError as error:
        raise UserError(
            f"{printable(word)}: files of several directories; name each run: "
            f"{printable(' '.join(map(shlex.quote, error.words)))}"
        ) from error


def refuse_one_name(names: Sequence[str]) -> None:
    """Raises UserError where two runs have the same name."""
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two runs are called {printable(name)}; give each its own name: NAME=DIR")


def announced(run: RunFiles) -> RunFiles:
    """The run; says on stderr which steps a later directory of it replaces."""
    if run.replaced:
        numbers = [key.global_step for key in run.replaced]
        which = f"steps {numbers[0]} to {numbers[-1]} are" if len(numbers) > 1 else f"step {numbers[0]} is"
        say(f"{run.name}: {which} in several of its directories; the last one given counts")
    return run


def selection_of(args: argparse.Namespace, run: RunFiles) -> Selection:
    """What the options choose of the run. Raises UserError."""
    steps = args.steps
    if args.last is not None:
        keys = [key for key in map(key_of, run.files) if not is_renamed(key)]
        numbers = {key.global_step for key in keys if key.validate == args.validation}
        if not numbers and keys:
            raise UserError("--last counts training steps, and only validations are there; add --validation")
        if not numbers:
            raise UserError("--last goes by the files' names, entropy_step_N.json; give --steps instead")
        steps = sorted(numbers)[-args.last :][0], max(numbers)
    return Selection(steps, args.tool, None, args.validation, args.over or FIRST)


def chosen_steps(args: argparse.Namespace, run: RunFiles, selection: Selection) -> Iterator[Step]:
    """The steps of the run that may be chosen, with a bar. A later step can be spared, an earlier one cannot: it
    tells what is stale."""
    last = selection.steps[1] if selection.steps else None
    return watched_steps(run if last is None else run.up_to(last), args.skip_bad)


def analyse_run(args: argparse.Namespace, run: RunFiles, parts: Collection[str]) -> Analysis:
    """What the run holds, of what the options choose."""
    from arpo_entropy_recorder.analysis.analysis import analyse

    selection = selection_of(args, run)
    return analyse(chosen_steps(args, run, selection), parts, selection, run.vocab_size)
