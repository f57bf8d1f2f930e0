"""Further into a segment: how the entropies of its first tokens spread."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.about import finish
from arpo_entropy_recorder.figures.marks import whole_ticks
from arpo_entropy_recorder.figures.scales import lane_words, log_axis, nats_axis, nats_words, scale_of
from arpo_entropy_recorder.figures.spread import band_words, bands, spread_of
from arpo_entropy_recorder.figures.style import AFTER_TOOL, INITIAL, add_legend, new_axes
from arpo_entropy_recorder.figures.words import Words


def plot(analysis: Analysis, words: Words) -> Figure:
    """Draw the entropies of a segment's first k tokens, after a tool result and at the answer's start."""
    positions = analysis.positions
    if not any(group.n for group in (*positions.after_tool, *positions.initial)):
        raise UserError("no record has a window; record with entropy_window = 20")
    axes = new_axes()
    at = np.arange(1, len(positions.after_tool) + 1)
    lines, drawn = [], []
    for groups, label, colour, style in (
        (positions.after_tool, words("after a tool result"), AFTER_TOOL, "-"),
        (positions.initial, words("at the answer's start"), INITIAL, "--"),
    ):
        if any(group.n for group in groups):
            spreads = [spread_of([group]) for group in groups]
            label = f"{label} (n = {groups[0].n:,})"
            lines.append(bands(axes, at[: len(spreads)], spreads, colour, style, label))
            drawn += spreads
    limits = scale_of(drawn, whole=False)
    log_axis(axes, limits, words("Normalised entropy"))
    nats_axis(axes, limits, analysis.vocab_size, words)
    axes.set_xticks(whole_ticks(1, len(at)))
    axes.set_xlabel(words("Token of the segment (1: the first)"))
    add_legend(axes, lines)
    caption = [
        words("n: segments; each token's numbers are those of the segments that reach it."),
        *band_words(words),
        lane_words(limits, words),
        nats_words(analysis.vocab_size, words),
    ]
    return finish(axes, analysis, words, words("Entropy of a segment's first tokens"), caption)
