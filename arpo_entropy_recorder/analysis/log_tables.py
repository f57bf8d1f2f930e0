"""Metrics that a trainer's logger left in a table: verl's `file` logger, and CSV exports of wandb and TensorBoard."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from arpo_entropy_recorder.errors import UserError, shorten
from arpo_entropy_recorder.step_files.json_text import parse_json

PREFIX = "entropy/"
# wandb names the column of a run's metric `run - metric`, with further ones for the least and largest value.
COLUMN = re.compile(r"(?:(?P<run>.*) - )?(?P<metric>entropy/[\w./]+)(?<!__MIN)(?<!__MAX)")
STEP_COLUMNS = ("training/global_step", "trainer/global_step", "global_step", "step", "_step", "Step")
# TensorBoard's export has one metric, which the file's name may tell: `run-.-tag-entropy_round_1_mean.csv`.
TAG = re.compile(r"entropy[_/](after_tool|initial|round_\d+)[_/](mean)")

MAX_STEP = 10**18

Rows = Iterator[tuple[int, dict[str, str]]]


def table_rows(text: str, path: str | Path) -> Rows | None:
    """Each row's step and metrics, as they are written; None if the text is no table of these. Raises UserError."""
    first = text.lstrip().split("\n", 1)[0].strip()
    if first.startswith("{") and _logged(first) is not None:
        return _file_logger(text, path)
    try:
        columns = next(csv.reader([first]), [])
    except csv.Error:
        return None
    if {"Wall time", "Step", "Value"} <= set(columns):
        return _tensorboard(text, path)
    if set(columns) & set(STEP_COLUMNS) and len(columns) > 1:
        return _wandb(text, columns, path)
    return None


def _logged(line: str) -> tuple[int, dict[str, str]] | None:
    """Step and metrics of a line of verl's FileLogger: `{"step": 1, "data": {...}}`; None for another."""
    try:
        entry = parse_json(line.encode("utf-8", "replace"))
    except ValueError:
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("data"), dict):
        return None
    if type(entry.get("step")) is not int or not 0 <= entry["step"] < MAX_STEP:
        return None
    metrics = {name: repr(v) if isinstance(v, float) else str(v) for name, v in entry["data"].items()}
    return entry["step"], {name: value for name, value in metrics.items() if name.startswith(PREFIX)}


def _file_logger(text: str, path: str | Path) -> Rows:
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            found = _logged(line)
            if found is None:
                if number == len(lines):  # being written
                    return
                raise UserError(
                    f"{path}: line {number}: not a line of the file logger, with step and data; leave it out"
                )
            yield found


def _wandb(text: str, columns: list[str], path: str | Path) -> Rows:
    matches = {column: COLUMN.fullmatch(column) for column in columns}
    metrics = {column: match["metric"] for column, match in matches.items() if match}
    runs = {column.removesuffix(metric) for column, metric in metrics.items()}
    if len(runs) > 1:
        names = ", ".join(shorten(run.removesuffix(" - ")) for run in sorted(runs))
        raise UserError(f"{path}: metrics of several runs: {names}; export one run")
    step = next(name for name in STEP_COLUMNS if name in columns)
    for number, row in _dict_rows(text, path):
        found = {metric: row[column] or "" for column, metric in metrics.items()}
        if number_of_step := row[step]:
            yield _step(number_of_step, f"{path}: line {number}"), found


def _tensorboard(text: str, path: str | Path) -> Rows:
    tag = TAG.search(Path(path).name)
    if tag is None:
        raise UserError(
            f"{path}: TensorBoard's CSV has one metric and does not name it; name the file after it, as "
            "entropy_round_1_mean.csv"
        )
    metric = f"{PREFIX}{tag[1]}/{tag[2]}"
    for number, row in _dict_rows(text, path):
        yield _step(row["Step"] or "", f"{path}: line {number}"), {metric: row["Value"] or ""}


def _dict_rows(text: str, path: str | Path) -> Iterator[tuple[int, dict[str, str | None]]]:
    try:
        yield from enumerate(csv.DictReader(io.StringIO(text.lstrip())), start=2)
    except csv.Error as error:
        raise UserError(f"{path}: not a CSV table ({error}); export it again") from error


def _step(text: str, where: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value.is_integer() or not 0 <= value < MAX_STEP:
        raise UserError(f"{where}: {shorten(text)!r} is not a step; correct it")
    return int(value)
