"""prime-rl's token exports (`enable_token_export`): entropies of the trainer's forward pass, token by token.

`token_exports/step_<n>/rank_<r>.jsonl` has a sequence a line, and `STABLE` stands beside the files of a finished
step. `entropy[i]`, in nats, is that of the distribution that `token_ids[i]` was drawn from, over the model's whole
vocabulary and after temperature; `loss_mask[i]` is true for a token that the policy wrote. Source:
PrimeIntellect-ai/prime-rl 004274e, src/prime_rl/trainer/rl/token_export.py, and train.py for the shift by one token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.rescore.masks import owned_runs
from arpo_entropy_recorder.step_files.find import read_bytes
from arpo_entropy_recorder.step_files.json_text import json_lines, parse_json
from arpo_entropy_recorder.step_files.schema import MAX_INT

FOLDER, STABLE = "token_exports", "STABLE"
STEP = re.compile(r"step_(\d{1,18})")
SCHEMA_VERSION = 1


class Sequence(NamedTuple):
    """A trajectory: token ids, entropies in nats (float64, NaN for null), [start, end) of what the policy wrote."""

    where: str
    tokens: list[int]
    nats: np.ndarray
    segments: list[tuple[int, int]]


def find_steps(path: Path, say: Callable[[str], object]) -> dict[int, list[Path]]:
    """The files of each finished step below `path`: a run's directory, `token_exports` or a step's.

    `say` is called with a line for the steps that are still being written. Raises UserError.
    """
    root = path / FOLDER if (path / FOLDER).is_dir() else path
    directories = [root] if STEP.fullmatch(root.name) else sorted(root.glob("step_*"))
    steps, unfinished = {}, []
    for directory in directories:
        match, files = STEP.fullmatch(directory.name), sorted(directory.glob("rank_*.jsonl"))
        if match and files and not (directory / STABLE).exists():
            unfinished.append(directory.name)
        elif match and files:
            steps[int(match[1])] = files
    if unfinished:
        say(
            f"left out, without {STABLE}, as it is still being written: {', '.join(map(printable, unfinished))}"
        )
    if not steps:
        raise UserError(
            f"{printable(path)}: no finished step_<n>/rank_<r>.jsonl there; give prime-rl's {FOLDER}"
        )
    return dict(sorted(steps.items()))


def read_sequences(file: Path) -> Iterator[Sequence]:
    """The sequences of a file. Raises UserError naming file, line and key."""
    for number, line in json_lines(read_bytes(file)):
        yield _sequence(line, f"{printable(file)}: line {number}")


def _sequence(line: bytes, where: str) -> Sequence:
    try:
        entry = parse_json(line)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({printable(error)}); export the step again") from None
    if not isinstance(entry, dict) or entry.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"{where}: not a sequence of schema_version {SCHEMA_VERSION}; this is no export that is known"
        )
    tokens, nats, owned = (entry.get(key) for key in ("token_ids", "entropy", "loss_mask"))
    _check(where, "token_ids", tokens, lambda value: type(value) is int and 0 <= value <= MAX_INT)
    _check(
        where,
        "entropy",
        nats,
        lambda value: value is None or (type(value) in (int, float) and 0 <= value <= MAX_INT),
    )
    _check(where, "loss_mask", owned, lambda value: type(value) is bool)
    assert isinstance(tokens, list)
    assert isinstance(nats, list)
    assert isinstance(owned, list)
    if not len(tokens) == len(nats) == len(owned):
        raise UserError(
            f"{where}: token_ids, entropy and loss_mask are not of one length; export the step again"
        )
    segments = owned_runs(owned)
    if not segments or not segments[0][0]:
        what = "begins with a token that the policy wrote" if segments else "has no token of the policy"
        raise UserError(f"{where} 'loss_mask': the sequence {what}, so that there is no prompt; leave it out")
    return Sequence(where, tokens, np.array(nats, np.float64), segments)


def _check(where: str, key: str, values: Any, accepts: Callable[[Any], bool]) -> None:
    if not isinstance(values, list) or not all(map(accepts, values)):
        raise UserError(
            f"{where} {key!r}: missing, or with a value that it may not have; export the step again"
        )
