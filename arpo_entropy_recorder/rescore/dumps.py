"""The trajectories that verl dumps: `<step>.jsonl`, one JSON object per line with `input`, `output`, `step`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from arpo_entropy_recorder.errors import UserError, printable, shorten
from arpo_entropy_recorder.step_files.find import read_bytes
from arpo_entropy_recorder.step_files.names import StepKey, parse_name

# Keys of a line, in order of preference; token ids are exact where text has to be tokenized again.
PROMPT_IDS = ("prompt_token_ids", "input_ids", "prompt_ids")
RESPONSE_IDS = ("response_token_ids", "output_ids", "response_ids")
PROMPT_TEXT, RESPONSE_TEXT = ("input", "prompt"), ("output", "response")


@dataclass(frozen=True)
class Line:
    """One trajectory of a dump: prompt and response as text, or both as token ids. `where` names file and line."""

    where: str
    prompt: str | list[int]
    response: str | list[int]

    @property
    def largest_id(self) -> int:
        """The largest token id; -1 for a line of text."""
        if isinstance(self.prompt, str) or isinstance(self.response, str):
            return -1
        return max([*self.prompt, *self.response], default=-1)


@dataclass(frozen=True)
class Dump:
    """One step's trajectories, in the order of the file; `digest` tells one content from another."""

    file: Path
    global_step: int
    lines: list[Line]
    digest: str


def find_dumps(directory: Path) -> list[Path]:
    """The `.jsonl` files in `directory`, by the number in their names, or the file that it is. Raises UserError."""
    if directory.is_file():
        return [directory]
    if not directory.is_dir():
        what = "neither a file nor a directory" if directory.exists() else "no such file or directory"
        raise UserError(f"{printable(directory)}: {what}; give what trainer.rollout_data_dir named")
    files = sorted(directory.glob("*.jsonl"), key=lambda file: (_number(file) or 0, file.name))
    if not files:
        raise UserError(f"{printable(directory)}: no .jsonl in it; give what trainer.rollout_data_dir named")
    return files


def read_dumps(file: Path, skip: Callable[[UserError], object] | None = None) -> list[Dump]:
    """The steps in a file, in order: by each line's `step`, else by the file's name.

    `skip` is called with the error of a line that cannot be used, which is then left out; without it the first
    such error is raised, as for a file without any line. Raises UserError for a file that cannot be read.
    """
    try:
        data = read_bytes(file)
    except FileNotFoundError:
        raise UserError(f"{printable(file)}: it is gone; list the directory again") from None
    steps: dict[int, list[Line]] = {}
    for number, text in enumerate(data.split(b"\n"), start=1):
        if not text.strip():
            continue
        try:
            step, line = _parse(text, f"{printable(file)}: line {number}", _number(file))
        except UserError as error:
            if skip is None:
                raise
            skip(error)
        else:
            steps.setdefault(step, []).append(line)
    if not steps and skip is None:
        raise UserError(f"{printable(file)}: the file is empty: no trajectory in it; leave it out")
    digest = hashlib.sha256(data).hexdigest()
    return [Dump(file, step, lines, digest) for step, lines in sorted(steps.items())]


def _parse(text: bytes, where: str, default_step: int | None) -> tuple[int, Line]:
    try:
        entry = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UserError(
            f"{where}: not JSON ({printable(error)}); verl dumps one JSON object per line: was this one cut short?"
        ) from None
    if not isinstance(entry, dict):
        raise UserError(f"{where}: not a JSON object; verl dumps one per line, with 'input' and 'output'")
    step = entry.get("step", default_step)
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise UserError(f"{where} 'step': not a step number; add it, or name the file <step>.jsonl")
    if parse_name(StepKey(step, validate=False).file_name) is None:
        raise UserError(
            f"{where}: step {shorten(str(step))} has more digits than a step file's name may have"
        )
    prompt_ids, response_ids = _first(entry, PROMPT_IDS), _first(entry, RESPONSE_IDS)
    if prompt_ids and response_ids:
        return step, Line(where, _ids(entry, prompt_ids, where), _ids(entry, response_ids, where))
    prompt, response = _first(entry, PROMPT_TEXT), _first(entry, RESPONSE_TEXT)
    if not (prompt and response):
        lacking = RESPONSE_TEXT[0] if prompt else PROMPT_TEXT[0]
        raise UserError(f"{where}: no key {lacking!r}; verl dumps 'input' and 'output'")
    return step, Line(where, _text(entry, prompt, where), _text(entry, response, where))


def _first(entry: dict[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if entry.get(name) is not None), None)


def _text(entry: dict[str, Any], name: str, where: str) -> str:
    if not isinstance(entry[name], str):
        raise UserError(f"{where} {name!r}: not a text; write it as a JSON string")
    return entry[name]


def _ids(entry: dict[str, Any], name: str, where: str) -> list[int]:
    ids = entry[name]
    if not isinstance(ids, list) or not all(type(i) is int and i >= 0 for i in ids):
        raise UserError(f"{where} {name!r}: not a list of token ids; write whole numbers from 0 on")
    return ids


def _number(file: Path) -> int | None:
    return int(file.stem) if file.stem.isascii() and file.stem.isdecimal() else None
