"""One tool with another: the entropies after their results, side by side in each round."""

from __future__ import annotations

from matplotlib.figure import Figure

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.errors import UserError, shorten
from arpo_entropy_recorder.figures.about import finish
from arpo_entropy_recorder.figures.marks import (
    POINTS_SHOWN,
    cloud,
    entropy_axis,
    interval_words,
    means,
    round_axis,
    round_width,
    shown_of,
)
from arpo_entropy_recorder.figures.style import MARKERS, SERIES, add_legend, new_figure, styled
from arpo_entropy_recorder.figures.words import Words


def plot(analysis: Analysis, words: Words) -> Figure:
    """Draw the entropies of each round tool by tool, side by side; raises UserError where no tool is recorded."""
    tools = analysis.tools
    if not tools.groups:
        raise UserError("no record after a tool call names its tool (key 'tool')")
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
        return finish(axes, analysis, words, words("Entropy after a tool result, by tool"), caption)
