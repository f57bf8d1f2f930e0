"""Axes for entropies over several powers of ten: logarithmic, with a lane for what is smaller."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from arpo_entropy_recorder.analysis.statistics import Group
from arpo_entropy_recorder.figures.spread import MIN_SPREAD, Spread
from arpo_entropy_recorder.figures.words import Words

MAX_DECADES = 4
MIN_POWER = -4  # below 10 to this a policy is certain; where all is, the scale begins lower
LANE = 0.16  # the lane's height, as a share of the logarithmic part's
LANE_COLOUR = "#F1F1F1"
NUMBERS = (1, 2, 5)
FEW_POWERS = 100  # top / floor below which 2 and 5 are labelled, too
ROUNDING = 1e-9


class Scale(NamedTuple):
    """From `floor`, a power of ten, to `top` logarithmic; from 0 to `floor` linear."""

    floor: float
    top: float


def scale_of(spreads: Iterable[Spread], whole: bool = True) -> Scale:
    """The scale for spreads of values from 0 on: with `whole` for all values, else up to p90 and mean.

    Groups too small for a spread do not count, unless all are.
    """
    found = [spread for spread in spreads if spread.n]
    large = [spread for spread in found if spread.n >= MIN_SPREAD] or found
    lows = [value for s in large for value in (s.p10, s.p25, s.p50) if value > 0] or [s.mean for s in large]
    highs = [max(s.mean, s.highest if whole or np.isnan(s.p90) else s.p90) for s in large]
    return scale_for(min(lows, default=0), max(highs, default=0))


def signed_scale_of(groups: Iterable[Group]) -> Scale:
    """The scale for groups of values of both signs; groups too small for a spread do not count, unless all are."""
    found = [np.abs(group.points()) for group in groups if group.n]
    sizes = np.concatenate([values for values in found if len(values) >= MIN_SPREAD] or found)
    return scale_for(float(np.quantile(sizes, 0.25)), float(sizes.max()))


def scale_for(low: float, high: float) -> Scale:
    """A scale of one to MAX_DECADES powers of ten that reaches from `low`, where it can, to `high`."""
    top = _round_up(high) if high > 0 else 1.0
    power = math.ceil(math.log10(top) - ROUNDING)
    lowest = math.floor(math.log10(low) + ROUNDING) if low > 0 else power
    return Scale(10.0 ** min(max(lowest, MIN_POWER, power - MAX_DECADES), power - 1), top)


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(number * power for number in (*NUMBERS, 10) if value <= number * power * (1 + ROUNDING))


def log_axis(axes: Axes, limits: Scale, label: str, which: str = "y", signed: bool = False) -> None:
    """Put the scale on the x or y axis, its lane in grey; with `signed` mirrored below zero."""
    _apply(axes, limits, which, signed)
    axes.set(**{f"{which}label": label})
    span = axes.axhspan if which == "y" else axes.axvspan
    span(-limits.floor if signed else 0, limits.floor, color=LANE_COLOUR, lw=0, zorder=0, gid="lane")


def nats_axis(
    axes: Axes,
    limits: Scale,
    vocab_size: int | None,
    words: Words,
    which: str = "y",
    signed: bool = False,
) -> None:
    """The same scale in nats on the opposite side, where the vocabulary's size is known."""
    if not vocab_size:
        return
    other = axes.twinx() if which == "y" else axes.twiny()
    factor = math.log(vocab_size)
    _apply(other, Scale(limits.floor * factor, limits.top * factor), which, signed)
    other.set(**{f"{which}label": words("Nats")})
    other.spines["right" if which == "y" else "top"].set_visible(True)


def lane_words(limits: Scale, words: Words, signed: bool = False) -> str:
    """What the grey lane is."""
    if signed:
        return words("Grey: changes below {floor:g}, drawn linearly.", floor=limits.floor)
    return words("Grey: from {floor:g} down to 0, drawn linearly.", floor=limits.floor)


def plain(value: float) -> str:
    """A number without an exponent, as far as that is legible."""
    return (
        np.format_float_positional(value, precision=3, fractional=False, trim="-")
        if abs(value) > 1e-7
        else "0"
    )


def nats_words(vocab_size: int | None, words: Words) -> str:
    """How nats are had from normalised entropies."""
    if not vocab_size:
        return words("Entropy in nats over ln(vocabulary size).")
    return words("Normalised: nats / ln({size:,}).", size=vocab_size)


def _apply(axes: Axes, limits: Scale, which: str, signed: bool) -> None:
    lane: Any = {"linthresh": limits.floor, "linscale": LANE * math.log10(limits.top / limits.floor)}
    getattr(axes, f"set_{which}scale")("symlog", **lane)
    getattr(axes, f"set_{which}lim")(-limits.top if signed else 0, limits.top)
    axis = axes.yaxis if which == "y" else axes.xaxis
    for ticks, minor in ((_ticks(limits), False), (_minor_ticks(limits), True)):
        if (signed or which == "x") and not minor:  # the number at the lane's end would be in the way of 0
            ticks = [tick for tick in ticks if tick > limits.floor * (1 + ROUNDING)]
        if signed:
            ticks = [*(-tick for tick in reversed(ticks)), *ticks]
        axis.set_ticks(ticks if minor else [0.0, *ticks], minor=minor)
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axis.set_minor_formatter(NullFormatter())


def _ticks(limits: Scale) -> list[float]:
    """Powers of ten, with 2 and 5 between them where there are few."""
    numbers = NUMBERS if limits.top / limits.floor < FEW_POWERS else (1,)
    return _within(limits, numbers)


def _minor_ticks(limits: Scale) -> list[float]:
    return [tick for tick in _within(limits, range(1, 10)) if tick not in _ticks(limits)]


def _within(limits: Scale, numbers: Iterable[int]) -> list[float]:
    """The `numbers` times powers of ten that lie on the logarithmic part."""
    powers = range(math.floor(math.log10(limits.floor) + ROUNDING), math.ceil(math.log10(limits.top)) + 1)
    ticks = [float(f"{number}e{power}") for power in powers for number in sorted(numbers)]
    return [t for t in ticks if limits.floor * (1 - ROUNDING) <= t <= limits.top * (1 + ROUNDING)]
