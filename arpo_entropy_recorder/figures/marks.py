"""The pieces that figures are put together from: points, ticks with counts, captions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator

from arpo_entropy_recorder.analysis.statistics import MIN_INTERVAL
from arpo_entropy_recorder.figures.bins import round_numbers
from arpo_entropy_recorder.figures.media import SCREEN
from arpo_entropy_recorder.figures.style import MUTED, scale, size_of, small
from arpo_entropy_recorder.figures.words import Words

POINTS_SHOWN = 5_000
LABELLED_ROUNDS = 32
SHORT_COUNTS = 12
BEYOND = "beyond"


def round_axis(
    axes: Axes,
    counts: Mapping[int, int],
    words: Words,
    most: int = LABELLED_ROUNDS,
    short: bool | None = None,
) -> None:
    """Whole rounds on the x axis, at most about `most` of them labelled, and under each its number of records.

    `short` leaves "n =" out of the counts; by default where there are many.
    """
    spacing = (max(counts) - min(counts)) / most
    numbers: list[int] = []
    for number in sorted(counts):
        if not numbers or number - numbers[-1] >= spacing:
            numbers.append(number)
    axes.xaxis.set_major_locator(FixedLocator(numbers))
    axes.set_xlim(min(numbers) - 0.6, max(counts) + 0.6)
    axes.set_xlabel(words("Tool-call round"), labelpad=4 + rcParams["font.size"])
    below = axes.secondary_xaxis(0.0)
    short = len(numbers) > SHORT_COUNTS if short is None else short
    labels = [short_count(counts[number]) if short else f"n = {counts[number]:,}" for number in numbers]
    below.set_xticks(numbers, labels)
    size = min(small(), 7) if short and scale() <= 1 else small()
    below.tick_params(length=0, pad=7 + rcParams["font.size"], labelsize=size, labelcolor=MUTED)
    below.spines["bottom"].set_visible(False)


def rounds_that_fit(axes: Axes, counts: Mapping[int, int]) -> tuple[int, bool]:
    """How many rounds `round_axis` can label without crowding, and whether with short counts."""
    room = 72 * (size_of(axes)[0] - 1.5 * scale())
    most = int(room / (0.62 * small() * max(len(f"n = {n:,}") for n in counts.values()) + 4))
    if most >= len(counts):
        return most, False
    return max(int(room / (0.62 * small() * max(len(short_count(n)) for n in counts.values()) + 5)), 2), True


def tick_spacing(span: int, most: int = 10) -> int:
    """The spacing, of 1, 5, 10, 20, 50, 100, ..., at which at most `most` ticks and one lie over `span`."""
    return next(spacing for spacing in round_numbers() if spacing != 2 and span <= most * spacing)


def whole_ticks(first: int, last: int, most: int = 10) -> list[int]:
    """Ticks from `first` to `last`: round numbers, and `first` itself where it is not too near to the next."""
    every = tick_spacing(last - first, most)
    ticks = list(range(-(-first // every) * every, last + 1, every))
    return ticks if ticks and ticks[0] - first < every / 2 else [first, *ticks]


def step_axis(axes: Axes, first: int, last: int, words: Words) -> None:
    """Global steps on the x axis, with as many ticks as the medium has room for."""
    axes.set_xticks(whole_ticks(first, last, int(_room(axes) / 5)))
    axes.set_xlabel(words("Global step"))


def points_shown(axes: Axes) -> int:
    """How many points a figure of this size shows at most."""
    return int(POINTS_SHOWN * min(1, size_of(axes)[0] / SCREEN.width))


def _room(axes: Axes) -> float:
    """The width that there is, in sizes of the text."""
    return float(72 * size_of(axes)[0] / rcParams["font.size"])


def short_count(n: int) -> str:
    """At most six characters: "9,999", "12k", "1.2M"."""
    if n < 10_000:
        return f"{n:,}"
    return f"{n / 1e3:.0f}k" if n < 1e6 else f"{n / 1e6:.1f}M"


def points(
    axes: Axes, at: float, values: np.ndarray, top: float, colour: str, width: float, sideways: bool = False
) -> None:
    """Draw values side by side around `at`, faint behind a box; those beyond `top` as triangles at the axis' end."""
    few = len(values) < MIN_INTERVAL
    place = side_by_side(at, len(values), width)
    beyond = np.abs(values) > top
    for name, marker, chosen in (("points", "o", ~beyond), (BEYOND, ">" if sideways else "^", beyond)):
        if not chosen.any() and marker != "o":
            continue
        x, y = place[chosen], np.clip(values[chosen], -top, top)
        look: Any = {"s": (16 if few else 5) * scale() ** 2, "alpha": 0.7 if few else 0.3, "linewidths": 0}
        axes.scatter(*((y, x) if sideways else (x, y)), marker=marker, color=colour, clip_on=False, zorder=2,
                     gid=f"{name}-{at:g}", rasterized=len(x) > 1_000, **look)  # fmt: skip


def beyond_words(axes: Axes, words: Words) -> str:
    """The sentence that a figure with such triangles needs, else nothing."""
    has_any = any(str(artist.get_gid()).startswith(BEYOND) for artist in axes.collections)
    return words("Triangles: values beyond the axis.") if has_any else ""


def side_by_side(at: float, n: int, width: float) -> np.ndarray:
    """Places of `n` points around `at`, float64[n], of which the outermost are less than `width` apart."""
    # the golden ratio's multiples spread the points evenly, the same way every time
    jitter = np.arange(n) * 0.6180339887 % 1 * width
    return at + jitter - (jitter.mean() if n else 0)


def shown_of(words: Words, shown: int, total: int) -> str:
    if shown == total:
        return words("Points: every record (n = {total:,}).", total=total)
    return words("Points: an even sample of {shown:,} of {total:,} records.", shown=shown, total=total)
