"""All figures by name: what each needs of the records, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.figures.about import About
from arpo_entropy_recorder.figures.contrast import plot_change, plot_tools, plot_window
from arpo_entropy_recorder.figures.rounds import plot_rounds
from arpo_entropy_recorder.figures.training import plot_heatmap, plot_steps
from arpo_entropy_recorder.figures.words import ENGLISH, Words

FIGURES: dict[str, tuple[tuple[str, ...], Callable[[Analysis, About], Figure]]] = {
    "rounds": ((), lambda analysis, about: plot_rounds(analysis.rounds, about)),
    "steps": (("steps",), lambda analysis, about: plot_steps(analysis.steps.curves, about)),
    "heatmap": (("steps",), lambda analysis, about: plot_heatmap(analysis.steps.curves, about)),
    "tools": (("tools",), lambda analysis, about: plot_tools(analysis.tools, about)),
    "window": (("positions",), lambda analysis, about: plot_window(analysis.positions, about)),
    "change": (("pairs",), lambda analysis, about: plot_change(analysis.pairs, about)),
}


def draw(name: str, analysis: Analysis, words: Words = ENGLISH) -> Figure:
    """The figure `name`, a key of FIGURES, of what was read; raises UserError where the data lacks its part."""
    return FIGURES[name][1](analysis, About(analysis, words))
