"""Which of a run's records are looked at, and which entropy of theirs."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from arpo_entropy_recorder.analysis.choices import FIRST, OVER
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.step_files.read import Step

# The reason of what is left out since another tool or other rounds were chosen.
OTHERS = "after other tools or rounds"


Span = tuple[int | None, int | None]


@dataclass(frozen=True)
class Selection:
    """Steps and rounds as (low, high), both ends count and None is open; one tool; validations; first token or mean.

    Records before any tool result are kept whatever tool and rounds are chosen, since trajectories are compared with
    their starts. `over` is "first", the first token's entropy, or "mean", that over the recorded window.
    """

    steps: Span | None = None
    tool: str | None = None
    rounds: Span | None = None
    validation: bool = False
    over: str = FIRST

    def __post_init__(self) -> None:
        if self.over not in OVER:
            raise UserError(f"over {self.over!r}: choose {' or '.join(OVER)}")

    def of(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Those of `steps` that are chosen, with the entropy that is. Raises UserError where none is."""
        seen: list[int] = []
        found = False
        for step in steps:
            if self.validation and not step.validate:
                continue
            seen.append(step.global_step)
            if _within(step.global_step, self.steps):
                found = True
                yield self._over(step)
        if not found:
            kind = "validation " if self.validation else ""
            have = f"steps {min(seen)} to {max(seen)} are" if seen else "none is"
            raise UserError(f"no {kind}steps{_span_words(self.steps)} there; {have}")

    def others(self, step: Step) -> np.ndarray:
        """True, bool[n], for the records after a tool result that are not chosen."""
        after = step.columns["is_after_tool_call"]
        left = np.zeros(len(step), bool)
        if self.tool is not None:
            tools = step.columns.get("tool")
            left |= after if tools is None else after & (tools != self.tool)
        if self.rounds is not None:
            rounds = step.columns["round"]
            low, high = self.rounds
            left |= after & ((rounds < (low or 0)) | (rounds > (np.inf if high is None else high)))
        return left

    def blanked(self, step: Step, left_out: Counter[str]) -> Step:
        """The step with the entropies of `others` taken away and counted; lineage stays. `others` is a column."""
        others = self.others(step)
        if not others.any():
            return step
        left_out[OTHERS] += int(np.count_nonzero(others & ~np.isnan(step.columns["entropy"])))
        columns = step.columns | {OTHERS: others}
        for name in ("entropy", "window"):
            if name in columns:
                columns[name] = columns[name].copy()
                columns[name][others] = np.nan
        return replace(step, columns=columns)

    def without_others(self, step: Step) -> Step:
        """The step without the records of `others`, for a table of records."""
        kept = ~self.others(step)
        return step if kept.all() else replace(step, columns={k: c[kept] for k, c in step.columns.items()})

    def _over(self, step: Step) -> Step:
        if self.over == FIRST:
            return step
        window = step.columns.get("window")
        if window is None:
            if not len(step):
                return step
            raise UserError(
                f"step {step.global_step} has no window, only first tokens; the mean needs a run that was recorded "
                "with entropy_window above 1"
            )
        with warnings.catch_warnings():  # a window of nulls has a null mean
            warnings.simplefilter("ignore", RuntimeWarning)
            return replace(step, columns=step.columns | {"entropy": np.nanmean(window, axis=1)})


def _within(number: int, span: Span | None) -> bool:
    low, high = span or (None, None)
    return (low is None or number >= low) and (high is None or number <= high)


def _span_words(span: Span | None) -> str:
    low, high = span or (None, None)
    if low is None and high is None:
        return ""
    if low is None or high is None:
        return f" from {low} on" if high is None else f" up to {high}"
    return f" {low}" if low == high else f" {low} to {high}"
