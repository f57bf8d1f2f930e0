"""What is counted: prompts at steps, each with its mean entropy after tool results and before any."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from arpo_entropy_recorder.analysis.ratio import six_sums
from arpo_entropy_recorder.step_files.read import Step
from arpo_entropy_recorder.step_files.rows import number_rows


@dataclass
class PromptMeans:
    """A and B (see `ratio`) of each prompt at each step. Steps may come in any order, each once."""

    _steps: list[np.ndarray] = field(default_factory=list, repr=False)
    _after: list[np.ndarray] = field(default_factory=list, repr=False)
    _before: list[np.ndarray] = field(default_factory=list, repr=False)
    _names: list[np.ndarray] = field(default_factory=list, repr=False)

    def add(
        self, global_step: int, prompt: np.ndarray, names: np.ndarray, after: np.ndarray, before: np.ndarray
    ) -> None:
        """Take a step's trajectories: the number of their prompt, int64[n], its name or None, and both entropies."""
        if not len(prompt):
            return
        count = np.bincount(prompt)
        self._after.append(np.bincount(prompt, after) / count)
        self._before.append(np.bincount(prompt, before) / count)
        self._names.append(names[np.unique(prompt, return_index=True)[1]])
        self._steps.append(np.full(len(count), global_step))

    def __len__(self) -> int:
        return sum(map(len, self._steps))

    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Global step, int64[n], in order, A and B, float64[n] each, and the prompt's name or None, object[n]."""
        steps = np.concatenate([np.empty(0, int), *self._steps])
        order = np.argsort(steps, kind="stable")
        after, before = (
            np.concatenate([np.empty(0), *values])[order] for values in (self._after, self._before)
        )
        return steps[order], after, before, np.concatenate([np.empty(0, object), *self._names])[order]

    def sums(self, steps: np.ndarray) -> np.ndarray:
        """The six sums of each of `steps`, int64[steps] in order, float64[steps, 6]."""
        of, after, before, _ = self.columns()
        return six_sums(after, before, np.searchsorted(steps, of), len(steps))


def prompts(step: Step, records: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number the prompts of `records`, int64[n] indices; returns int64[n], their names, and which are known, bool[n].

    A prompt is known by its name (`prompt`), or else by the call, data-parallel rank and batch row; a record that
    tells neither has its own. A name is str or None, object[n].
    """
    none = np.full(len(step), -1)
    call, rank = (column[records] for column in step.batch)
    row = step.columns.get("prompt_idx", none)[records]
    column = step.columns.get("prompt")
    names = np.full(len(records), None, object) if column is None else column[records]
    numbers: dict[str, int] = {}
    named = np.array([-1 if name is None else numbers.setdefault(name, len(numbers)) for name in names], int)
    known = row >= 0
    row = np.where(known, row, -1 - np.arange(len(row)))
    keys = np.where(
        named >= 0, np.stack([named, np.full_like(named, -2), np.full_like(named, -2)]), [call, rank, row]
    )
    return number_rows(keys)[1], names, known | (named >= 0)
