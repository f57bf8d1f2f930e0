"""Over training: a heat map of step by round."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.statistics import ANY_ROUND, START
from arpo_entropy_recorder.figures.about import finish, log_note
from arpo_entropy_recorder.figures.marks import tick_spacing
from arpo_entropy_recorder.figures.style import INK, figure_of, new_figure, styled
from arpo_entropy_recorder.figures.words import Words

MIN_COLOUR_RANGE = 0.01  # of the colour scale, so that values closer than this look alike


def plot(analysis: Analysis, words: Words) -> Figure:
    """Draw the mean entropy as a heat map, steps from left to right and rounds from bottom to top.

    A dot marks a cell with too few records for an interval.
    """
    curves, steps = analysis.steps.curves, analysis.steps.numbers
    rounds = sorted(curves)
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
        special = {START: words("0 (start)"), ANY_ROUND: words("after a tool result")}
        names = [special.get(rounds[row], str(rounds[row])) for row in rows]
        axes.set_yticks([row + 0.5 for row in rows], names)
        axes.set(xlabel=words("Global step"), ylabel=words("Tool-call round"))
        caption = [
            words("Colour: mean of each round's records at each step; white: no record."),
            words("Dot: fewer than 5 records.") if few.any() else "",
            words("0 (start): the trajectories' first records, before any tool call.")
            if START in curves
            else "",
            log_note(analysis, words),
        ]
        title = words("Entropy after tool results, by step and round")
        return finish(axes, analysis, words, title, caption, filled=True)


def _dots(axes: Axes, cells: np.ndarray) -> None:
    """A dot in the middle of each of the `cells`, bool[rounds, steps]; as small as the cells ask for."""
    row, column = np.nonzero(cells)
    inches = 0.7 * figure_of(axes).get_size_inches() / cells.shape[::-1]
    across = float(np.clip(0.35 * 72 * inches.min(), 1.0, 4.0))
    axes.scatter(
        column + 0.5, row + 0.5, s=across**2, c="white", edgecolors=INK, linewidths=0.15 * across, gid="few"
    )
