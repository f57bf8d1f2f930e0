"""One tool with another: how the entropies after their results spread, a row each."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.figures.about import finish
from arpo_entropy_recorder.figures.marks import points, points_shown, short_count, shown_of
from arpo_entropy_recorder.figures.scales import lane_words, log_axis, nats_axis, nats_words, scale_of
from arpo_entropy_recorder.figures.spread import MIN_SPREAD, box_words, boxes, spread_of
from arpo_entropy_recorder.figures.style import AFTER_TOOL, INITIAL, MUTED, new_axes, scale, small
from arpo_entropy_recorder.figures.words import Words

MAX_TOOLS = 30
NAME_WIDTH = 24
HEIGHT = 0.5


def plot(analysis: Analysis, words: Words) -> Figure:
    """Draw a row for each tool, highest median first; raises UserError where no tool is recorded."""
    totals = analysis.tools.totals
    if not totals:
        raise UserError("no record after a tool call names its tool (key 'tool')")
    called = sorted(totals, key=lambda tool: -totals[tool].n)[:MAX_TOOLS]
    spreads = {tool: spread_of([totals[tool]]) for tool in called}
    # Tools of too few records come last.
    called.sort(key=lambda tool: (spreads[tool].n < MIN_SPREAD, -spreads[tool].order))
    rows = [(middle_cut(tool), totals[tool], spreads[tool], AFTER_TOOL) for tool in called]
    start = analysis.rounds.initial
    if start.n:
        rows.insert(0, (words("before any tool call"), start, spread_of([start]), INITIAL))
    axes = new_axes(height=1.9 + 0.42 * max(len(rows), 4))
    limits = scale_of(spread for _, _, spread, _ in rows)
    most, shown = max(points_shown(axes) // len(rows), 30), 0
    for at, (_, group, spread, colour) in enumerate(rows):
        values = group.points(most)
        points(axes, at, values, limits.top, colour, HEIGHT, sideways=True)
        boxes(axes, {at: spread}, colour, 0.6 * HEIGHT, "", sideways=True)
        shown += len(values)
    if start.n:
        axes.axvline(rows[0][2].p50, color=INITIAL, lw=1.1 * scale(), ls=(0, (1, 2)), zorder=1)
    log_axis(axes, limits, words("Normalised entropy"), "x")
    nats_axis(axes, limits, analysis.vocab_size, words, "x")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a dollar sign in a name: given axes have texts of their own settings
    axes.tick_params(axis="y", length=0)
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for at, (_, group, _, _) in enumerate(rows):
        axes.annotate(f"n = {short_count(group.n)}", (1, at), (6 * scale(), 0), xycoords=beside,
                      textcoords="offset points", va="center", color=MUTED, fontsize=small())  # fmt: skip
    caption = [
        *box_words(words, spreads.values()),
        shown_of(words, shown, sum(group.n for _, group, _, _ in rows)),
        lane_words(limits, words),
        nats_words(analysis.vocab_size, words),
        words("Dotted: median before any tool call.") if start.n else "",
        words("Tools with fewer results, not shown: {n:,}.", n=len(totals) - len(called))
        if len(totals) > len(called)
        else "",
    ]
    return finish(axes, analysis, words, words("Entropy after a tool result, by tool"), caption)


def middle_cut(name: str, width: int = NAME_WIDTH) -> str:
    """`name` as it may be shown, without its middle where it is longer than `width` characters."""
    name = printable(name)
    half = (width - 1) // 2
    return name if len(name) <= width else f"{name[: width - 1 - half]}…{name[-half:]}"
