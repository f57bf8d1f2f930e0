"""Over training: the entropy after tool results over that before any tool call, and its level."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.ratio import A, B, N, fieller
from arpo_entropy_recorder.errors import UserError, shorten
from arpo_entropy_recorder.figures.about import finish, finish_runs, shared_vocab_size
from arpo_entropy_recorder.figures.marks import step_axis
from arpo_entropy_recorder.figures.scales import log_axis, nats_axis, scale_for
from arpo_entropy_recorder.figures.spread import MIN_SPREAD, marked
from arpo_entropy_recorder.figures.style import (
    AFTER_TOOL,
    INITIAL,
    INK,
    SERIES,
    add_legend,
    new_figure,
    scale,
)
from arpo_entropy_recorder.figures.words import Words

# A point of a line adds up a twentieth of the steps, and more where they have fewer prompts in all.
WINDOWS = 20
MIN_PROMPTS = 40
MAX_SHARE = 5  # but at most a fifth of the steps
DASHED = (0, (4, 2))
MAX_TICKS = 6
MIN_RATIO = 2.0**-10  # stands for 0, which a log axis has not


class Line(NamedTuple):
    """After / before over training with its interval, and the two means, float64[n] each; NaN where not defined."""

    steps: np.ndarray
    ratio: np.ndarray
    low: np.ndarray
    high: np.ndarray
    after: np.ndarray
    before: np.ndarray
    width: int


def plot(analysis: Analysis, words: Words) -> Figure:
    """Draw one run."""
    return plot_runs({"": [analysis]}, words)


def plot_runs(runs: Mapping[str, Sequence[Analysis]], words: Words) -> Figure:
    """Draw one or more runs by their names; several of one name are seeds, thin with their mean.

    Raises UserError where a run has no trajectory with both entropies.
    """
    figure = new_figure(height=5.6)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    several = len(runs) > 1
    named, drawn, dashed, seeds = [], [], False, False
    told: dict[str, list[Analysis]] = {}
    # Of one run the colours tell after from before, of several the runs.
    colours = SERIES * len(runs) if several else (INK,)
    for (name, analyses), colour in zip(runs.items(), colours, strict=False):
        lines = [_line_of(analysis, name) for analysis in analyses]
        drawn += lines
        if len(lines) > 1:
            seeds = True
            for line in lines:
                _draw(axes, below, line, colour, lw=0.7, alpha=0.7)
            main = _mean_of(lines)
        else:
            main = lines[0]
        _draw(axes, below, main, colour, band=len(lines) == 1)
        if several:
            named.append(_handle(shorten(name), color=colour))
        told[name] = []
        for analysis in analyses:
            validation = analysis.others.get("validation")
            if validation is not None and validation.pairs.sums[:, N].sum() >= MIN_SPREAD:
                line = _line_of(validation, name)
                drawn.append(line)
                _draw(axes, below, line, colour, ls=DASHED, lw=1.1)
                dashed = True
                # What is drawn is not left out.
                left_out = Counter({k: n for k, n in analysis.left_out.items() if k != validation.kind})
                analysis = replace(analysis, left_out=left_out)
            told[name].append(analysis)
    if not several:
        _series(below, main.steps, main.before, color=INITIAL, lw=1.8 * scale(), gid="before")
        named += [
            _handle(words("after a tool result"), color=AFTER_TOOL),
            _handle(words("before any tool call"), color=INITIAL),
        ]
    if dashed:
        named.append(_handle(words("validation"), color=INK, ls=DASHED))
    axes.axhline(1, color=INK, lw=1 * scale(), zorder=1.5)
    _ratio_axis(axes, drawn, words)
    every = [analysis for analyses in told.values() for analysis in analyses]
    _level_axis(below, drawn, every, several, words)
    _step_axis(below, drawn, words)
    axes.tick_params(labelbottom=False)
    add_legend(axes if several else below, named)
    widths = sorted({line.width for line in drawn})
    caption = [
        words("Above: sum of the prompts' mean entropies after tool results over that of their starts."),
        words("Each point adds up {width} steps.", width=" / ".join(map(str, widths)))
        if widths != [1]
        else "",
        words("Band: 95 % interval over prompts (Fieller); no ratio where it has no bound."),
        words("Thin: one seed each; thick: their geometric mean, without an interval.") if seeds else "",
        words("Below: the means over prompts; several runs: after tool results.")
        if several
        else words("Below: the means over prompts."),
    ]
    title = words("Entropy after tool results over that before any")
    if not several and not seeds:
        return finish(axes, every[0], words, title, caption)
    return finish_runs(axes, told.items(), words, title, caption)


def _line_of(analysis: Analysis, name: str) -> Line:
    """Add up the sums of neighbouring steps; a step without a prompt leaves a gap."""
    steps, sums = analysis.pairs.steps, analysis.pairs.sums
    total = sums[:, N].sum() if len(steps) else 0
    if total < MIN_SPREAD:
        found = f"prompts with an entropy before and after a tool result: {int(total)}"
        raise UserError(f"{name + ': ' if name else ''}{found}; there have to be {MIN_SPREAD}")
    width = _width(len(steps), float(np.median(sums[sums[:, N] > 0, N])))
    near = [sums[max(row - width // 2, 0) : row + width // 2 + 1].sum(0) for row in range(len(steps))]
    added = np.where(sums[:, N, None] > 0, near, 0)
    with np.errstate(invalid="ignore"):
        after, before = added[:, A] / added[:, N], added[:, B] / added[:, N]
    at, ratio, low, high, after, before = _with_gaps(steps, *fieller(added), after, before)
    return Line(at, ratio, low, high, after, before, width)


def _with_gaps(steps: np.ndarray, *values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Steps and values, float64[n + gaps] each: a NaN stands where steps are missing, so that no line crosses it."""
    apart = np.diff(steps)
    gaps = np.flatnonzero(apart > np.gcd.reduce(apart)) + 1 if len(apart) else np.empty(0, int)
    between = (steps[gaps - 1] + steps[gaps]) / 2
    return (
        np.insert(steps.astype(float), gaps, between),
        *(np.insert(value, gaps, np.nan) for value in values),
    )


def _width(steps: int, prompts: float) -> int:
    """How many neighbouring steps make a point: an odd number."""
    wanted = max(steps / WINDOWS, MIN_PROMPTS / prompts)
    return 2 * int(min(wanted, steps / MAX_SHARE) / 2) + 1


def _mean_of(lines: Sequence[Line]) -> Line:
    """The geometric mean over seeds, at the steps that all have."""
    steps = lines[0].steps
    for line in lines[1:]:
        steps = np.intersect1d(steps, line.steps)
    rows = [np.searchsorted(line.steps, steps) for line in lines]

    def mean(name: str) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.exp(
                np.mean(
                    [np.log(getattr(line, name)[row]) for line, row in zip(lines, rows, strict=True)], axis=0
                )
            )

    none = np.full(len(steps), np.nan)
    return Line(steps, mean("ratio"), none, none, mean("after"), mean("before"), lines[0].width)


def _draw(
    axes: Axes, below: Axes, line: Line, colour: str, lw: float = 1.8, band: bool = False, **look: Any
) -> None:
    """Draw the ratio on `axes` and the level on the axes `below`."""
    look |= {"color": colour, "lw": lw * scale()}
    if band:
        low = np.maximum(line.low, MIN_RATIO)
        axes.fill_between(line.steps, low, line.high, color=colour, alpha=0.18, lw=0, gid="interval")
    _series(axes, line.steps, np.maximum(line.ratio, MIN_RATIO), gid="ratio", **look)
    _series(
        below,
        line.steps,
        line.after,
        gid="after",
        **(look | {"color": AFTER_TOOL if colour == INK else colour}),
    )


def _handle(label: str, **look: Any) -> Line2D:
    return Line2D([], [], lw=1.8 * scale(), label=label, **look)


def _series(axes: Axes, steps: np.ndarray, values: np.ndarray, **look: Any) -> None:
    """A line with gaps; points where there are few or a value has no neighbour."""
    axes.plot(steps, values, marker="o", ms=3.5 * scale(), markevery=marked(values), zorder=3, **look)


def _ratio_axis(axes: Axes, lines: Sequence[Line], words: Words) -> None:
    """Powers of two around all ratios; an interval may end beyond."""
    ratios = np.concatenate([line.ratio for line in lines])
    ratios = np.maximum(ratios[~np.isnan(ratios)], MIN_RATIO)
    inner = np.concatenate([ratios, [1]])
    low = min(int(np.floor(np.log2(inner.min()) - 0.2)), -1)
    high = max(int(np.ceil(np.log2(inner.max()) + 0.2)), 1)
    every = max(1, -(-(high - low) // MAX_TICKS))
    powers = [power for power in range(low, high + 1) if power % every == 0]
    axes.set_yscale("log", base=2)
    axes.set_ylim(2.0**low, 2.0**high)
    axes.yaxis.set_major_locator(FixedLocator([2.0**power for power in powers]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: times(value)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel(words("After / before"))


def times(ratio: float) -> str:
    """A power of two as a factor: "1/4x", "2x"."""
    return f"{ratio:.0f}x" if ratio >= 1 else f"1/{1 / ratio:.0f}x"


def _level_axis(
    axes: Axes, lines: Sequence[Line], analyses: Sequence[Analysis], several: bool, words: Words
) -> None:
    shown = [line.after for line in lines] + ([] if several else [lines[0].before])
    values = np.concatenate(shown)
    limits = scale_for(float(np.min(values[values > 0], initial=1.0)), float(np.nanmax(values)))
    log_axis(axes, limits, words("Mean entropy"))
    nats_axis(axes, limits, shared_vocab_size(analyses), words)


def _step_axis(axes: Axes, lines: Sequence[Line], words: Words) -> None:
    steps = np.concatenate([line.steps for line in lines])
    first, last = int(steps.min()), int(steps.max())
    margin = max((last - first) * 0.03, 0.5)
    axes.set_xlim(first - margin, last + margin)
    step_axis(axes, first, last, words)
