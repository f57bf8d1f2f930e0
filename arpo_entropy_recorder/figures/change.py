"""A trajectory with its own start: after-tool entropies minus the initial one, by round."""

from __future__ import annotations

from math import isfinite

from matplotlib.figure import Figure

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.pairs import PROMPTS, PairedTest
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.about import finish, require_few_rounds
from arpo_entropy_recorder.figures.marks import (
    points,
    points_shown,
    round_axis,
    rounds_that_fit,
    shown_of,
)
from arpo_entropy_recorder.figures.scales import lane_words, log_axis, nats_axis, nats_words, signed_scale_of
from arpo_entropy_recorder.figures.spread import box_words, boxes, spread_of
from arpo_entropy_recorder.figures.style import AFTER_TOOL, MUTED, new_axes, scale
from arpo_entropy_recorder.figures.words import Words

WIDTH = 0.56


def plot(analysis: Analysis, words: Words) -> Figure:
    """Draw after-tool entropy minus the trajectory's own initial entropy, by round."""
    pairs = analysis.pairs
    if not pairs.by_round:
        raise UserError("no record after a tool call has an initial entropy of its trajectory")
    require_few_rounds(pairs.by_round)
    test = pairs.test()
    groups = dict(sorted(pairs.by_round.items()))
    spreads = {number: spread_of([group]) for number, group in groups.items()}
    axes = new_axes()
    limits = signed_scale_of(groups.values())
    most, shown = max(points_shown(axes) // len(groups), 50), 0
    for number, group in groups.items():
        values = group.points(most)
        points(axes, number, values, limits.top, AFTER_TOOL, WIDTH)
        shown += len(values)
    boxes(axes, spreads, AFTER_TOOL, 0.5 * WIDTH, "")
    axes.axhline(0, color=MUTED, lw=1 * scale(), zorder=1)
    log_axis(axes, limits, words("Change of normalised entropy"), signed=True)
    nats_axis(axes, limits, analysis.vocab_size, words, signed=True)
    counts = {number: group.n for number, group in groups.items()}
    round_axis(axes, counts, words, *rounds_that_fit(axes, counts))
    caption = [
        *box_words(words, spreads.values()),
        shown_of(words, shown, sum(counts.values())),
        lane_words(limits, words, signed=True),
        nats_words(analysis.vocab_size, words),
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
