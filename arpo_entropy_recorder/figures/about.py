"""What a picture says of its data: where it is from, what was left out, and whether it is made up."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from arpo_entropy_recorder.analysis.analysis import NO_RESULTS, Analysis
from arpo_entropy_recorder.analysis.choices import MEAN
from arpo_entropy_recorder.analysis.notes import notes
from arpo_entropy_recorder.errors import UserError, shorten
from arpo_entropy_recorder.figures.marks import beyond_words
from arpo_entropy_recorder.figures.media import SCREEN
from arpo_entropy_recorder.figures.style import (
    add_caption,
    add_title,
    are_given,
    figure_of,
    on_page,
    size_of,
)
from arpo_entropy_recorder.figures.words import Words

MOST_ROUNDS = 500


def finish(
    axes: Axes, analysis: Analysis, words: Words, title: str, caption: list[str], filled: bool = False
) -> Figure:
    """Give the axes' figure its title, its caption and, for simulated data, its mark; returns the figure.

    The caption's sentences, empty ones left out, are followed by what is to be known of the records. The mark
    lies behind the data, or in front of it where the axes are `filled`.
    """
    caption = [*caption, beyond_words(axes, words), *notes(analysis, words, with_steps=True)]
    return _conclude(axes, analysis.origins.simulated, words, title, caption, filled)


def finish_runs(
    axes: Axes, runs: Iterable[tuple[str, Sequence[Analysis]]], words: Words, title: str, caption: list[str]
) -> Figure:
    """`finish` for several runs: each one's name comes before what is to be known of its records."""
    caption, simulated = [*caption], False
    for name, analyses in runs:
        about = [line for analysis in analyses for line in notes(analysis, words, with_steps=True)]
        caption += [f"{shorten(name)}:", *about]
        simulated |= any(analysis.origins.simulated for analysis in analyses)
    return _conclude(axes, simulated, words, title, caption)


def title_by_round(analysis: Analysis, words: Words) -> str:
    """What a figure of entropies by round shows: first tokens, or means over the recorded window."""
    if analysis.selection.over == MEAN:
        return words("Mean entropy of the first tokens after each tool result")
    return words("Entropy of the first token after each tool result")


def shared_vocab_size(analyses: Iterable[Analysis]) -> int | None:
    """The vocabulary size of all of them, for an axis in nats; None where they differ or it is not known."""
    sizes = {analysis.vocab_size for analysis in analyses}
    return sizes.pop() if len(sizes) == 1 else None


def _conclude(
    axes: Axes, simulated: bool, words: Words, title: str, caption: list[str], filled: bool = False
) -> Figure:
    """`finish` with a whole caption, and told whether any of the data are simulated.

    On a page, title and caption are the figure's label and not in the picture. The caption of given axes is their
    label: there may be no room for it.
    """
    title = title + words(" (simulated)") if simulated else title
    text = " ".join(filter(None, caption))
    if are_given(axes):
        add_title(axes, title)
        axes.set_label(text)
    elif on_page():
        figure_of(axes).set_label(f"{title}. {text}")
    else:
        add_title(axes, title)
        add_caption(axes, caption, words.chinese is not None)
    if simulated:  # it must not pass for a measurement
        look: dict[str, Any] = {
            "fontsize": 56 * size_of(axes)[0] / SCREEN.width,
            "fontweight": words.title_weight,
            "color": "#B00020",
        }
        look |= {"alpha": 0.5, "zorder": 5} if filled else {"alpha": 0.2, "zorder": 0.5}
        axes.text(
            0.5, 0.5, "SIMULATED", transform=axes.transAxes, rotation=16, ha="center", va="center", **look
        )
    return figure_of(axes)


def require_results(analysis: Analysis) -> None:
    """Raise UserError where there are starts alone."""
    if not analysis.has_results:
        n = analysis.rounds.initial.n
        raise UserError(
            f"nothing to show: {NO_RESULTS}; from before one: {n:,}; did the policy call any tool?"
        )


def require_few_rounds(groups: Collection[int]) -> None:
    """Raise UserError where a box for each round takes minutes, and shows nothing."""
    if len(groups) > MOST_ROUNDS:
        raise UserError(
            f"{len(groups):,} rounds, of which it shows {MOST_ROUNDS} at most; choose heatmap or steps"
        )


ROUNDED = "Its numbers have three decimals: ± 0.0005."


def log_note(analysis: Analysis, words: Words) -> str:
    """What a log's means are means of, or nothing for records."""
    if not analysis.from_log:
        return ""
    # The trainer takes the metrics of a batch from the first worker's part of it.
    note = words(
        "From a console log: means of the first data-parallel worker's records alone, without their spread."
    )
    return f"{note} {words(ROUNDED)}" if analysis.is_rounded else note
