"""Where the loop branched: the entropy at places that were branched against places that were not."""

from __future__ import annotations

from math import isnan

import numpy as np
from matplotlib.figure import Figure

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.branching import THRESHOLD, WEIGHT, agreement
from arpo_entropy_recorder.analysis.statistics import Group
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.about import finish
from arpo_entropy_recorder.figures.marks import points, points_shown, short_count, shown_of
from arpo_entropy_recorder.figures.scales import lane_words, log_axis, nats_axis, nats_words, scale_of
from arpo_entropy_recorder.figures.spread import box_words, boxes, spread_of
from arpo_entropy_recorder.figures.style import AFTER_TOOL, INITIAL, add_legend, new_axes, small
from arpo_entropy_recorder.figures.words import Words
from arpo_entropy_recorder.step_files.schema import READ_TOKENS

WIDTH = 0.56
APART = 2.4  # from the exact numbers to the loop's own


def plot(analysis: Analysis, words: Words) -> Figure:
    """Draw sums over 20 tokens of exact entropies and, where recorded, of the loop's own, by whether it branched."""
    branching = analysis.branching
    if not branching.branched:
        raise UserError(
            f"no step has windows of {READ_TOKENS} tokens; record with entropy_window = {READ_TOKENS}"
        )
    branched = branching.is_branched
    numbers = [(branching.column("exact"), AFTER_TOOL, words("exact"))]
    if not np.isnan(branching.column("own")).all():
        numbers.append((branching.column("own"), INITIAL, words("the loop's own")))
    axes = new_axes()
    groups: dict[float, Group] = {}
    for column, (values, _, _) in enumerate(numbers):
        for offset, chosen in enumerate((~branched, branched)):
            group = groups[APART * column + offset] = Group()
            group.add(values[chosen].astype(float))
    if not any(group.n for group in groups.values()):
        raise UserError("no trajectory went on after a tool result: nowhere could one be branched")
    spreads = {at: spread_of([group]) for at, group in groups.items()}
    limits = scale_of(spreads.values())
    most, shown, marks = max(points_shown(axes) // len(groups), 50), 0, []
    for column, (_, colour, label) in enumerate(numbers):
        places = [APART * column, APART * column + 1.0]
        for at in places:
            found = groups[at].points(most)
            points(axes, at, found, limits.top, colour, WIDTH)
            shown += len(found) if column == 0 else 0
        marks.append(boxes(axes, {at: spreads[at] for at in places}, colour, 0.5 * WIDTH, label))
    log_axis(axes, limits, words("Entropy, sum over {tokens} tokens", tokens=READ_TOKENS))
    nats_axis(axes, limits, analysis.vocab_size, words)
    names = (words("no branch"), words("branch"))
    labels = [
        f"{names[number % 2]}\nn = {short_count(group.n)}" for number, group in enumerate(groups.values())
    ]
    axes.set_xticks(list(groups), labels)
    axes.tick_params(axis="x", length=0, labelsize=small())
    axes.set_xlim(-0.6, max(groups) + 0.6)
    add_legend(axes, marks)
    caption = [
        words(
            "Places: segments before a tool result with which the trajectory went on; branch: another began there."
        ),
        *box_words(words, spreads.values()),
        shown_of(words, shown, groups[0].n + groups[1].n),
        words("The loop's own: of the log-probabilities that it was given.") if len(numbers) > 1 else "",
        *_agreement_words(analysis, words),
        lane_words(limits, words),
        nats_words(analysis.vocab_size, words),
    ]
    return finish(axes, analysis, words, words("Entropy where the loop branched and where not"), caption)


def _agreement_words(analysis: Analysis, words: Words) -> list[str]:
    """How the two numbers agree, as far as both are there."""
    found = agreement(analysis.branching)
    if not found.n:
        return []
    values = {"threshold": THRESHOLD, "weight": WEIGHT, "difference": found.difference}
    return [
        ""
        if isnan(found.correlation)
        else words("Rank correlation of the two: {rho:.2f} (n = {n:,}).", rho=found.correlation, n=found.n),
        words(
            "By ARPO's rule (probability {threshold}, weight {weight}) the probability of a branch differs by "
            "{difference:.2g} on average: the expected share of decisions that change under the same random draws.",
            **values,
        ),
    ]
