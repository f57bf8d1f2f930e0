"""Further into a segment: the mean entropies of its first tokens."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.about import finish
from arpo_entropy_recorder.figures.marks import entropy_axis, interval_words, whole_ticks
from arpo_entropy_recorder.figures.style import AFTER_TOOL, INITIAL, add_legend, new_figure, styled
from arpo_entropy_recorder.figures.words import Words


def plot(analysis: Analysis, words: Words) -> Figure:
    """Draw the mean entropy of a segment's first k tokens, after a tool result and at the answer's start."""
    positions = analysis.positions
    if not any(group.n for group in (*positions.after_tool, *positions.initial)):
        raise UserError("no record has a window; record with entropy_window = 20")
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
        return finish(axes, analysis, words, words("How entropy fades within a segment"), caption)
