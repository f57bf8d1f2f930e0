"""By round: how the entropy of the first token after each tool result spreads."""

from __future__ import annotations

from matplotlib.figure import Figure

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.statistics import START
from arpo_entropy_recorder.figures.about import finish, require_few_rounds, require_results, title_by_round
from arpo_entropy_recorder.figures.marks import (
    points,
    points_shown,
    round_axis,
    rounds_that_fit,
    shown_of,
)
from arpo_entropy_recorder.figures.scales import lane_words, log_axis, nats_axis, nats_words, scale_of
from arpo_entropy_recorder.figures.spread import box_words, boxes, spread_of
from arpo_entropy_recorder.figures.style import AFTER_TOOL, INITIAL, add_legend, new_axes, scale
from arpo_entropy_recorder.figures.words import Words

WIDTH = 0.56


def plot(analysis: Analysis, words: Words) -> Figure:
    """Draw each round's records with their quantiles on a log axis, and those before any tool call at round 0."""
    rounds = analysis.rounds
    require_results(analysis)
    groups = rounds.with_start
    require_few_rounds(groups)
    spreads = {number: spread_of([group]) for number, group in groups.items()}
    axes = new_axes()
    limits = scale_of(spreads.values())
    most, shown, marks = max(points_shown(axes) // len(groups), 50), 0, []
    for chosen, colour, label in (
        ([number for number in groups if number != START], AFTER_TOOL, words("after a tool result")),
        ([START] if rounds.initial.n else [], INITIAL, words("before any tool call")),
    ):
        for number in chosen:
            values = groups[number].points(most)
            points(axes, number, values, limits.top, colour, WIDTH)
            shown += len(values)
        if chosen:
            kept = {number: spreads[number] for number in chosen}
            marks.append(boxes(axes, kept, colour, 0.5 * WIDTH, label))
    if dotted := spreads.get(START):
        axes.axhline(dotted.p50, color=INITIAL, lw=1.1 * scale(), ls=(0, (1, 2)), zorder=1)
    log_axis(axes, limits, words("Normalised entropy"))
    nats_axis(axes, limits, analysis.vocab_size, words)
    counts = {number: group.n for number, group in groups.items()}
    round_axis(axes, counts, words, *rounds_that_fit(axes, counts))
    add_legend(axes, marks)
    caption = [
        *box_words(words, spreads.values()),
        shown_of(words, shown, sum(counts.values())),
        lane_words(limits, words),
        nats_words(analysis.vocab_size, words),
        words("Dotted: median before any tool call.") if rounds.initial.n else "",
        words("Under the rounds: their numbers of records."),
    ]
    return finish(axes, analysis, words, title_by_round(analysis, words), caption)
