"""All figures by name: the one place that a new figure is entered in. Imports no plotting library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from arpo_entropy_recorder.analysis.choices import MIN_STEPS
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.media import SCREEN, Medium
from arpo_entropy_recorder.figures.words import ENGLISH, Words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from arpo_entropy_recorder.analysis.analysis import Analysis


class FigureSpec(NamedTuple):
    """A figure: `heading` and `alt` text for the report's page, `help` for the command line.

    `module`, relative to this package or absolute, has `plot(analysis: Analysis, words: Words) -> Figure`, which
    raises UserError where the records lack what the figure shows. It is imported when the figure is drawn.
    `parts` are those of the Analysis that it needs beside the rounds. `from_log` tells that the means of a
    console log are enough for it; of fewer than `min_steps` steps it is left out of the report. One with several
    `panels` is not drawn into axes of the caller's.
    """

    name: str
    heading: str
    alt: str
    help: str
    module: str
    parts: tuple[str, ...] = ()
    from_log: bool = False
    min_steps: int = 1
    panels: int = 1


# In the report's order.
FIGURES = {
    spec.name: spec
    for spec in (
        FigureSpec(
            "effect",
            "After / before over training",
            "Entropy after tool results over that before any, and its level, over the global steps of training.",
            "after / before over the global steps with its interval, and the level",
            ".effect",
            ("pairs",),
            min_steps=2,
            panels=2,
        ),
        FigureSpec(
            "rounds",
            "After each tool result",
            "Each record's entropy by tool-call round, with quantiles and mean.",
            "entropy of the first token by tool-call round: each record, quantiles, mean",
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
            "Entropies after tool results and before any over the global steps of training, with quantiles.",
            "after tool results and before any over the global steps; of a log each round's mean",
            ".steps",
            ("steps",),
            from_log=True,
            min_steps=2,
        ),
        FigureSpec(
            "heatmap",
            "By step and round",
            "Heat map of mean entropy by global step and round.",
            "each round's mean, step by round, as colours",
            ".heatmap",
            ("steps",),
            from_log=True,
            min_steps=2,
        ),
        FigureSpec(
            "tools",
            "By tool",
            "Entropy after each tool's results, with quantiles and mean.",
            "a row for each tool, highest median first",
            ".tools",
            ("tools",),
        ),
        FigureSpec(
            "window",
            "Within a segment",
            "Entropy of a segment's first tokens, after a tool result and at the start, with quantiles.",
            "over a segment's first tokens (needs entropy_window > 1)",
            ".window",
            ("positions",),
        ),
        FigureSpec(
            "branching",
            "Where the loop branched",
            "Entropy at places where a trajectory was branched and where none was, with quantiles.",
            "where the loop branched and where not (needs entropy_window = 20)",
            ".branching",
            ("branching",),
        ),
    )
}


# `rounds` as the guide describes it.
GUIDE = FigureSpec("guide", "", "", "", ".guide")


# Figures of several runs: a module with `plot_runs(runs, words) -> Figure`, where `runs` are analyses by name.
RUN_FIGURES = {"effect": ".effect", "rounds": ".compared_rounds"}


# What a run is drawn as unless a figure is chosen: one of few steps, and one of many.
SHORT, LONG = "rounds", "effect"


def default_figure(analysis: Analysis) -> str:
    """The name of the figure that suits the run; its `parts` have to hold those of LONG.

    LONG says something of MIN_STEPS steps or more, and of trajectories that have both entropies.
    """
    return LONG if len(analysis.rounds.steps) >= MIN_STEPS and analysis.pairs.by_round else SHORT


def spec_of(name: str) -> FigureSpec:
    """The figure `name`, a key of FIGURES or "guide"."""
    return GUIDE if name == GUIDE.name else FIGURES[name]


def draw(
    name: str,
    analysis: Analysis,
    words: Words = ENGLISH,
    medium: Medium = SCREEN,
    axes: Axes | None = None,
) -> Figure:
    """The figure `name`, a key of FIGURES or "guide"; raises UserError where the analysis lacks what it shows.

    With `axes` it is drawn into these, in the caller's text size; the caption is then their label and not drawn.
    Raises UserError for a figure of several panels.
    """
    from arpo_entropy_recorder.figures.style import styled

    spec = spec_of(name)
    if analysis.from_log and not spec.from_log:
        enough = " or ".join(other.name for other in FIGURES.values() if other.from_log)
        raise UserError(f"a log holds means alone, not records; choose {enough}")
    if axes is not None and spec.panels > 1:
        single = ", ".join(other.name for other in FIGURES.values() if other.panels == 1)
        raise UserError(f"{name} has {spec.panels} panels, not one; into axes of yours go {single}")
    with styled(words, medium, axes):
        return import_module(spec.module, __package__).plot(analysis, words)


def draw_runs(
    runs: Mapping[str, Sequence[Analysis]],
    words: Words = ENGLISH,
    medium: Medium = SCREEN,
    name: str = "effect",
) -> Figure:
    """The figure `name`, a key of RUN_FIGURES, of runs by their names; those of one name are seeds.

    Raises UserError where a run lacks what it shows.
    """
    from arpo_entropy_recorder.figures.style import styled

    with styled(words, medium):
        return import_module(RUN_FIGURES[name], __package__).plot_runs(runs, words)
