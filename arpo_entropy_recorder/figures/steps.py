"""Over training: a line for each round."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.breakdown import Curve
from arpo_entropy_recorder.analysis.statistics import ANY_ROUND, START
from arpo_entropy_recorder.figures.about import finish, log_note
from arpo_entropy_recorder.figures.marks import entropy_axis, interval_words, whole_ticks
from arpo_entropy_recorder.figures.style import INITIAL, add_legend, new_figure, styled
from arpo_entropy_recorder.figures.words import Words

NAMED_ROUNDS = 6  # of more, a scale of colours takes the place of names, and bands would hide the lines
# Above so many steps a line is a running mean over a fiftieth of them, with the steps' own means faintly under it.
UNSMOOTHED_STEPS = 150
WINDOWS = 50
MARKED_STEPS = 30
# Navy to teal: ordered in grey too, and far from round 0's orange, also for the colour-blind
SEQUENCE = ListedColormap(colormaps["YlGnBu_r"](np.linspace(0, 0.58, 256)))


def plot(analysis: Analysis, words: Words) -> Figure:
    """Draw each round's mean entropy over the global steps, round 0 dashed; in a long run also its running mean."""
    curves, steps = analysis.steps.curves, analysis.steps.numbers
    rounds = [number for number in curves if number != START]
    few, width = len(rounds) <= NAMED_ROUNDS, 1
    if len(steps) > UNSMOOTHED_STEPS:
        width = len(steps) // WINDOWS
    with styled(words):
        figure = new_figure()
        axes = figure.add_subplot()
        colours = SEQUENCE(np.linspace(0, 1, len(rounds)))
        named = []
        for number, colour in zip(rounds, colours, strict=True):
            line = _line(axes, curves[number], width, few, color=colour, ls="-")
            every = words("after a tool result")
            line.set_label(every if number == ANY_ROUND else words("round {number}", number=number))
            named += [line] if few else []
        if START in curves:
            line = _line(axes, curves[START], width, few, color=INITIAL, ls=(0, (4, 2)))
            line.set_label(words("before any tool call"))
            named.append(line)
        dashed = entropy_axis(axes, words)
        margin = max((steps[-1] - steps[0]) * 0.03, 0.5)
        axes.set_xlim(steps[0] - margin, steps[-1] + margin)
        axes.set_xticks(whole_ticks(int(steps[0]), int(steps[-1])))
        axes.set_xlabel(words("Global step"))
        if not few:
            norm = BoundaryNorm(np.arange(len(rounds) + 1) - 0.5, len(rounds))
            scale = figure.colorbar(ScalarMappable(norm, ListedColormap(colours)), ax=axes, pad=0.03)
            ticks = range(0, len(rounds), -(-len(rounds) // 15))
            scale.set_ticks(list(ticks), labels=[str(rounds[at]) for at in ticks], minor=False)
            scale.ax.minorticks_off()
            scale.set_label(words("Tool-call round"))
        if named:
            add_legend(axes, named)
        detailed = few and width == 1
        bands = detailed and any(np.isfinite(curve.interval[0]).any() for curve in curves.values())
        points = detailed and any(len(curve.records) for curve in curves.values())
        lines = words("Lines: mean of each round's records at each step.")
        if width > 1:
            lines = words(
                "Lines: running means over {width} steps; faint lines: mean of each round's records at each step.",
                width=width,
            )
        caption = [
            lines,
            words("Small points: the records, where a step has fewer than 5.") if points else "",
            interval_words(words, words("Band")) if bands else "",
            log_note(analysis, words),
            dashed,
        ]
        return finish(axes, analysis, words, words("Entropy after tool results over training"), caption)


def _line(axes: Axes, curve: Curve, width: int, detailed: bool, **look: Any) -> Line2D:
    """Draw a curve; if `detailed` with its band and its few records.

    If `width` is above 1, draw its running mean over as many steps, and the curve itself faintly.
    """
    under: Any = {"color": look["color"], "zorder": 2}
    steps, mean = curve.steps, curve.mean
    if width > 1:
        axes.plot(steps, mean, lw=0.5, alpha=0.4, gid="raw", **under)
        kernel = np.full(min(width, len(steps)), 1 / min(width, len(steps)))
        steps, mean = (np.convolve(values, kernel, "valid") for values in (steps, mean))
    elif detailed:
        axes.fill_between(steps, *curve.interval, alpha=0.18, lw=0, **under)
        axes.plot(*curve.records.T, ls="", marker="o", ms=3, alpha=0.45, gid="records", **under)
    marker = "o" if len(steps) <= MARKED_STEPS else ""
    (line,) = axes.plot(steps, mean, **look, lw=1.6, marker=marker, ms=4, gid="curve", zorder=3)
    return line
