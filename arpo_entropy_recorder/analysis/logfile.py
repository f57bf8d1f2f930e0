"""The recorder's metrics in a training run's console log (`tee run.log`)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.breakdown import Curve
from arpo_entropy_recorder.analysis.statistics import START
from arpo_entropy_recorder.errors import UserError

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# verl's console logger writes `step:12 - actor/entropy_loss:0.312 - ...`; Ray puts `(TaskRunner pid=123) ` before it.
STEP_LINE = re.compile(r"(?:^|\s)step:(\d{1,18}) - (.*)")
METRIC = re.compile(r"(?:^| - )(entropy/[\w./]+):(?:np\.float\d+\()?([-+]?[\d.]+(?:[eE][-+]?\d+)?)")
ROUND = re.compile(r"entropy/round_(\d{1,9})/mean")


def read_log(path: str | Path) -> dict[int, dict[str, float]]:
    """The recorder's metrics by global step; of a step that is logged twice the last.

    Where the log goes back to an earlier step, a run was resumed: the old run's steps from there on are dropped.
    Raises UserError for a log that cannot be read or holds none of them.
    """
    found: dict[int, dict[str, float]] = {}
    step_lines = 0
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                match = STEP_LINE.search(ANSI.sub("", line.rstrip("\r\n")))
                if match is None:
                    continue
                step_lines += 1
                metrics = {
                    name: float(value) for name, value in METRIC.findall(match[2]) if _is_number(value)
                }
                if metrics:
                    step = int(match[1])
                    while found and next(reversed(found)) > step:
                        found.popitem()
                    found[step] = metrics
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; give a training run's log") from error
    if not found:
        seen = f"step lines: {step_lines:,}" if step_lines else "it has no 'step:N - ...' lines"
        raise UserError(
            f"{path}: no entropy/... metrics ({seen}); they are there when the run recorded: record while "
            "training, or plot its step files"
        )
    return found


def analyse_log(path: str | Path) -> Analysis:
    """What figures can show of a log; raises UserError where it has nothing after a tool call."""
    log = read_log(path)
    curves = curves_of(log)
    if not any(number != START for number in curves):
        raise UserError(f"{path}: its metrics have no entropy/round_N/mean: no tool was called")
    analysis = Analysis((), from_log=True)
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
