"""The recorder's metrics in a training run's log: the console's (`tee run.log`), or a table of a logger's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.breakdown import Curve
from arpo_entropy_recorder.analysis.log_lines import read_text, step_texts
from arpo_entropy_recorder.analysis.log_tables import table_rows
from arpo_entropy_recorder.analysis.statistics import ANY_ROUND, START
from arpo_entropy_recorder.errors import UserError

METRIC = re.compile(
    r"(?:^| - )(entropy/[\w./]+):(?:np\.float\d+\()?([-+]?(?:[\d.]+(?:[eE][-+]?\d+)?|nan|inf))"
)
ROUND = re.compile(r"entropy/round_(\d{1,9})/mean")
MEAN = re.compile(r"entropy/(?:round_\d{1,9}|initial|after_tool)/mean")
AFTER = "entropy/after_tool/mean"
THREE_DECIMALS = re.compile(r"\d+\.\d{3}")

Metrics = dict[int, dict[str, float]]


def read_rows(path: str | Path) -> tuple[Metrics, bool, Counter[str]]:
    """The recorder's metrics by global step, in order; if they are rounded; and what is left out, counted by reason.

    Rounded is a log whose means all have three decimals, as verl's console logger writes them.
    Where the log goes back, a run was resumed: the old run's steps from there on are dropped. A table that has each
    step once is sorted.
    Raises UserError for a log that cannot be read or holds none of them.
    """
    text = read_text(path)
    rows: Iterable[tuple[int, dict[str, str]]] | None = table_rows(text, path)
    is_table = rows is not None
    if rows is None:
        rows = ((step, dict(METRIC.findall(rest))) for step, rest in step_texts(text, path))
    logged: list[tuple[int, dict[str, float]]] = []
    left_out: Counter[str] = Counter()
    step_lines, is_rounded = 0, True
    for step, metrics in rows:
        step_lines += 1
        numbers = {name: float(value) for name, value in metrics.items() if _is_number(value)}
        left_out["non-numeric values"] += sum(map(bool, metrics.values())) - len(numbers)
        if not numbers:
            continue
        is_rounded &= all(
            THREE_DECIMALS.fullmatch(metrics[name]) is not None for name in numbers if MEAN.fullmatch(name)
        )
        logged.append((step, numbers))
    if is_table and len({step for step, _ in logged}) == len(logged):
        logged.sort(key=lambda row: row[0])
    found: Metrics = {}
    for step, numbers in logged:
        while found and next(reversed(found)) >= step:
            found.popitem()
        found[step] = numbers
    left_out["replaced rows"] = len(logged) - len(found)
    if not found:
        seen = f"step lines: {step_lines:,}" if step_lines else "it has no 'step:N - ...' lines"
        raise UserError(
            f"{path}: no entropy/... metrics ({seen}); they are there when the run recorded: record while "
            "training, or plot its step files"
        )
    return found, is_rounded, +left_out


def analyse_log(path: str | Path) -> Analysis:
    """What figures can show of a log; raises UserError where it has nothing after a tool call, or no entropies.

    A log without means by round, as a table of few columns, has the mean over all rounds instead.
    """
    log, is_rounded, left_out = read_rows(path)
    for step, metrics in log.items():
        for name, value in metrics.items():
            if MEAN.fullmatch(name) and not 0 <= value <= 1:
                raise UserError(
                    f"{path}: step {step}: {name} is {value:g}, but a normalised entropy is from 0 to 1; divide "
                    "nats by ln(vocabulary size)"
                )
    curves = curves_of(log)
    if not any(number != START for number in curves):
        points = [(step, metrics[AFTER]) for step, metrics in log.items() if AFTER in metrics]
        if not points:
            raise UserError(f"{path}: its metrics have no entropy/round_N/mean: no tool was called")
        all_steps, means = np.array(points, float).T
        curves[ANY_ROUND] = Curve(all_steps, means)
    analysis = Analysis((), from_log=True, is_rounded=is_rounded, left_out=left_out)
    analysis.rounds.steps = set(log)
    analysis.steps.curves = curves
    return analysis


def curves_of(log: dict[int, dict[str, float]]) -> dict[int, Curve]:
    """Each round's mean over the steps, round 0 before any tool call; a log tells no intervals."""
    points: dict[int, list[tuple[int, float]]] = {}
    for step, metrics in log.items():
        for name, value in metrics.items():
            match = ROUND.fullmatch(name)
            if match or name == "entropy/initial/mean":
                points.setdefault(int(match[1]) if match else START, []).append((step, value))
    curves = {}
    for number, rows in sorted(points.items()):
        steps, means = np.array(rows, float).T
        curves[number] = Curve(steps, means)
    return curves


def _is_number(text: str) -> bool:
    try:
        return np.isfinite(float(text))
    except ValueError:
        return False
