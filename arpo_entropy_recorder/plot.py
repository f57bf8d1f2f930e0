"""The entropy-increase figure: first-token entropy after each tool result, by round."""

from __future__ import annotations

from collections import Counter

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator

from .schema import HIGH_ENTROPY, UserError
from .statistics import Group, Rounds, left_out_line
from .style import AFTER_TOOL, FAINT, INITIAL, INK, MUTED, RC, add_caption, mark_simulated, new_figure

POINTS_SHOWN = 5_000
LABELLED_ROUNDS = 40
SHORT_COUNTS = 12


def plot_rounds(rounds: Rounds, left_out: Counter[str] | None = None, simulated: bool = False) -> Figure:
    """Draw every record as a point, and each round's mean with a bar of one standard deviation.

    The entropy before any tool result stands at round 0 as an orange diamond. Raises UserError where there is
    no record after a tool call.
    """
    if not rounds.by_round:
        raise UserError(no_after_tool(rounds))
    groups = dict(sorted(rounds.by_round.items()))
    with rc_context(RC):
        last = max(groups)
        figure = new_figure(width=float(np.clip(4.2 + 0.42 * len(groups), 7.0, 14.0)))
        axes = figure.add_subplot(xlim=(-0.6, last + 0.6), ylim=(0, 1))
        each = max(POINTS_SHOWN // (len(groups) + 1), 50)
        shown = 0
        for number, group in groups.items():
            shown += _cloud(axes, number, group, each, AFTER_TOOL)
        shown += _cloud(axes, 0, rounds.initial, each, INITIAL)
        marks = [_means(axes, groups, "after a tool result (mean ± sd)", "o", AFTER_TOOL)]
        if rounds.initial.n:
            marks.append(_means(axes, {0: rounds.initial}, "before any tool call (mean ± sd)", "D", INITIAL))
            axes.axhline(rounds.initial.mean, color=INITIAL, lw=1, ls=(0, (1, 2)), zorder=1)
        axes.axhline(HIGH_ENTROPY, color=FAINT, lw=1, ls=(0, (5, 4)), zorder=0)
        axes.annotate(f"{HIGH_ENTROPY}", (1, HIGH_ENTROPY), (4, 0), xycoords=("axes fraction", "data"),
                      textcoords="offset points", va="center", color=MUTED, fontsize=8.5)  # fmt: skip
        _ticks(axes, {0: rounds.initial, **groups} if rounds.initial.n else groups)
        axes.set(ylabel="Normalised entropy", yticks=np.arange(0, 1.01, 0.2))
        axes.set_xlabel("Tool-call round", labelpad=14)
        title = "Entropy of the first token after each tool result"
        axes.set_title(f"{title} (simulated)" if simulated else title)
        axes.legend(handles=marks, loc="lower left", bbox_to_anchor=(-0.015, 0.99), ncols=2, borderpad=0.2)
        add_caption(figure, _caption(rounds, shown, left_out or Counter(), simulated))
        if simulated:
            mark_simulated(axes)
    return figure


def no_after_tool(rounds: Rounds) -> str:
    """The line for data in which no entropy was recorded after a tool result."""
    return (
        "nothing to plot: no record with an entropy is after a tool call (is_after_tool_call), and "
        f"{rounds.initial.n:,} are from before one; did the policy call any tool?"
    )


def _cloud(axes: Axes, x: int, group: Group, most: int, colour: str) -> int:
    points = group.points(most)
    # the golden ratio's multiples spread the points evenly, the same way every time
    jitter = (np.arange(len(points)) * 0.6180339887 % 1 - 0.5) * 0.56
    few = len(points) <= 30
    axes.scatter(
        x + jitter,
        points,
        s=22 if few else 9 if len(points) < 300 else 5,
        color=colour,
        alpha=0.7 if few else 0.35,
        linewidths=0,
        clip_on=False,
        zorder=2,
        gid=f"points-{x}",
        rasterized=len(points) > 1_000,
    )
    return len(points)


def _means(axes: Axes, groups: dict[int, Group], label: str, marker: str, colour: str) -> Line2D:
    bars = axes.errorbar(
        list(groups),
        [group.mean for group in groups.values()],
        yerr=[group.sd for group in groups.values()],
        fmt=marker,
        ms=7,
        mfc=colour,
        mec="white",
        mew=1.2,
        ecolor=INK,
        elinewidth=1.4,
        capsize=4,
        zorder=4,
    )
    bars.lines[0].set_label(label)
    return bars.lines[0]


def _ticks(axes: Axes, groups: dict[int, Group]) -> None:
    """Whole numbers on the x axis, and under each the number of records."""
    numbers = np.array(list(groups))
    if len(numbers) > LABELLED_ROUNDS or np.ptp(numbers) > LABELLED_ROUNDS:
        ticks = MaxNLocator(20, integer=True).tick_values(0, numbers.max())
        numbers = np.intersect1d(numbers, ticks) if len(np.intersect1d(numbers, ticks)) else numbers[:1]
    axes.xaxis.set_major_locator(FixedLocator(numbers.tolist()))
    counts = axes.secondary_xaxis(0.0)
    short = len(numbers) > SHORT_COUNTS
    labels = [_count(groups[number].n, short) for number in numbers.tolist()]
    counts.set_xticks(numbers, labels if short else [f"n = {label}" for label in labels])
    counts.tick_params(length=0, pad=17, labelsize=7 if short else 8.5, labelcolor=MUTED)
    counts.spines["bottom"].set_visible(False)


def _count(n: int, short: bool) -> str:
    if not short or n < 10_000:
        return f"{n:,}"
    return f"{n / 1e3:.0f}k" if n < 1e6 else f"{n / 1e6:.1f}M"


def _caption(rounds: Rounds, shown: int, left_out: Counter[str], simulated: bool) -> str:
    total = rounds.after_tool.n + rounds.initial.n
    parts = ["SIMULATED data, not a measurement." if simulated else ""]
    parts.append(
        f"Points: all {total:,} records."
        if shown == total
        else f"Points: {shown:,} of {total:,} records, drawn evenly."
    )
    parts.append("Marks and bars: mean ± 1 standard deviation (n - 1) of all records of the round.")
    parts.append("Entropy in nats over ln(vocabulary size).")
    if len(rounds.by_round) >= SHORT_COUNTS:
        parts.append("Under each round: its number of records.")
    if rounds.initial.n:
        parts.append("Dotted: mean before any tool call.")
    steps = sorted(rounds.steps)
    if not simulated:
        parts.append(
            f"Step {steps[0]}." if len(steps) == 1 else f"{len(steps):,} steps, {steps[0]} to {steps[-1]}."
        )
    if left_out:
        parts.append(f"Left out: {left_out_line(left_out)}.")
    return " ".join(part for part in parts if part)
