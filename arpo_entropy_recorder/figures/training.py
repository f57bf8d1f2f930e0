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
from matplotlib.ticker import FixedLocator, MaxNLocator

from arpo_entropy_recorder.analysis.breakdown import Curve
from arpo_entropy_recorder.analysis.statistics import START
from arpo_entropy_recorder.figures.about import About
from arpo_entropy_recorder.figures.marks import FEW, entropy_axis
from arpo_entropy_recorder.figures.style import INITIAL, add_legend, new_figure, styled

LEGEND_ROUNDS = 6
LEGEND_COLUMNS = 4
BRIGHTEST = 0.85  # of cividis, which is ordered in grey too; the rest is too pale for a line


def plot_steps(curves: Mapping[int, Curve], about: About, band: str) -> Figure:
    """Draw each round's mean entropy over the global steps, round 0 dashed; `band` says what the bands are."""
    words = about.words
    rounds = [number for number in curves if number != START]
    with styled(words):
        figure = new_figure(8.0)
        axes = figure.add_subplot()
        colours = colormaps["cividis"](np.linspace(0, BRIGHTEST, max(len(rounds), 2)))
        for number, colour in zip(rounds, colours, strict=False):
            _line(axes, curves[number], colour, words("round {number}", number=number), "-")
        if START in curves:
            _line(axes, curves[START], INITIAL, words("before any tool call"), (0, (4, 2)))
        entropy_axis(axes, words)
        steps = _steps(curves)
        margin = max((steps[-1] - steps[0]) * 0.03, 0.5)
        axes.set_xlim(steps[0] - margin, steps[-1] + margin)
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
        axes.set_xlabel(words("Global step"))
        if len(rounds) <= LEGEND_ROUNDS:
            add_legend(axes, ncols=LEGEND_COLUMNS, columnspacing=1.2, handlelength=1.6)
        else:  # a scale of colours takes the place of many names
            norm = BoundaryNorm(np.arange(len(rounds) + 1) - 0.5, len(rounds))
            scale = figure.colorbar(ScalarMappable(norm, ListedColormap(colours)), ax=axes, pad=0.06)
            ticks = range(0, len(rounds), -(-len(rounds) // 15))
            scale.set_ticks(list(ticks), labels=[str(rounds[at]) for at in ticks], minor=False)
            scale.ax.minorticks_off()
            scale.set_label(words("Tool-call round"))
            if START in curves:
                add_legend(
                    axes, handles=[line for line in axes.get_lines() if line.get_gid() == "curve"][-1:]
                )
        few = any(len(curve.records) for curve in curves.values())
        caption = [
            words("Lines: mean of the step's records, a round each."),
            words("Small points: the records, where a step has fewer than 5.") if few else "",
            band,
        ]
        two_rows = len(curves) > LEGEND_COLUMNS and len(rounds) <= LEGEND_ROUNDS
        title = words("Entropy after tool results over training")
        return about.finish(axes, title, caption, 46 if two_rows else None)


def plot_heatmap(curves: Mapping[int, Curve], about: About) -> Figure:
    """Draw the mean entropy as a heat map, steps from left to right and rounds from bottom to top."""
    words, steps, rounds = about.words, _steps(curves), sorted(curves)
    grid = np.full((len(rounds), len(steps)), np.nan)
    for row, number in enumerate(rounds):
        grid[row, np.searchsorted(steps, curves[number].steps)] = curves[number].mean
    with styled(words):
        figure = new_figure(8.0, float(np.clip(2.4 + 0.3 * len(rounds), 3.6, 9.0)))
        axes = figure.add_subplot()
        low, high = np.floor(np.nanmin(grid) * 10) / 10, np.ceil(np.nanmax(grid) * 10) / 10
        norm = Normalize(low, high if high > low else low + 0.1)
        mesh = axes.pcolormesh(grid, cmap="cividis", norm=norm, rasterized=True)
        figure.colorbar(mesh, ax=axes, label=words("Mean normalised entropy"), pad=0.02)
        ticks = MaxNLocator(10, integer=True).tick_values(0, len(steps) - 1)
        at = sorted({int(tick) for tick in ticks if 0 <= tick < len(steps)})
        axes.xaxis.set_major_locator(FixedLocator([column + 0.5 for column in at]))
        axes.set_xticklabels([str(steps[column]) for column in at])
        rows = range(0, len(rounds), -(-len(rounds) // 25))
        names = [words("0 (start)") if rounds[row] == START else str(rounds[row]) for row in rows]
        axes.set_yticks([row + 0.5 for row in rows], names)
        axes.set(xlabel=words("Global step"), ylabel=words("Tool-call round"))
        caption = [
            words("Colour: mean of the records of a step and round; white: none."),
            words("0 (start): the trajectories' first records, before any tool call.")
            if START in curves
            else "",
        ]
        return about.finish(
            axes, words("Entropy after tool results, by step and round"), caption, 12, filled=True
        )


def _steps(curves: Mapping[int, Curve]) -> np.ndarray:
    return np.unique(np.concatenate([curve.steps for curve in curves.values()])).astype(int)


def _line(axes: Axes, curve: Curve, colour: Any, label: str, style: Any) -> None:
    marker = "o" if len(curve.steps) <= FEW else ""
    axes.plot(curve.steps, curve.mean, color=colour, ls=style, lw=1.6, marker=marker, ms=4, label=label,
              gid="curve", zorder=3)  # fmt: skip
    axes.plot(*curve.records.T, color=colour, ls="", marker="o", ms=3, alpha=0.45, gid="records", zorder=2)
    axes.fill_between(curve.steps, curve.low, curve.high, color=colour, alpha=0.18, lw=0, zorder=2)
