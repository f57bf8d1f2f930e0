"""What a page is made of, gathered in the one pass over a run's steps."""

from __future__ import annotations

from dataclasses import dataclass, field

from arpo_entropy_recorder.analysis.analysis import KINDS, Analysis
from arpo_entropy_recorder.report.branches import BranchScores
from arpo_entropy_recorder.report.histograms import Histograms
from arpo_entropy_recorder.report.join import Join
from arpo_entropy_recorder.report.sample import Sample
from arpo_entropy_recorder.step_files.read import Step


@dataclass
class Gathered(Analysis):
    """The analysis, and what the page's script asks beside it; `join` is the run's dump, if it is given."""

    histograms: Histograms = field(default_factory=Histograms)
    sample: Sample = field(default_factory=lambda: Sample(0))
    branches: BranchScores = field(default_factory=BranchScores)
    join: Join | None = None

    def add(self, step: Step) -> None:
        super().add(step)
        self.histograms.add(step)
        # A trainer dumps what it trains on; validations, unless asked for, and greedy calls are not in there.
        is_dumped = self.kind == KINDS[0] or self.selection.validation
        dumped = self.join.of(step) if self.join is not None and is_dumped else {}
        self.sample.add(step, dumped)
        self.branches.add(step, dumped)
