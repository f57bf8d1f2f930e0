"""The entropy-increase figure: first-token entropy after each tool result, by round."""

from __future__ import annotations

from matplotlib.figure import Figure

from arpo_entropy_recorder.analysis.analysis import NO_RESULTS, Analysis
from arpo_entropy_recorder.analysis.statistics import START
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.about import finish
from arpo_entropy_recorder.figures.marks import (
    POINTS_SHOWN,
    SHORT_COUNTS,
    cloud,
    entropy_axis,
    means,
    round_axis,
    round_width,
    shown_of,
)
from arpo_entropy_recorder.figures.style import AFTER_TOOL, INITIAL, add_legend, new_figure, styled
from arpo_entropy_recorder.figures.words import Words


def plot(analysis: Analysis, words: Words) -> Figure:
    """Draw every record as a point, and each round's mean with a bar of one standard deviation.

    The entropy before any tool result stands at round 0 as an orange diamond.
    """
    rounds = analysis.rounds
    if not analysis.has_results:
        raise UserError(
            f"nothing to show: {NO_RESULTS}; from before one: {rounds.initial.n:,}; did the policy call any tool?"
        )
    groups = dict(sorted(rounds.by_round.items()))
    everything = {START: rounds.initial, **groups} if rounds.initial.n else groups
    with styled(words):
        axes = new_figure(round_width(len(everything))).add_subplot()
        most = max(POINTS_SHOWN // len(everything), 50)
        shown = sum(cloud(axes, number, group, most, AFTER_TOOL) for number, group in groups.items())
        marks = [means(axes, groups, words("after a tool result (mean ± sd)"), "o", AFTER_TOOL)]
        if rounds.initial.n:
            shown += cloud(axes, START, rounds.initial, most, INITIAL)
            label = words("before any tool call (mean ± sd)")
            marks.append(means(axes, {START: rounds.initial}, label, "D", INITIAL))
            axes.axhline(rounds.initial.mean, color=INITIAL, lw=1, ls=(0, (1, 2)), zorder=1)
        dashed = entropy_axis(axes, words)
        round_axis(axes, {number: group.n for number, group in everything.items()}, words)
        add_legend(axes, marks)
        caption = [
            shown_of(words, shown, rounds.after_tool.n + rounds.initial.n),
            words("Marks and bars: mean ± 1 standard deviation (n - 1) of all records of each round."),
            words("Entropy in nats over ln(vocabulary size)."),
            dashed,
            words("Dotted: mean before any tool call.") if rounds.initial.n else "",
            words("Under each round: its number of records.") if len(everything) > SHORT_COUNTS else "",
        ]
        return finish(
            axes, analysis, words, words("Entropy of the first token after each tool result"), caption
        )
