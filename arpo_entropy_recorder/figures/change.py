"""A trajectory with its own start: after-tool entropies minus the initial one, by round."""

from __future__ import annotations

from math import isfinite

import numpy as np
from matplotlib.figure import Figure

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.pairs import PROMPTS, PairedTest
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.about import finish
from arpo_entropy_recorder.figures.marks import (
    POINTS_SHOWN,
    cloud,
    interval_words,
    means,
    round_axis,
    round_width,
    shown_of,
)
from arpo_entropy_recorder.figures.style import AFTER_TOOL, MUTED, new_figure, styled
from arpo_entropy_recorder.figures.words import Words


def plot(analysis: Analysis, words: Words) -> Figure:
    """Draw after-tool entropy minus the trajectory's own initial entropy, by round."""
    pairs = analysis.pairs
    if not pairs.by_round:
        raise UserError("no record after a tool call has an initial entropy of its trajectory")
    test = pairs.test()
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
        return finish(
            axes, analysis, words, words("Change of entropy against the trajectory's own start"), caption
        )


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
