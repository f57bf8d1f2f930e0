"""Figures over the global step: a line for each round, and a heat map of step x round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from arpo_entropy_recorder.analysis.breakdown import Curve
from arpo_entropy_recorder.analysis.statistics import START
from arpo_entropy_recorder.figures.about import About
from arpo_entropy_recorder.figures.marks import (
    entropy_axis,
    interval_words,
    tick_spacing,
    whole_ticks,
)
from arpo_entropy_recorder.figures.style import INITIAL, INK, add_legend, figure_of, new_figure, styled

NAMED_ROUNDS = 6  # of more, a scale of colours takes the place of names, and bands would hide the lines
# Above so many steps a line is a running mean over a fiftieth of them, with the steps' own means faintly under it.
UNSMOOTHED_STEPS = 150
WINDOWS = 50
MARKED_STEPS = 30
MIN_COLOUR_RANGE = 0.01  # of the heat map's colours: what differs by less has nearly the same
# Navy to teal: ordered in grey too, and far from round 0's orange, also for the colour-blind
SEQUENCE = ListedColormap(colormaps["YlGnBu_r"](np.linspace(0, 0.58, 256)))


def plot_steps(curves: Mapping[int, Curve], about: About, source: str = "") -> Figure:
    """Draw each round's mean entropy over the global steps, round 0 dashed; in a long run, a running mean of it too.

    `source` is a sentence of the caption.
    """
    words, steps = about.words, _steps(curves)
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
            line.set_label(words("round {number}", number=number))
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
        bands = detailed and any(np.isfinite(curve.low).any() for curve in curves.values())
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
            source,
            dashed,
        ]
        return about.finish(axes, words("Entropy after tool results over training"), caption)


def plot_heatmap(curves: Mapping[int, Curve], about: About, source: str = "") -> Figure:
    """Draw the mean entropy as a heat map, steps from left to right and rounds from bottom to top.

    A dot marks a cell with too few records for an interval. `source` is a sentence of the caption.
    """
    words, steps, rounds = about.words, _steps(curves), sorted(curves)
    grid = np.full((len(rounds), len(steps)), np.nan)
    few = np.zeros(grid.shape, bool)
    for row, number in enumerate(rounds):
        grid[row, np.searchsorted(steps, curves[number].steps)] = curves[number].mean
        few[row, np.searchsorted(steps, np.unique(curves[number].records[:, 0]))] = True
    with styled(words):
        figure = new_figure(height=float(np.clip(2.4 + 0.3 * len(rounds), 3.6, 9.0)))
        axes = figure.add_subplot()
        low, high = np.nanmin(grid), np.nanmax(grid)
        if high - low < MIN_COLOUR_RANGE:
            low, high = low - MIN_COLOUR_RANGE / 2, high + MIN_COLOUR_RANGE / 2
        scale = MaxNLocator(8, steps=[1, 2, 5, 10]).tick_values(low, high)
        mesh = axes.pcolormesh(
            np.arange(len(steps) + 1),
            np.arange(len(rounds) + 1),
            grid,
            cmap="cividis",
            norm=Normalize(scale[0], scale[-1]),
            rasterized=True,
        )
        if few.any():
            _dots(axes, few)
        figure.colorbar(mesh, ax=axes, label=words("Mean normalised entropy"), pad=0.02, ticks=scale)
        every = tick_spacing(len(steps) - 1)
        columns = list(range(-steps[0] % every, len(steps), every))  # round numbers, where no step is missing
        if columns[0] >= every / 2:
            columns.insert(0, 0)
        axes.set_xticks([column + 0.5 for column in columns], [str(steps[column]) for column in columns])
        rows = range(0, len(rounds), -(-len(rounds) // 25))
        names = [words("0 (start)") if rounds[row] == START else str(rounds[row]) for row in rows]
        axes.set_yticks([row + 0.5 for row in rows], names)
        axes.set(xlabel=words("Global step"), ylabel=words("Tool-call round"))
        caption = [
            words("Colour: mean of each round's records at each step; white: no record."),
            words("Dot: fewer than 5 records.") if few.any() else "",
            words("0 (start): the trajectories' first records, before any tool call.")
            if START in curves
            else "",
            source,
        ]
        title = words("Entropy after tool results, by step and round")
        return about.finish(axes, title, caption, filled=True)


def _steps(curves: Mapping[int, Curve]) -> np.ndarray:
    return np.unique(np.concatenate([curve.steps for curve in curves.values()])).astype(int)


def _dots(axes: Axes, cells: np.ndarray) -> None:
    """A dot in the middle of each of the `cells`, bool[rounds, steps]; as small as the cells ask for."""
    row, column = np.nonzero(cells)
    inches = 0.7 * figure_of(axes).get_size_inches() / cells.shape[::-1]
    across = float(np.clip(0.35 * 72 * inches.min(), 1.0, 4.0))
    axes.scatter(
        column + 0.5, row + 0.5, s=across**2, c="white", edgecolors=INK, linewidths=0.15 * across, gid="few"
    )


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
        axes.fill_between(steps, curve.low, curve.high, alpha=0.18, lw=0, **under)
        axes.plot(*curve.records.T, ls="", marker="o", ms=3, alpha=0.45, gid="records", **under)
    marker = "o" if len(steps) <= MARKED_STEPS else ""
    (line,) = axes.plot(steps, mean, **look, lw=1.6, marker=marker, ms=4, gid="curve", zorder=3)
    return line
