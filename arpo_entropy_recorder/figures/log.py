"""The figures that a training run's console log is enough for."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.logfile import curves_of, read_log
from arpo_entropy_recorder.analysis.statistics import START
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.about import About
from arpo_entropy_recorder.figures.training import plot_heatmap, plot_steps
from arpo_entropy_recorder.figures.words import ENGLISH, Words, counted

FIGURES = {"steps": plot_steps, "heatmap": plot_heatmap}


def draw_log(path: str | Path, figure_name: str, words: Words = ENGLISH) -> tuple[Figure, str]:
    """The figure "steps" or "heatmap" of a log, and a line that sums it up; raises UserError."""
    if figure_name not in FIGURES:
        raise UserError(
            f"--log_file: a log holds means alone, not records; give --figure steps, not {figure_name}"
        )
    log = read_log(path)
    curves = curves_of(log)
    if not any(number != START for number in curves):
        raise UserError(f"--log_file {path}: its metrics have no entropy/round_N/mean: no tool was called")
    # The trainer takes the metrics of a batch from the first worker's part of it.
    source = words(
        "From a console log: means of the first data-parallel worker's records alone, without their spread."
    )
    analysis = Analysis(())
    analysis.rounds.steps = set(log)
    figure = FIGURES[figure_name](curves, About(analysis, words), source)
    rounds = len(curves.keys() - {START})
    return figure, f"{counted(len(log), 'step')} from the log, {counted(rounds, 'round')}"
