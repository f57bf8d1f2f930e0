"""The recorder's metrics in a training run's console log (`tee run.log`), and their figure."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from arpo_entropy_recorder.analysis.breakdown import Curve
from arpo_entropy_recorder.analysis.statistics import START
from arpo_entropy_recorder.figures.about import About
from arpo_entropy_recorder.figures.training import plot_heatmap, plot_steps
from arpo_entropy_recorder.figures.words import ENGLISH, Words
from arpo_entropy_recorder.schema import UserError

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# verl's console logger writes `step:12 - actor/entropy_loss:0.312 - ...`; Ray puts `(TaskRunner pid=123) ` before it.
STEP_LINE = re.compile(r"(?:^|\s)step:(\d{1,18}) - (.*)")
METRIC = re.compile(r"(?:^| - )(entropy/[\w./]+):(?:np\.float\d+\()?([-+]?[\d.]+(?:[eE][-+]?\d+)?)")
ROUND = re.compile(r"entropy/round_(\d{1,9})/mean")


def read_log(path: str | Path) -> dict[int, dict[str, float]]:
    """The recorder's metrics by global step; of a step that is logged twice, as after a resume, the last.

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
                    found[int(match[1])] = metrics
    except OSError as error:
        raise UserError(
            f"--log_file {path}: cannot be read: {error.strerror}; give a training run's log"
        ) from error
    if not found:
        lines_seen = (
            f"its {step_lines:,} step lines have" if step_lines else "it has no 'step:N - ...' lines, so"
        )
        raise UserError(
            f"--log_file {path}: {lines_seen} no entropy/... metrics; they are there when the run recorded: record "
            "while training, or plot its step files with --entropy_file"
        )
    return dict(sorted(found.items()))


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
        curves[number] = Curve(steps, means, np.full_like(means, np.nan), np.full_like(means, np.nan))
    return curves


def draw_log(path: str | Path, figure_name: str, words: Words = ENGLISH) -> tuple[Figure, str]:
    """The figure "steps" or "heatmap" of a log, and a line that sums it up; raises UserError."""
    if figure_name not in ("steps", "heatmap"):
        raise UserError(
            f"--log_file: a log holds means alone, not records; give --figure steps, not {figure_name}"
        )
    log = read_log(path)
    curves = curves_of(log)
    if not any(number != START for number in curves):
        raise UserError(f"--log_file {path}: its metrics have no entropy/round_N/mean: no tool was called")
    about = About(list(log), words=words)
    if figure_name == "heatmap":
        figure = plot_heatmap(curves, about)
    else:
        figure = plot_steps(
            curves, about, words("From the console log, which tells no spread within a round.")
        )
    return figure, f"{len(log):,} steps from the log, {len(curves.keys() - {START})} rounds"


def _is_number(text: str) -> bool:
    try:
        return np.isfinite(float(text))
    except ValueError:
        return False
