"""The pieces that figures by round are put together from: points, means with bars, ticks with counts, captions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator

from arpo_entropy_recorder.analysis.statistics import MAX_BOOTSTRAP, Group
from arpo_entropy_recorder.figures.style import FAINT, INK, MUTED
from arpo_entropy_recorder.figures.words import Words
from arpo_entropy_recorder.step_files.schema import HIGH_ENTROPY

POINTS_SHOWN = 5_000
FEW = 30
LABELLED_ROUNDS = 32
SHORT_COUNTS = 12
ROUND_NUMBERS = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
MIN_AXIS_TOP = 0.01  # the axis ends above this even where all entropies are zero


def cloud(
    axes: Axes, x: float, group: Group, most: int, colour: str, width: float = 0.56, marker: str = "o"
) -> int:
    """Draw at most `most` of the group's values as points side by side, around `x`; returns how many."""
    points = group.points(most)
    # the golden ratio's multiples spread the points evenly, the same way every time
    jitter = np.arange(len(points)) * 0.6180339887 % 1 * width
    few = len(points) <= FEW
    axes.scatter(
        x + jitter - (jitter.mean() if len(points) else 0),
        points,
        marker=marker,
        s=12 if few else 7,  # far smaller than a mean's mark
        color=colour,
        alpha=0.5 if few else 0.4,
        linewidths=0,
        clip_on=False,
        zorder=2,
        gid=f"points-{x:g}",
        rasterized=len(points) > 1_000,
    )
    return len(points)


def means(
    axes: Axes,
    groups: Mapping[int, Group] | Mapping[float, Group],
    label: str,
    marker: str,
    colour: str,
    bar: Literal["sd", "interval"] = "sd",
) -> Line2D:
    """Draw each group's mean with a bar: one standard deviation, or the mean's 95 % interval."""
    y = np.array([group.mean for group in groups.values()])
    if bar == "sd":
        lengths = np.tile([group.sd for group in groups.values()], (2, 1))
    else:
        low, high = np.array([group.interval() for group in groups.values()]).T
        lengths = np.array([y - low, high - y])
    drawn = axes.errorbar(
        list(groups),
        y,
        yerr=lengths,
        fmt=marker,
        ms=7.5,
        mfc=colour,
        mec=INK,
        mew=1.2,
        ecolor=INK,
        elinewidth=1.4,
        capsize=5,
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
                  textcoords="offset points", va="center", color=MUTED, fontsize=8.5)  # fmt: skip
    return words("Dashed: 0.6, the guide's mark of a high entropy.")


def round_axis(axes: Axes, counts: Mapping[int, int], words: Words) -> None:
    """Whole rounds on the x axis, and under each its number of records."""
    spacing = (max(counts) - min(counts)) / LABELLED_ROUNDS
    numbers: list[int] = []
    for number in sorted(counts):
        if not numbers or number - numbers[-1] >= spacing:
            numbers.append(number)
    axes.xaxis.set_major_locator(FixedLocator(numbers))
    axes.set_xlim(min(numbers) - 0.6, max(counts) + 0.6)
    axes.set_xlabel(words("Tool-call round"), labelpad=14)
    below = axes.secondary_xaxis(0.0)
    short = len(numbers) > SHORT_COUNTS
    labels = [_count(counts[number], short) for number in numbers]
    below.set_xticks(numbers, labels if short else [f"n = {label}" for label in labels])
    below.tick_params(length=0, pad=17, labelsize=7 if short else 8.5, labelcolor=MUTED)
    below.spines["bottom"].set_visible(False)


def round_width(rounds: int) -> float:
    """The width in inches of a figure with so many rounds side by side."""
    return float(np.clip(4.2 + 0.42 * rounds, 7.0, 14.0))


def tick_spacing(span: int) -> int:
    """The spacing at which at most eleven ticks lie on whole numbers over `span`: 1, 5, 10, 20, 50, 100, ..."""
    if span <= 10:
        return 1
    power = 10 ** (len(str(span)) - 2)
    return next(
        every for every in (power, 2 * power, 5 * power, 10 * power) if every > 2 and span <= 10 * every
    )


def whole_ticks(first: int, last: int) -> list[int]:
    """Ticks from `first` to `last`: round numbers, and `first` itself where it is not too near to the next."""
    every = tick_spacing(last - first)
    ticks = list(range(-(-first // every) * every, last + 1, every))
    return ticks if ticks[0] - first < every / 2 else [first, *ticks]


def _count(n: int, short: bool) -> str:
    if not short or n < 10_000:
        return f"{n:,}"
    return f"{n / 1e3:.0f}k" if n < 1e6 else f"{n / 1e6:.1f}M"


def shown_of(words: Words, shown: int, total: int) -> str:
    if shown == total:
        return words("Points: every record (n = {total:,}).", total=total)
    return words("Points: an even sample of {shown:,} of {total:,} records.", shown=shown, total=total)


def interval_words(words: Words, what: str) -> str:
    """What a bar or band stands for: `what` is either word, translated."""
    return words(
        "{what}: 95 % interval of the mean, taking records as independent (percentile bootstrap, 999 resamples; "
        "normal above n = {most}; none below n = 5).",
        what=what,
        most=MAX_BOOTSTRAP,
    )
