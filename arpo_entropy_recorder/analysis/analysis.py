"""Everything that figures and tables are made of, gathered in one pass over the steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np

from arpo_entropy_recorder.analysis.branching import Branching
from arpo_entropy_recorder.analysis.breakdown import ByPosition, BySteps, ByTools
from arpo_entropy_recorder.analysis.first_tokens import FirstTokens
from arpo_entropy_recorder.analysis.pairs import Pairs
from arpo_entropy_recorder.analysis.selection import OTHERS, Selection
from arpo_entropy_recorder.analysis.statistics import Origins, Rounds
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.step_files.decode import concatenate
from arpo_entropy_recorder.step_files.read import Step
from arpo_entropy_recorder.step_files.schema import FIELD

PARTS = ("steps", "tools", "positions", "pairs", "first_tokens", "branching")
# Records of different kinds are never mixed. In order of preference: a later one only where there is no earlier.
KINDS = ("sampled", "greedy", "validation")
# Why a record is left out.
NULL = "without an entropy (null)"
NO_RESULTS = "no record with an entropy is after a tool call (is_after_tool_call)"


@dataclass
class Analysis:
    """What the records of one kind hold; of `parts`, only those asked for are filled.

    `kind` is one of KINDS; `left_out` counts, by reason, the records that are not in here, and `others` has those of
    other kinds. `vocab_size` is what the entropies' logarithms are divided by, if known. `from_log` tells that there
    are no records but the means of `steps`, out of a training run's log, with three decimals if
    `is_rounded`.
    """

    parts: Collection[str] = PARTS
    kind: str = KINDS[0]
    from_log: bool = False
    is_rounded: bool = False
    vocab_size: int | None = None
    selection: Selection = field(default_factory=Selection)
    left_out: Counter[str] = field(default_factory=Counter)
    origins: Origins = field(default_factory=Origins)
    rounds: Rounds = field(default_factory=Rounds)
    steps: BySteps = field(default_factory=BySteps)
    tools: ByTools = field(default_factory=ByTools)
    positions: ByPosition = field(default_factory=ByPosition)
    pairs: Pairs = field(default_factory=Pairs)
    first_tokens: FirstTokens = field(default_factory=FirstTokens)
    branching: Branching = field(default_factory=Branching)
    others: dict[str, Analysis] = field(default_factory=dict)

    @property
    def has_results(self) -> bool:
        """True if any record with an entropy is after a tool call, or any mean of a log is."""
        return self.from_log or bool(self.rounds.by_round)

    def add(self, step: Step) -> None:
        """Take a step whose records are all of one kind; null entropies are among them, padding rows are not."""
        self.origins.add(step)
        self.rounds.add(step)
        for part in self.parts:
            getattr(self, part).add(step)


A = TypeVar("A", bound=Analysis)


def records(steps: Iterable[Step], selection: Selection | None = None) -> dict[str, np.ndarray]:
    """The columns of the records that `analyse` counts, null entropies included, with their step, [n] each.

    Raises UserError where there are none.
    """
    selection = selection or Selection()
    found: dict[str, list[dict[str, np.ndarray]]] = {}
    for step in selection.of(steps):
        for kind, part in _by_kind(step, Counter()):
            chosen = selection.without_others(part)
            number = np.full(len(chosen), chosen.global_step)
            found.setdefault(kind, []).append(chosen.columns | {"global_step": number})
    if not found:
        raise UserError("no record with an entropy is there; did the recorder run?")
    return concatenate(found[next(kind for kind in KINDS if kind in found)])


def analyse(
    steps: Iterable[Step],
    parts: Collection[str] = PARTS,
    selection: Selection | None = None,
    vocab_size: int | None = None,
) -> Analysis:
    """Read all steps once and return what the selected ones hold.

    Raises UserError where no record with an entropy is a trajectory's start or after a tool call.
    """
    return gather(steps, partial(Analysis, parts), selection, vocab_size)


def gather(
    steps: Iterable[Step],
    make: Callable[[], A],
    selection: Selection | None = None,
    vocab_size: int | None = None,
) -> A:
    """`analyse` with an Analysis of one's own: `make` is called once for each kind of record that is there."""
    found: dict[str, A] = {}
    taken: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    selection = selection or Selection()
    for step in selection.of(steps):
        for kind, part in _by_kind(step, left_out):
            taken[kind] += int(np.count_nonzero(~np.isnan(part.columns["entropy"])))
            if kind not in found:
                found[kind] = make()
                found[kind].kind, found[kind].selection = kind, selection
                found[kind].vocab_size = vocab_size
            found[kind].add(selection.blanked(part, found[kind].left_out))
    kind = next((kind for kind in KINDS if kind in found), KINDS[0])
    analysis = found.get(kind) or make()
    analysis.others = {name: other for name, other in found.items() if name != kind}
    del taken[kind]
    analysis.left_out = +(left_out + taken + analysis.left_out)
    if not analysis.has_results:
        if analysis.left_out[OTHERS]:
            raise UserError(
                "nothing to show: no record with an entropy is after the tool and rounds that were chosen; after "
                f"others: {analysis.left_out[OTHERS]:,}; check the tool's name"
            )
        if not analysis.rounds.initial.n:
            reasons = ", ".join(f"{reason}: {n:,}" for reason, n in sorted(analysis.left_out.items()))
            raise UserError(
                f"nothing to show: {NO_RESULTS}, or a trajectory's start{reasons and '; left out: ' + reasons}"
            )
    return analysis


def _by_kind(step: Step, left_out: Counter[str]) -> Iterator[tuple[str, Step]]:
    """The parts of a step whose records are of one kind, where they have an entropy; counts what is in none.

    A stale step, which a later run went back behind, is left out whole.
    """
    if step.stale:
        left_out["stale steps"] += 1
        return
    real, sampled = ~_flag(step, "padding"), _flag(step, "do_sample")
    null = np.isnan(step.columns["entropy"])
    left_out["padding rows"] += int(np.count_nonzero(~real))
    left_out[NULL] += int(np.count_nonzero(null & real))
    masks = {"validation": real} if step.validate else {"sampled": real & sampled, "greedy": real & ~sampled}
    for kind, mask in masks.items():
        if (mask & ~null).any():
            columns = {name: column[mask] for name, column in step.columns.items()}
            yield kind, step if mask.all() else replace(step, columns=columns)


def _flag(step: Step, name: str) -> np.ndarray:
    """A boolean column, bool[n]; what the schema says of a missing key where the step has none."""
    column = step.columns.get(name)
    return np.full(len(step), FIELD[name].absent) if column is None else column.astype(bool)
