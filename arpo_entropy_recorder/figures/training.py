"""Figures over the global step: a line a round, and a heat map of step x round."""

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
from arpo_entropy_recorder.figures.marks import entropy_axis, interval_words
from arpo_entropy_recorder.figures.style import INITIAL, add_legend, new_figure, styled

NAMED_ROUNDS = 6  # of more, a scale of colours takes the place of names, and bands would hide the lines
WINDOWS = 30  # a long run's line is a running mean over a thirtieth of its steps
MARKED_STEPS = 30
# Navy to teal: ordered in grey too, and far from round 0's orange, also for the colour-blind
SEQUENCE = ListedColormap(colormaps["YlGnBu_r"](np.linspace(0, 0.58, 256)))


def plot_steps(curves: Mapping[int, Curve], about: About, source: str = "") -> Figure:
    """Draw each round's mean entropy over the global steps, round 0 dashed; in a long run, a running mean of it.

    `source` is a sentence of the caption.
    """
    words, steps = about.words, _steps(curves)
    rounds = [number for number in curves if number != START]
    few, width = len(rounds) <= NAMED_ROUNDS, max(len(steps) // WINDOWS, 1)
    with styled(words):
        figure = new_figure(8.0)
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
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
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
        bands = few and any(np.isfinite(curve.low).any() for curve in curves.values())
        points = few and width == 1 and any(len(curve.records) for curve in curves.values())
        caption = [
            words("Lines: mean of the step's records, a round each."),
            words("Small points: the records, where a step has fewer than 5.") if points else "",
            interval_words(words, words("Band")) if bands else "",
            words("All are running means over {width} steps.", width=width) if width > 1 else "",
            source,
            dashed,
        ]
        return about.finish(axes, words("Entropy after tool results over training"), caption)


def plot_heatmap(curves: Mapping[int, Curve], about: About) -> Figure:
    """Draw the mean entropy as a heat map, steps from left to right and rounds from bottom to top.

    A cell with too few records for an interval is half as high as the others.
    """
    words, steps, rounds = about.words, _steps(curves), sorted(curves)
    grid = np.full((len(rounds), 4, len(steps)), np.nan)  # a cell is four quarters, one above the other
    for row, number in enumerate(rounds):
        grid[row, :, np.searchsorted(steps, curves[number].steps)] = curves[number].mean[:, None]
        few = np.searchsorted(steps, np.unique(curves[number].records[:, 0]))
        grid[row, 0, few] = grid[row, 3, few] = np.nan
    any_few = any(len(curve.records) for curve in curves.values())
    with styled(words):
        figure = new_figure(8.0, float(np.clip(2.4 + 0.3 * len(rounds), 3.6, 9.0)))
        axes = figure.add_subplot()
        low, high = np.floor(np.nanmin(grid) * 10) / 10, np.ceil(np.nanmax(grid) * 10) / 10
        norm = Normalize(low, high if high > low else low + 0.1)
        mesh = axes.pcolormesh(
            np.arange(len(steps) + 1),
            np.arange(4 * len(rounds) + 1) / 4,
            grid.reshape(-1, len(steps)),
            cmap="cividis",
            norm=norm,
            rasterized=True,
        )
        figure.colorbar(mesh, ax=axes, label=words("Mean normalised entropy"), pad=0.02)
        first, second, *_ = MaxNLocator(10, integer=True).tick_values(0, len(steps))
        every = int(second - first)
        columns = range(-steps[0] % every, len(steps), every)  # round numbers, where no step is missing
        axes.set_xticks([column + 0.5 for column in columns], [str(steps[column]) for column in columns])
        rows = range(0, len(rounds), -(-len(rounds) // 25))
        names = [words("0 (start)") if rounds[row] == START else str(rounds[row]) for row in rows]
        axes.set_yticks([row + 0.5 for row in rows], names)
        axes.set(xlabel=words("Global step"), ylabel=words("Tool-call round"))
        caption = [
            words("Colour: mean of the records of a step and round; white: none."),
            words("Cells of half the height: fewer than 5 records.") if any_few else "",
            words("0 (start): the trajectories' first records, before any tool call.")
            if START in curves
            else "",
        ]
        title = words("Entropy after tool results, by step and round")
        return about.finish(axes, title, caption, filled=True)


def _steps(curves: Mapping[int, Curve]) -> np.ndarray:
    return np.unique(np.concatenate([curve.steps for curve in curves.values()])).astype(int)


def _line(axes: Axes, curve: Curve, width: int, detailed: bool, **look: Any) -> Line2D:
    """Draw a curve as its running mean over `width` steps, if `detailed` with its band and its few records."""
    kernel = np.full(min(width, len(curve.steps)), 1 / min(width, len(curve.steps)))
    steps, mean, low, high = (
        np.convolve(values, kernel, "valid") for values in (curve.steps, curve.mean, curve.low, curve.high)
    )
    marker = "o" if len(steps) <= MARKED_STEPS else ""
    (line,) = axes.plot(steps, mean, **look, lw=1.6, marker=marker, ms=4, gid="curve", zorder=3)
    under: Any = {"color": look["color"], "zorder": 2}
    if detailed:
        axes.fill_between(steps, low, high, alpha=0.18, lw=0, **under)
    if detailed and width == 1:
        axes.plot(*curve.records.T, ls="", marker="o", ms=3, alpha=0.45, gid="records", **under)
    return line
