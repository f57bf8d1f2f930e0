"""How entropies that are mostly small and sometimes large spread: quantiles, and the box that shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from arpo_entropy_recorder.analysis.statistics import MIN_INTERVAL, Group
from arpo_entropy_recorder.figures.style import INK, scale
from arpo_entropy_recorder.figures.words import Words

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
# Of fewer records there are no quantiles: these are shown one by one, and set no limit of an axis.
MIN_SPREAD = MIN_INTERVAL
# Of more places on a line none is marked.
MARKED = 30


class Spread(NamedTuple):
    """The mean of `n` values, the highest of them and their quantiles: NaN where there are too few."""

    n: int
    mean: float = np.nan
    highest: float = np.nan
    p10: float = np.nan
    p25: float = np.nan
    p50: float = np.nan
    p75: float = np.nan
    p90: float = np.nan

    @property
    def order(self) -> float:
        """By what a list is sorted: the median, or the mean of too few values."""
        return self.p50 if self.n >= MIN_SPREAD else self.mean


def spread_of(groups: Iterable[Group]) -> Spread:
    """The spread of all values of the groups, from the sample that each keeps."""
    groups = [group for group in groups if group.n]
    n = sum(group.n for group in groups)
    if not n:
        return Spread(0)
    samples = [group.points() for group in groups]
    values = np.concatenate(samples)
    mean = sum(group.mean * group.n for group in groups) / n
    if n < MIN_SPREAD:
        return Spread(n, mean, float(values.max()))
    order = np.argsort(values)
    # A value of a sample stands for as many as the sample leaves out of its group.
    weights = np.repeat([group.n / len(sample) for group, sample in zip(groups, samples, strict=True)],
                        [len(sample) for sample in samples])[order]  # fmt: skip
    upto = np.cumsum(weights)
    # Of equal weights these are numpy's quantiles.
    places = (upto - weights) / max(upto[-1] - weights[-1], weights[-1])
    quantiles = np.interp(QUANTILES, places, values[order])
    return Spread(n, mean, float(values.max()), *quantiles.tolist())


def boxes(
    axes: Axes, spreads: Mapping[Any, Spread], colour: str, width: float, label: str, sideways: bool = False
) -> Line2D:
    """Draw a box of the middle half at each place, a line from p10 to p90, a dot at the median, a tick at the mean.

    Lines run up, or with `sideways` to the right. Returns a handle for the legend.
    """
    kept = {at: spread for at, spread in spreads.items() if spread.n >= MIN_SPREAD}
    places = list(kept)
    _, mean, _, p10, p25, p50, p75, p90 = np.array(list(kept.values())).reshape(-1, 8).T
    look: Any = {"zorder": 3, "color": colour, "linewidth": 0, "alpha": 0.85}
    if sideways:
        axes.hlines(places, p10, p90, color=INK, lw=1.2 * scale(), zorder=2.5, gid="p10-p90")
        axes.barh(places, p75 - p25, width, p25, gid="box", **look)
    else:
        axes.vlines(places, p10, p90, color=INK, lw=1.2 * scale(), zorder=2.5, gid="p10-p90")
        axes.bar(places, p75 - p25, width, p25, gid="box", **look)
    for marker, size, face, values, name in (
        ("|" if sideways else "_", 11, colour, mean, "mean"),
        ("o", 5, "white", p50, "median"),
    ):
        xy = (values, places) if sideways else (places, values)
        axes.plot(*xy, ls="", marker=marker, ms=size * scale(), mfc=face, mec=INK, mew=1.1 * scale(),
                  zorder=4, gid=name)  # fmt: skip
    return Line2D([], [], ls="", marker="s", ms=7 * scale(), color=colour, label=label)


def bands(
    axes: Axes, x: np.ndarray, spreads: Sequence[Spread], colour: str, style: Any, label: str
) -> Line2D:
    """Draw the medians as a line, the middle half and p10 to p90 as bands, the means as ticks; returns the line.

    There is no line across a place without a spread.
    """
    _, mean, _, p10, p25, p50, p75, p90 = np.array(spreads).T
    for low, high, alpha, name in ((p10, p90, 0.13, "p10-p90"), (p25, p75, 0.22, "box")):
        axes.fill_between(x, low, high, color=colour, alpha=alpha, lw=0, gid=name)
        at = lone(low)
        axes.vlines(x[at], low[at], high[at], color=colour, alpha=2 * alpha, lw=4 * scale(), gid=name)
    if len(x) <= MARKED:
        known = ~np.isnan(p50)
        axes.plot(
            x[known],
            mean[known],
            ls="",
            marker="_",
            ms=8 * scale(),
            color=colour,
            mew=1.4 * scale(),
            gid="mean",
        )
    axes.plot(x, p50, color=colour, ls=style, lw=1.6 * scale(), marker="o", ms=4 * scale(), zorder=3, gid="median",
              markevery=marked(p50))  # fmt: skip
    return Line2D([], [], color=colour, ls=style, lw=1.6 * scale(), label=label)


def lone(values: np.ndarray) -> np.ndarray:
    """Which known values have no known one before or after them, so that no line is drawn there, bool[n]."""
    known = np.pad(~np.isnan(values), 1)
    return known[1:-1] & ~(known[:-2] | known[2:])


def marked(values: np.ndarray) -> slice | list[int]:
    """Which points of a line get a marker: all of few, of many those where no line is drawn."""
    return slice(None) if len(values) <= MARKED else np.flatnonzero(lone(values)).tolist()


def band_words(words: Words, means: bool = True) -> list[str]:
    """What a line with bands shows, and whether with means."""
    return [
        words("Line: median; dark band: middle half; light band: p10 to p90."),
        words("Tick: mean.") if means else "",
    ]


def box_words(words: Words, spreads: Iterable[Spread]) -> list[str]:
    """What a box shows, and where there is none."""
    return [
        words("Dot: median; box: middle half; line: p10 to p90; tick: mean."),
        words("No box below n = {least}.", least=MIN_SPREAD)
        if any(0 < spread.n < MIN_SPREAD for spread in spreads)
        else "",
    ]
