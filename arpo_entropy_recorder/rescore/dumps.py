"""The trajectories that a trainer dumped: verl's `<step>.jsonl`, other names and keys, JSON lists."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arpo_entropy_recorder.errors import UserError, printable, shorten
from arpo_entropy_recorder.rescore.keys import step_of
from arpo_entropy_recorder.rescore.line import Line
from arpo_entropy_recorder.rescore.lines import lines_of, parse_entry
from arpo_entropy_recorder.rescore.packed import is_torch_file, samples_of, unpacked
from arpo_entropy_recorder.rescore.readings import Entry, Reading
from arpo_entropy_recorder.rescore.skipping import Skip, usable
from arpo_entropy_recorder.step_files.find import read_bytes
from arpo_entropy_recorder.step_files.json_text import json_lines, parse_json
from arpo_entropy_recorder.step_files.names import SIDE_FILES, StepKey, parse_name

MANIFEST = "rescore.json"
NUMBER = re.compile(r"(?<!\d)(\d{1,18})(?!\d)", re.ASCII)
# The first kind that a directory has is read.
KINDS = ((".jsonl", ".jsonl.gz"), (".json", ".json.gz"), (".pt",))


@dataclass(frozen=True)
class Dump:
    """One step's trajectories, in the order of the file; `digest` tells one content from another.

    `readings` counts its lines by the way in which their keys were understood, `keys` are those that all lines have.
    """

    file: Path
    global_step: int
    lines: list[Line]
    digest: str
    readings: Mapping[Reading, int] = field(default_factory=dict)
    keys: frozenset[str] = frozenset()
    validate: bool = False


def find_dumps(directory: Path) -> list[Path]:
    """The `.jsonl` files in `directory`, without any the `.json` ones, else the `.pt` ones; gzipped ones, too.

    They are in the order of the numbers in their names. A file stands for itself. Raises UserError.
    """
    if directory.is_file():
        return [directory]
    if not directory.is_dir():
        what = "neither a file nor a directory" if directory.exists() else "no such file or directory"
        raise UserError(f"{printable(directory)}: {what}; give what trainer.rollout_data_dir named")
    files: list[Path] = []
    for endings in KINDS:
        files = files or [
            file
            for ending in endings
            for file in directory.glob(f"*{ending}")
            if file.name not in (MANIFEST, *SIDE_FILES) and parse_name(file.name) is None
        ]
    if not files:
        raise UserError(f"{printable(directory)}: no .jsonl in it; give what trainer.rollout_data_dir named")
    return sorted(files, key=lambda file: (number_in(file) or 0, file.name))


def read_dumps(file: Path, skip: Skip | None = None, keys: Mapping[str, str] | None = None) -> list[Dump]:
    """The steps in a file, in order: by each line's `step`, else by the file's name. `keys` are the user's.

    `skip` is called with the error of a line that cannot be used, which is then left out; without it the first
    such error is raised, as for a file without any line. Raises UserError for a file that cannot be read.
    """
    try:
        data = unpacked(read_bytes(file), printable(file))
    except FileNotFoundError:
        raise UserError(f"{printable(file)}: it is gone; list the directory again") from None
    texts = _texts(data, printable(file))
    # All of them before any is checked: what the keys are is judged for the whole file.
    entries = list(usable(texts, lambda found: _parse(*found, number_in(file), keys or {}), skip))
    steps: dict[int, list[tuple[Entry, Reading, Line]]] = {}
    for found in lines_of(entries, printable(file), skip):
        steps.setdefault(found[0].step, []).append(found)
    if not steps and skip is None:
        raise UserError(f"{printable(file)}: the file is empty: no trajectory in it; leave it out")
    digest = hashlib.sha256(data).hexdigest()
    return [_dump(file, step, of_step, digest) for step, of_step in sorted(steps.items())]


def _dump(file: Path, step: int, found: Sequence[tuple[Entry, Reading, Line]], digest: str) -> Dump:
    keys = frozenset.intersection(*(frozenset(entry.values) for entry, _, _ in found))
    return Dump(file, step, [line for _, _, line in found], digest, Counter(r for _, r, _ in found), keys)


def number_in(file: Path) -> int | None:
    """The one number in a file's name: 12 in `12.jsonl`, `rollout_12.jsonl`; None without or with several."""
    numbers = NUMBER.findall(file.stem)
    return int(numbers[0]) if len(numbers) == 1 else None


def _texts(data: bytes, file: str) -> Iterator[tuple[str, Any]]:
    """Where each entry stands, and its text, or its value in a file that is one list."""
    if is_torch_file(data):
        yield from ((f"{file}: sample {index}", entry) for index, entry in enumerate(samples_of(data, file)))
        return
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        try:
            entries = parse_json(data)
        except ValueError:
            entries = None
        if isinstance(entries, list):
            yield from ((f"{file}: entry {index}", entry) for index, entry in enumerate(entries))
            return
    for number, text in json_lines(data):
        yield f"{file}: line {number}", text


def _parse(where: str, text: Any, default_step: int | None, keys: Mapping[str, str]) -> Entry:
    try:
        entry = parse_json(text) if isinstance(text, bytes) else text
    except ValueError as error:
        raise UserError(
            f"{where}: not JSON ({printable(error)}); verl dumps one JSON object per line: was this one cut short?"
        ) from None
    if not isinstance(entry, dict):
        raise UserError(f"{where}: not a JSON object; verl dumps one per line, with 'input' and 'output'")
    step = step_of(entry, keys, default_step, where)
    if parse_name(StepKey(step, validate=False).file_name) is None:
        raise UserError(
            f"{where}: step {shorten(str(step))} has more digits than a step file's name may have"
        )
    return parse_entry(entry, keys, step, where)
