"""Which steps of a run are in memory, and which of them may get further records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from arpo_entropy_recorder.step_files.encode import encode_records
from arpo_entropy_recorder.step_files.names import StepKey


@dataclass
class StepInMemory:
    """A step's calls, as text where they are encoded already, else as columns.

    waits: not all are in a file yet. unwritten: number of records that are in none.
    """

    key: StepKey
    texts: list[list[bytes]] = field(default_factory=list)
    columns: list[Mapping[str, Any]] = field(default_factory=list)
    waits: bool = False
    unwritten: int = 0

    def encode(self, constants: Mapping[str, int]) -> Exception | None:
        """Turn the columns into text; returns the last error of those that cannot be, which are dropped.

        `constants` are keys of all records beside the step and the number of their call.
        """
        error = None
        while self.columns:
            of_call = {"global_step": self.key.global_step, "call": len(self.texts), **constants}
            columns = self.columns.pop(0)
            try:
                self.texts.append(encode_records(columns, of_call))
            except Exception as bad_columns:  # of any kind: the other calls' records are not to go with them
                error = bad_columns
        return error

    def written(self) -> None:
        """All of it is in a file."""
        self.waits, self.unwritten = False, 0


class StepMemory:
    """The steps that wait for a file, and those that may go on: the latest, and `late_steps` in memory before it.

    `latest` is the latest step by kind: training steps (False) and validations (True) are counted apart.
    """

    def __init__(self, late_steps: int) -> None:
        self._late_steps = late_steps
        self._steps: dict[StepKey, StepInMemory] = {}
        self.latest: dict[bool, StepKey] = {}

    @property
    def waiting(self) -> list[StepInMemory]:
        """The steps with records that are not in a file yet, the oldest first."""
        return [step for step in self._steps.values() if step.waits]

    @property
    def newest(self) -> StepKey | None:
        """The latest step of either kind."""
        return max(self.latest.values(), default=None)

    def takes(self, key: StepKey) -> bool:
        """Whether records of this step go on with the run: the step is the latest, a new one, or among the kept."""
        return key.validate not in self.latest or key >= self._kept(key.validate)[0]

    def add(self, key: StepKey, columns: Mapping[str, Any]) -> None:
        """Add a call's records to a step that `takes` is true for."""
        latest = self.latest.get(key.validate)
        if latest is None or key > latest:
            self.latest[key.validate] = key
            self._steps.pop(key, None)
            self.forget_written()
        step = self._steps.setdefault(key, StepInMemory(key))
        step.columns.append(columns)
        step.waits = True
        step.unwritten += len(next(iter(columns.values()), ()))

    def drop_oldest(self) -> int:
        """Drop the oldest step that waits; returns how many of its records are in no file."""
        return self._steps.pop(self.waiting[0].key).unwritten

    def forget_written(self) -> None:
        """Drop written steps, except those that a further call may add to."""
        kept = {key for validate in self.latest for key in self._kept(validate)}
        for key, step in list(self._steps.items()):
            if not step.waits and key not in kept:
                del self._steps[key]

    def start_over(self) -> None:
        """Let the next step be of any number. Those that wait stay."""
        self.latest.clear()

    def _kept(self, validate: bool) -> list[StepKey]:
        """The latest step of a kind, and up to `late_steps` in memory before it, in order."""
        latest = self.latest[validate]
        earlier = sorted(key for key in self._steps if key.validate == validate and key < latest)
        return [*earlier, latest][-1 - self._late_steps :]
