"""All figures by name: what each needs of the records, and how it is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import partial

from matplotlib.figure import Figure

from arpo_entropy_recorder.analysis.breakdown import ByPosition, BySteps, ByTools
from arpo_entropy_recorder.analysis.pairs import Pairs
from arpo_entropy_recorder.analysis.selection import KINDS, accumulate
from arpo_entropy_recorder.analysis.statistics import Origins, Rounds
from arpo_entropy_recorder.figures.about import About
from arpo_entropy_recorder.figures.contrast import plot_change, plot_tools, plot_window
from arpo_entropy_recorder.figures.rounds import plot_rounds, require_after_tool
from arpo_entropy_recorder.figures.training import plot_heatmap, plot_steps
from arpo_entropy_recorder.figures.words import ENGLISH, Words
from arpo_entropy_recorder.reader import Step

PARTS = ("steps", "tools", "positions", "pairs")


@dataclass
class Analysis:
    """Everything that figures and tables are made of; of `parts`, only those asked for are filled.

    `kind` tells which of KINDS the records are.
    """

    parts: Collection[str] = PARTS
    kind: str = KINDS[0]
    origins: Origins = field(default_factory=Origins)
    rounds: Rounds = field(default_factory=Rounds)
    steps: BySteps = field(default_factory=BySteps)
    tools: ByTools = field(default_factory=ByTools)
    positions: ByPosition = field(default_factory=ByPosition)
    pairs: Pairs = field(default_factory=Pairs)

    def add(self, step: Step) -> None:
        self.origins.add(step)
        self.rounds.add(step)
        for part in self.parts:
            getattr(self, part).add(step)


FIGURES: dict[str, tuple[tuple[str, ...], Callable[[Analysis, About], Figure]]] = {
    "rounds": ((), lambda analysis, about: plot_rounds(analysis.rounds, about)),
    "steps": (("steps",), lambda analysis, about: plot_steps(analysis.steps.curves(), about)),
    "heatmap": (("steps",), lambda analysis, about: plot_heatmap(analysis.steps.curves(), about)),
    "tools": (("tools",), lambda analysis, about: plot_tools(analysis.tools, about)),
    "window": (("positions",), lambda analysis, about: plot_window(analysis.positions, about)),
    "change": (("pairs",), lambda analysis, about: plot_change(analysis.pairs, about)),
}


def analyse(steps: Iterable[Step], parts: Collection[str] = PARTS) -> tuple[Analysis, Counter[str]]:
    """Read all steps once; returns what they hold and what was left out (see `accumulate`).

    Raises UserError where no record is after a tool call.
    """
    analysis, left_out, kind = accumulate(steps, partial(Analysis, parts))
    analysis.kind = kind
    require_after_tool(analysis.rounds)
    return analysis, left_out


def draw(name: str, analysis: Analysis, left_out: Counter[str], words: Words = ENGLISH) -> Figure:
    """The figure `name`, a key of FIGURES, of what was read; raises UserError where the data lacks its part."""
    about = About(analysis.rounds.steps, left_out, analysis.origins, words, analysis.kind)
    return FIGURES[name][1](analysis, about)
