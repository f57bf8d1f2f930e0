"""Figures that compare: one tool with another, tokens further into a segment, and a trajectory with its start."""

from __future__ import annotations

from math import isfinite

import numpy as np
from matplotlib.figure import Figure

from arpo_entropy_recorder.analysis.breakdown import ByPosition, ByTools
from arpo_entropy_recorder.analysis.pairs import PROMPTS, PairedTest, Pairs
from arpo_entropy_recorder.errors import UserError, shorten
from arpo_entropy_recorder.figures.about import About
from arpo_entropy_recorder.figures.marks import (
    cloud,
    entropy_axis,
    interval_words,
    means,
    round_axis,
    round_width,
    shown_of,
    whole_ticks,
)
from arpo_entropy_recorder.figures.rounds import POINTS_SHOWN
from arpo_entropy_recorder.figures.style import (
    AFTER_TOOL,
    INITIAL,
    MARKERS,
    MUTED,
    SERIES,
    add_legend,
    new_figure,
    styled,
)
from arpo_entropy_recorder.figures.words import Words


def plot_tools(tools: ByTools, about: About) -> Figure:
    """Draw the entropies of each round tool by tool, side by side; raises UserError where no tool is recorded."""
    if not tools.groups:
        raise UserError("--figure tools: no record after a tool call names its tool (key 'tool')")
    words = about.words
    names = sorted(tools.groups, key=lambda tool: -tools.totals[tool].n)
    counts: dict[int, int] = {}
    for groups in tools.groups.values():
        for number, group in groups.items():
            counts[number] = counts.get(number, 0) + group.n
    lane = 0.8 / len(names)
    with styled(words):
        axes = new_figure(round_width(len(counts) * min(len(names), 3))).add_subplot()
        most = max(POINTS_SHOWN // sum(map(len, tools.groups.values())), 30)
        shown, marks = 0, []
        for index, tool in enumerate(names):
            colour, marker = SERIES[index % len(SERIES)], MARKERS[index % len(MARKERS)]
            shift = (index - (len(names) - 1) / 2) * lane
            placed = {number + shift: group for number, group in sorted(tools.groups[tool].items())}
            shown += sum(
                cloud(axes, x, group, most, colour, lane * 0.7, marker) for x, group in placed.items()
            )
            label = f"{shorten(tool)} (n = {tools.totals[tool].n:,})"
            marks.append(means(axes, placed, label, marker, colour, bar="interval"))
        dashed = entropy_axis(axes, words)
        round_axis(axes, counts, words)
        add_legend(axes, marks)
        caption = [
            shown_of(words, shown, sum(counts.values())),
            words("Marks: mean."),
            interval_words(words, words("Bar")),
            dashed,
        ]
        return about.finish(axes, words("Entropy after a tool result, by tool"), caption)


def plot_window(positions: ByPosition, about: About) -> Figure:
    """Draw the mean entropy of a segment's first k tokens, after a tool result and at the answer's start."""
    if not any(group.n for group in positions.after_tool):
        raise UserError(
            "--figure window: no record after a tool call has a window; record with entropy_window = 20"
        )
    words = about.words
    with styled(words):
        axes = new_figure().add_subplot()
        lines = []
        for groups, label, colour, marker, style in (
            (positions.after_tool, words("after a tool result"), AFTER_TOOL, "o", "-"),
            (positions.initial, words("at the answer's start"), INITIAL, "D", "--"),
        ):
            known = [(at, group.mean, *group.interval()) for at, group in enumerate(groups, 1) if group.n]
            if known:
                at, mean, low, high = np.array(known).T
                label = f"{label} (n = {groups[0].n:,})"
                lines += axes.plot(
                    at, mean, color=colour, marker=marker, ls=style, ms=5, lw=1.6, label=label, gid="curve"
                )
                axes.fill_between(at, low, high, color=colour, alpha=0.22, lw=0)
        dashed = entropy_axis(axes, words)
        axes.set_xticks(whole_ticks(1, len(positions.after_tool)))
        axes.set_xlabel(words("Token of the segment (1: the first)"))
        add_legend(axes, lines)
        caption = [
            words("Lines: mean over segments that reach this token; n: segments in all."),
            interval_words(words, words("Band")),
            dashed,
        ]
        return about.finish(axes, words("How entropy fades within a segment"), caption)


def plot_change(pairs: Pairs, about: About) -> Figure:
    """Draw after-tool entropy minus the trajectory's own initial entropy, by round."""
    if not pairs.by_round:
        raise UserError(
            "--figure change: no record after a tool call has an initial entropy of its trajectory"
        )
    words, test = about.words, pairs.test()
    groups = dict(sorted(pairs.by_round.items()))
    counts = {number: group.n for number, group in groups.items()}
    with styled(words):
        axes = new_figure(round_width(len(groups))).add_subplot()
        most = max(POINTS_SHOWN // len(groups), 50)
        shown = sum(cloud(axes, number, group, most, AFTER_TOOL) for number, group in groups.items())
        means(axes, groups, "", "o", AFTER_TOOL, bar="interval")
        axes.axhline(0, color=MUTED, lw=1, zorder=1)
        round_axis(axes, counts, words)
        points = np.concatenate([group.points() for group in groups.values()])
        low, high = np.floor(min(points.min(), 0) * 5) / 5, np.ceil(max(points.max(), 0) * 5) / 5
        axes.set(ylim=(low, high if high > low else 0.2), ylabel=words("Change of normalised entropy"))
        caption = [
            shown_of(words, shown, sum(counts.values())),
            words("Marks: mean."),
            interval_words(words, words("Bar")),
            *_test_words(test, words),
            words("Records without a known start: {n:,}.", n=pairs.unpaired) if pairs.unpaired else "",
        ]
        return about.finish(axes, words("Change of entropy against the trajectory's own start"), caption)


def _test_words(test: PairedTest, words: Words) -> list[str]:
    """The paired test, as far as it is defined."""
    if test.over == PROMPTS:
        counts = {"n": test.n, "trajectories": test.trajectories}
        over = words("Mean change over prompts (n = {n:,}; trajectories: {trajectories:,})", **counts)
    else:
        over = words("Mean change over trajectories (n = {n:,})", n=test.n)
    parts = [words("{over}: {change:+.3f}.", over=over, change=test.change)]
    if isfinite(test.low):
        parts.append(words("Its 95 % interval: {low:+.3f} to {high:+.3f}.", low=test.low, high=test.high))
    if isfinite(test.p):
        strength = {"effect": test.effect, "p": test.p_words}
        parts.append(words("d_z = {effect:.2f}, Wilcoxon signed-rank p {p}.", **strength))
    return parts
