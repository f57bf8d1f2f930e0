"""All figures by name: the one place that a new figure is entered in. Imports no plotting library."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.words import ENGLISH, Words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from arpo_entropy_recorder.analysis.analysis import Analysis


class FigureSpec(NamedTuple):
    """A figure: `heading` and `alt` text for the report's page, `help` for the command line.

    `module`, relative to this package or absolute, has `plot(analysis: Analysis, words: Words) -> Figure`, which
    raises UserError where the records lack what the figure shows. It is imported when the figure is drawn.
    `parts` are those of the Analysis that it needs beside the rounds. `from_log` tells that the means of a
    console log are enough for it; of fewer than `min_steps` steps it is left out of the report.
    """

    name: str
    heading: str
    alt: str
    help: str
    module: str
    parts: tuple[str, ...] = ()
    from_log: bool = False
    min_steps: int = 1


# In the report's order.
FIGURES = {
    spec.name: spec
    for spec in (
        FigureSpec(
            "rounds",
            "After each tool result",
            "Each record's entropy by tool-call round, with mean and standard deviation.",
            "entropy of the first token by tool-call round: each record, mean and standard deviation",
            ".rounds",
        ),
        FigureSpec(
            "change",
            "Against the trajectory's own start",
            "Each record's entropy minus its trajectory's initial one, by round.",
            "against the trajectory's own entropy before any tool call (paired)",
            ".change",
            ("pairs",),
        ),
        FigureSpec(
            "steps",
            "Over training",
            "Each round's mean entropy over the global steps of training.",
            "each round's mean over the global steps of training (the figure for a log)",
            ".steps",
            ("steps",),
            from_log=True,
            min_steps=2,
        ),
        FigureSpec(
            "heatmap",
            "By step and round",
            "Heat map of mean entropy by global step and round.",
            "the same means, step by round, as colours",
            ".heatmap",
            ("steps",),
            from_log=True,
            min_steps=2,
        ),
        FigureSpec(
            "tools",
            "By tool",
            "Entropy by round and tool, with means.",
            "by round and tool",
            ".tools",
            ("tools",),
        ),
        FigureSpec(
            "window",
            "Within a segment",
            "Mean entropy of a segment's first tokens, after a tool result and at the start.",
            "how entropy fades over a segment's first tokens (needs entropy_window > 1)",
            ".window",
            ("positions",),
        ),
    )
}


def draw(name: str, analysis: Analysis, words: Words = ENGLISH) -> Figure:
    """The figure `name`, a key of FIGURES; raises UserError where the analysis lacks what it shows."""
    spec = FIGURES[name]
    if analysis.from_log and not spec.from_log:
        enough = " or ".join(other.name for other in FIGURES.values() if other.from_log)
        raise UserError(f"a log holds means alone, not records; choose {enough}")
    return import_module(spec.module, __package__).plot(analysis, words)
