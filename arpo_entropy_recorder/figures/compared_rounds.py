"""By round: how the entropies of several runs spread, beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.errors import shorten
from arpo_entropy_recorder.figures.about import (
    finish_runs,
    require_few_rounds,
    shared_vocab_size,
    title_by_round,
)
from arpo_entropy_recorder.figures.marks import round_axis, rounds_that_fit
from arpo_entropy_recorder.figures.scales import lane_words, log_axis, nats_axis, nats_words, scale_of
from arpo_entropy_recorder.figures.spread import box_words, boxes, spread_of
from arpo_entropy_recorder.figures.style import SERIES, add_legend, new_figure
from arpo_entropy_recorder.figures.words import Words

WIDTH = 0.8  # of all boxes of a round


def plot_runs(runs: Mapping[str, Sequence[Analysis]], words: Words) -> Figure:
    """Draw a box for each run at each round; seeds of one name have a box each, of one colour."""
    every = [(name, analysis) for name, seeds in runs.items() for analysis in seeds]
    colours = dict(zip(runs, SERIES * len(runs), strict=False))
    places = (np.arange(len(every)) - (len(every) - 1) / 2) * WIDTH / len(every)
    groups = [analysis.rounds.with_start for _, analysis in every]
    require_few_rounds(set().union(*groups))
    spreads = [{number: spread_of([group]) for number, group in of_run.items()} for of_run in groups]
    axes = new_figure().add_subplot()
    limits = scale_of((spread for of_run in spreads for spread in of_run.values()), whole=False)
    marks = {}
    for (name, _), place, of_run in zip(every, places.tolist(), spreads, strict=True):
        moved = {number + place: spread for number, spread in of_run.items()}
        marks[name] = boxes(axes, moved, colours[name], 0.8 * WIDTH / len(every), shorten(name))
    log_axis(axes, limits, words("Normalised entropy"))
    vocab_size = shared_vocab_size(analysis for _, analysis in every)
    nats_axis(axes, limits, vocab_size, words)
    counts = {
        number: sum(of_run[number].n for of_run in groups if number in of_run)
        for number in sorted(set().union(*groups))
    }
    round_axis(axes, counts, words, *rounds_that_fit(axes, counts))
    add_legend(axes, list(marks.values()))
    caption = [
        *box_words(words, [spread for of_run in spreads for spread in of_run.values()]),
        lane_words(limits, words),
        nats_words(vocab_size, words),
        words("Under the rounds: their numbers of records."),
    ]
    title = title_by_round(every[0][1], words)
    return finish_runs(axes, [(name, [analysis]) for name, analysis in every], words, title, caption)
