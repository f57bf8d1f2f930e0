"""Over training: how entropies after tool results and before any spread, or the means that a log tells."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.statistics import ANY_ROUND, START, Group
from arpo_entropy_recorder.figures.about import finish, log_note
from arpo_entropy_recorder.figures.bins import Bins, bins_of
from arpo_entropy_recorder.figures.marks import points, step_axis
from arpo_entropy_recorder.figures.scales import (
    lane_words,
    log_axis,
    nats_axis,
    nats_words,
    scale_for,
    scale_of,
)
from arpo_entropy_recorder.figures.spread import (
    MARKED,
    MIN_SPREAD,
    Spread,
    band_words,
    bands,
    marked,
    spread_of,
)
from arpo_entropy_recorder.figures.style import (
    AFTER_TOOL,
    INITIAL,
    add_legend,
    figure_of,
    new_axes,
    scale,
)
from arpo_entropy_recorder.figures.words import Words

NAMED_ROUNDS = 6  # of more, a scale of colours takes the place of names
# Navy to teal: ordered in grey too, and far from round 0's orange, also for the colour-blind
SEQUENCE = ListedColormap(colormaps["YlGnBu_r"](np.linspace(0, 0.58, 256)))


def plot(analysis: Analysis, words: Words) -> Figure:
    """Draw medians with bands over the global steps, or of a log, which holds means alone, each round's mean."""
    steps = analysis.steps.numbers
    bins = bins_of(steps, MARKED)
    axes = new_axes()
    caption = (_means if analysis.from_log else _spreads)(axes, analysis, bins, words)
    margin = max((bins.edges[-1] - bins.edges[0]) * 0.03, 0.5)
    axes.set_xlim(steps[0] - margin, steps[-1] + margin)
    step_axis(axes, int(steps[0]), int(steps[-1]), words)
    caption += [bin_words(bins, words), log_note(analysis, words)]
    return finish(axes, analysis, words, words("Entropy after tool results over training"), caption)


def bin_words(bins: Bins, words: Words) -> str:
    """How many steps are drawn as one."""
    if bins.width == bins.spacing:
        return ""
    return words("Steps are drawn in bins of {width:,}.", width=bins.width)


def _spreads(axes: Axes, analysis: Analysis, bins: Bins, words: Words) -> list[str]:
    """All records after a tool result and those before any: medians with bands, or points where there are few."""
    after: list[list[Group]] = [[] for _ in range(bins.number)]
    start: list[list[Group]] = [[] for _ in range(bins.number)]
    for step, cells in analysis.steps.cells.items():
        at = int(bins.at(np.array(step)))
        for number, group in cells.items():
            (start if number == START else after)[at].append(group)
    drawn: list[Spread] = []
    named, few = [], []
    for groups, colour, style, label in (
        (after, AFTER_TOOL, "-", words("after a tool result")),
        (start, INITIAL, (0, (4, 2)), words("before any tool call")),
    ):
        spreads = [spread_of(group) for group in groups]
        if any(spread.n for spread in spreads):
            named.append(bands(axes, bins.centres, spreads, colour, style, label))
            drawn += spreads
            few += [
                (x, np.concatenate([group.points() for group in group_list]), colour)
                for x, spread, group_list in zip(bins.centres, spreads, groups, strict=True)
                if 0 < spread.n < MIN_SPREAD
            ]
    limits = scale_of(drawn, whole=False)
    for x, values, colour in few:
        points(axes, x, values, limits.top, colour, 0.0)
    log_axis(axes, limits, words("Normalised entropy"))
    nats_axis(axes, limits, analysis.vocab_size, words)
    add_legend(axes, named)
    return [
        *band_words(words, means=bins.number <= MARKED),
        words("Points: the records, where there are fewer than {least}.", least=MIN_SPREAD) if few else "",
        lane_words(limits, words),
        nats_words(analysis.vocab_size, words),
    ]


def _means(axes: Axes, analysis: Analysis, bins: Bins, words: Words) -> list[str]:
    """Each round's mean, round 0 dashed."""
    curves = analysis.steps.curves
    rounds = [number for number in curves if number != START]
    colours = SEQUENCE(np.linspace(0, 1, len(rounds)))
    looks: dict[int, dict[str, Any]] = {
        number: {"color": colour, "label": _name(number, words)}
        for number, colour in zip(rounds, colours, strict=True)
    }
    if START in curves:
        looks[START] = {"color": INITIAL, "ls": (0, (4, 2)), "label": words("before any tool call")}
    named, known = [], []
    for number, look in looks.items():
        mean = bins.means_of(curves[number])[0]
        known += mean[~np.isnan(mean)].tolist()
        named += axes.plot(bins.centres, mean, lw=1.6 * scale(), marker="o", ms=4 * scale(), gid="curve",
                           markevery=marked(mean), **look)  # fmt: skip
    limits = scale_for(min((value for value in known if value > 0), default=0), max(known))
    log_axis(axes, limits, words("Normalised entropy"))
    if len(rounds) > NAMED_ROUNDS:
        _colour_scale(axes, rounds, colours, words)
        named = named[len(rounds) :]
    if named:
        add_legend(axes, named)
    return [words("Lines: mean of each round's records at each step."), lane_words(limits, words)]


def _name(number: int, words: Words) -> str:
    return words("after a tool result") if number == ANY_ROUND else words("round {number}", number=number)


def _colour_scale(axes: Axes, rounds: list[int], colours: np.ndarray, words: Words) -> None:
    norm = BoundaryNorm(np.arange(len(rounds) + 1) - 0.5, len(rounds))
    bar = figure_of(axes).colorbar(ScalarMappable(norm, ListedColormap(colours)), ax=axes, pad=0.03)
    ticks = range(0, len(rounds), -(-len(rounds) // 15))
    bar.set_ticks(list(ticks), labels=[str(rounds[at]) for at in ticks], minor=False)
    bar.ax.minorticks_off()
    bar.set_label(words("Tool-call round"))
