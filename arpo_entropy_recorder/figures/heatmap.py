"""Over training: a heat map of step by round."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.statistics import ANY_ROUND, START
from arpo_entropy_recorder.figures.about import finish, log_note
from arpo_entropy_recorder.figures.bins import Bins, bins_of
from arpo_entropy_recorder.figures.marks import step_axis
from arpo_entropy_recorder.figures.scales import FEW_POWERS, NUMBERS, nats_words, plain
from arpo_entropy_recorder.figures.spread import MIN_SPREAD
from arpo_entropy_recorder.figures.steps import bin_words
from arpo_entropy_recorder.figures.style import INK, figure_of, new_axes, scale, size_of
from arpo_entropy_recorder.figures.words import Words

MIN_COLOUR_RATIO = 2.0  # of the colour scale's ends, so that values closer than this look alike
# The colours of a run that becomes certain would otherwise show its last steps and nothing else.
MAX_COLOUR_RATIO = 1e4
LEAST_COLOUR = 1e-100  # of the colour scale's upper end; matplotlib's log scale fails far below
FEW_NUMBERS = 5  # the colours' largest over the smallest, below which all first digits are labelled


def plot(analysis: Analysis, words: Words) -> Figure:
    """Draw the mean entropy as a heat map, steps from left to right and rounds from bottom to top.

    A dot marks a cell of few records; such cells set no limit of the colours.
    """
    steps = analysis.steps.numbers
    bins = bins_of(steps)
    rounds, grid, few = _cells(analysis, bins)
    axes = new_axes(height=float(np.clip(2.4 + 0.3 * len(rounds), 3.6, 9.0)))
    trusted = grid[~np.isnan(grid) & ~few] if (~few & ~np.isnan(grid)).any() else grid[~np.isnan(grid)]
    lowest, highest = _limits(trusted)
    mesh = axes.pcolormesh(
        bins.edges,
        np.arange(len(rounds) + 1),
        np.where(np.isnan(grid), np.nan, np.maximum(grid, lowest / 10)),  # a mean of 0 has no logarithm
        cmap="cividis",
        norm=LogNorm(lowest, highest),
        rasterized=True,
    )
    if few.any():
        _dots(axes, bins, few)
    low, high = np.nanmin(grid) < lowest, np.nanmax(grid) > highest
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((low, high), "neither")
    bar = figure_of(axes).colorbar(mesh, ax=axes, pad=0.02, extend=extend)
    _label(bar, lowest, highest, analysis.vocab_size, words)
    step_axis(axes, int(steps[0]), int(steps[-1]), words)
    rows = range(0, len(rounds), -(-len(rounds) // 25))
    special = {START: words("0 (start)"), ANY_ROUND: words("after a tool result")}
    names = [special.get(rounds[row], str(rounds[row])) for row in rows]
    axes.set_yticks([row + 0.5 for row in rows], names)
    axes.set(ylabel=words("Tool-call round"))
    caption = [
        words("Colour: mean of each round's records at each step; white: no record."),
        bin_words(bins, words),
        words("Dot: fewer than {least} records.", least=MIN_SPREAD) if few.any() else "",
        words("Values beyond the colours' ends have the end's colour.") if extend != "neither" else "",
        words("0 (start): the trajectories' first records, before any tool call.") if START in rounds else "",
        nats_words(analysis.vocab_size, words),
        log_note(analysis, words),
    ]
    title = words("Entropy after tool results, by step and round")
    return finish(axes, analysis, words, title, caption, filled=True)


def _cells(analysis: Analysis, bins: Bins) -> tuple[list[int], np.ndarray, np.ndarray]:
    """The rounds, the mean of each in each bin, float64[rounds, bins], and where it is of few records, bool."""
    curves = analysis.steps.curves
    rounds = sorted(curves)
    grid, few = np.full((len(rounds), bins.number), np.nan), np.zeros((len(rounds), bins.number), bool)
    for row, number in enumerate(rounds):
        curve = curves[number]
        grid[row], counts = bins.means_of(curve)
        few[row] = (counts > 0) & (counts < MIN_SPREAD) & (len(curve.groups) > 0)
    return rounds, grid, few


def _limits(means: np.ndarray) -> tuple[float, float]:
    """Where the colours begin and end."""
    positive = means[means > 0]
    high = max(float(positive.max()), LEAST_COLOUR) if len(positive) else 1.0
    low = max(float(positive.min()) if len(positive) else high, high / MAX_COLOUR_RATIO)
    if high / low < MIN_COLOUR_RATIO:
        middle = math.sqrt(high * low)
        low, high = middle / math.sqrt(MIN_COLOUR_RATIO), middle * math.sqrt(MIN_COLOUR_RATIO)
    return low, high


def _label(bar: Any, low: float, high: float, vocab_size: int | None, words: Words) -> None:
    """Numbers on the colour bar; those in nats, where the vocabulary is known, on its other side."""
    bar.set_label(words("Mean entropy"))
    _number(bar.ax.yaxis, low, high)
    if vocab_size:
        factor = math.log(vocab_size)
        nats = bar.ax.secondary_yaxis(
            "left", functions=(lambda value: value * factor, lambda nats: nats / factor)
        )
        _number(nats.yaxis, low * factor, high * factor)
        nats.set_ylabel(words("Nats"))


def _number(axis: Axis, low: float, high: float) -> None:
    numbers = range(1, 10) if high / low < FEW_NUMBERS else NUMBERS if high / low < FEW_POWERS else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    axis.set_ticks([t for p in powers for k in numbers if low <= (t := float(f"{k}e{p}")) <= high])
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axis.set_minor_formatter(NullFormatter())


def _dots(axes: Axes, bins: Bins, cells: np.ndarray) -> None:
    """A dot in the middle of each of the `cells`, bool[rounds, bins]; as small as the cells ask for."""
    row, column = np.nonzero(cells)
    inches = 0.7 * np.array(size_of(axes)) / cells.shape[::-1]
    across = float(np.clip(0.35 * 72 * inches.min(), 1.0, 4.0 * scale()))
    places = bins.centres[column]
    axes.scatter(
        places, row + 0.5, s=across**2, c="white", edgecolors=INK, linewidths=0.15 * across, gid="few"
    )
