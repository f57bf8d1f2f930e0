"""The guide's entropy-increase figure: each record, mean and standard deviation by round, from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.statistics import START, Group
from arpo_entropy_recorder.figures.about import finish, require_few_rounds, require_results, title_by_round
from arpo_entropy_recorder.figures.marks import (
    POINTS_SHOWN,
    SHORT_COUNTS,
    round_axis,
    rounds_that_fit,
    shown_of,
    side_by_side,
)
from arpo_entropy_recorder.figures.style import (
    AFTER_TOOL,
    FAINT,
    INITIAL,
    INK,
    MUTED,
    add_legend,
    new_figure,
    on_page,
    scale,
    small,
)
from arpo_entropy_recorder.figures.words import Words
from arpo_entropy_recorder.step_files.schema import HIGH_ENTROPY

ROUND_NUMBERS = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
FEW = 30  # points, that are drawn larger
WIDTH = 0.56  # of a round's points
MIN_AXIS_TOP = 0.01  # the axis ends above this even where all entropies are zero


def plot(analysis: Analysis, words: Words) -> Figure:
    """Draw every record as a point, and each round's mean with a bar of one standard deviation.

    The entropy before any tool result stands at round 0 as an orange diamond.
    """
    rounds = analysis.rounds
    require_results(analysis)
    groups = dict(sorted(rounds.by_round.items()))
    everything = rounds.with_start
    require_few_rounds(everything)
    axes = new_figure(round_width(len(everything))).add_subplot()
    most = max(POINTS_SHOWN // len(everything), 50)
    shown = sum(cloud(axes, number, group, most, AFTER_TOOL) for number, group in groups.items())
    marks = [means(axes, groups, words("after a tool result (mean ± sd)"), "o", AFTER_TOOL)]
    if rounds.initial.n:
        shown += cloud(axes, START, rounds.initial, most, INITIAL)
        label = words("before any tool call (mean ± sd)")
        marks.append(means(axes, {START: rounds.initial}, label, "D", INITIAL))
        axes.axhline(rounds.initial.mean, color=INITIAL, lw=1, ls=(0, (1, 2)), zorder=1)
    dashed = entropy_axis(axes, words)
    counts = {number: group.n for number, group in everything.items()}
    round_axis(axes, counts, words, *(rounds_that_fit(axes, counts) if on_page() else ()))
    add_legend(axes, marks)
    caption = [
        shown_of(words, shown, rounds.after_tool.n + rounds.initial.n),
        words("Marks and bars: mean ± 1 standard deviation (n - 1) of all records of each round."),
        words("Entropy in nats over ln(vocabulary size)."),
        dashed,
        words("Dotted: mean before any tool call.") if rounds.initial.n else "",
        words("Under each round: its number of records.") if len(everything) > SHORT_COUNTS else "",
    ]
    return finish(axes, analysis, words, title_by_round(analysis, words), caption)


def cloud(axes: Axes, x: float, group: Group, most: int, colour: str) -> int:
    """Draw at most `most` of the group's values as points side by side, around `x`; returns how many."""
    points = group.points(most)
    few = len(points) <= FEW
    axes.scatter(
        side_by_side(x, len(points), WIDTH),
        points,
        s=(12 if few else 7) * scale() ** 2,  # far smaller than a mean's mark
        color=colour,
        alpha=0.5 if few else 0.4,
        linewidths=0,
        clip_on=False,
        zorder=2,
        gid=f"points-{x:g}",
        rasterized=len(points) > 1_000,
    )
    return len(points)


def means(axes: Axes, groups: Mapping[int, Group], label: str, marker: str, colour: str) -> Line2D:
    """Draw each group's mean with a bar of one standard deviation."""
    y = np.array([group.mean for group in groups.values()])
    lengths = np.tile([group.sd for group in groups.values()], (2, 1))
    drawn = axes.errorbar(
        list(groups),
        y,
        yerr=lengths,
        fmt=marker,
        ms=7.5 * scale(),
        mfc=colour,
        mec=INK,
        mew=1.2 * scale(),
        ecolor=INK,
        elinewidth=1.4 * scale(),
        capsize=5 * scale(),
        zorder=4,
    )
    drawn.lines[0].set_label(label)
    return drawn.lines[0]


def entropy_axis(axes: Axes, words: Words) -> str:
    """Normalised entropy on the y axis, from 0 to 1 or to a little above what is drawn, if that is all below 0.5.

    To be called when everything is drawn. A faint line is at 0.6; returns the caption's words for it.
    """
    highest = max(float(axes.dataLim.y1), MIN_AXIS_TOP) * 1.05
    ticks = np.arange(0, 1.01, 0.2) if highest > 0.5 else ROUND_NUMBERS.tick_values(0, highest)
    axes.set(ylim=(0, ticks[-1]), yticks=ticks, ylabel=words("Normalised entropy"))
    if ticks[-1] < HIGH_ENTROPY:
        return words("0.6, the guide's mark of a high entropy, lies above this picture.")
    axes.axhline(HIGH_ENTROPY, color=FAINT, lw=1, ls=(0, (5, 4)), zorder=0)
    axes.annotate(f"{HIGH_ENTROPY}", (1, HIGH_ENTROPY), (4, 0), xycoords=("axes fraction", "data"),
                  textcoords="offset points", va="center", color=MUTED, fontsize=small())  # fmt: skip
    return words("Dashed: 0.6, the guide's mark of a high entropy.")


def round_width(rounds: int) -> float:
    """The width in inches of a figure with so many rounds side by side."""
    return float(np.clip(4.2 + 0.42 * rounds, 7.0, 14.0))
