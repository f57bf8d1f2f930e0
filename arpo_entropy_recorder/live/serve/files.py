"""From placed turns and the values that came for them to step files."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arpo_entropy_recorder.live.records import (
    Values,
    first_values,
    normalised_values,
    shared_name,
)
from arpo_entropy_recorder.live.serve.digests import TOKEN_BYTES
from arpo_entropy_recorder.live.serve.known import Trajectory
from arpo_entropy_recorder.live.serve.lineage import Placed
from arpo_entropy_recorder.live.serve.turns import read_step
from arpo_entropy_recorder.live.steps import LATE_STEPS
from arpo_entropy_recorder.recorder.guard import warn
from arpo_entropy_recorder.recorder.settings import Settings
from arpo_entropy_recorder.step_files.names import StepKey, parse_name
from arpo_entropy_recorder.step_files.write import StepWriter

logger = logging.getLogger(__name__)


@dataclass
class Row:
    """A record to be. is_first: its trajectory's first. told_step: the trainer's. token_ids: if they are kept."""

    key: str
    trajectory: Trajectory
    round: int
    is_after: bool
    tools: tuple[str | None, ...]
    num_tokens: int
    is_first: bool
    told_step: int | None
    version: int | None
    token_ids: np.ndarray | None

    @classmethod
    def of(cls, placed: Placed, told_step: int | None, keep_tokens: bool) -> Row:
        """The row of a placed completion."""
        completion = placed.completion
        version = completion.version
        return cls(
            key=completion.key,
            trajectory=placed.trajectory,
            round=placed.round,
            is_after=placed.is_after,
            tools=placed.tools,
            num_tokens=len(completion.token_ids) // TOKEN_BYTES,
            is_first=placed.is_first,
            told_step=told_step,
            version=read_step(version) if version else None,
            token_ids=np.frombuffer(completion.token_ids, "<i4") if keep_tokens else None,
        )


@dataclass
class _Samples:
    """The trajectories of one step: their sample_idx by number, and which of them began elsewhere."""

    index: dict[int, int]
    mid_starts: set[int]
    prompts: dict[str, int]


class ServedFiles:
    """The step files of one server. Not for several threads.

    Raises UserError if another process records into the directory. `describe` has to come before the first `write`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.vocab_size = 0
        # Filled in once it is known: the writer looks at it with the first file.
        self._run_info: dict[str, Any] = {}
        self.writer = StepWriter(
            settings.save_dir,
            max_pending_steps=settings.pending_steps,
            late_steps=LATE_STEPS,
            run_info=self._run_info,
        )
        self._samples: dict[int, _Samples] = {}
        self._count = _latest_step(settings)
        self._has_versions = False
        # The step that a counted trajectory began in.
        self._began_in: dict[int, int] = {}
        self.counts: Counter[str] = Counter()

    def describe(self, vocab_size: int, run_info: Mapping[str, Any]) -> None:
        """What entropies are divided by the logarithm of, and what is known of the run."""
        self.vocab_size = vocab_size
        self._run_info.update(run_info)

    def write(self, rows: Sequence[Row], values: Values, step: int | None) -> list[int]:
        """Write the rows, all to `step` or, with None, each to its own; returns the steps."""
        by_step: dict[int, list[Row]] = {}
        next_count = self._count + 1
        for row in rows:
            number = self._step_of(row, next_count) if step is None else step
            if number is None:
                self._leave_out("without_version", 1, "the version of their weights is not known")
            else:
                by_step.setdefault(number, []).append(row)
        for number, of_step in sorted(by_step.items()):
            if not self.writer.takes_late(number, False):
                self._leave_out("too_late", len(of_step), f"they came too late for step {number}")
                continue
            self.writer.add(number, False, self._columns(of_step, values, number))
            self._count = max(self._count, number)
        self.writer.flush()
        self._forget()
        return sorted(by_step)

    def close(self) -> None:
        """Write what could not be written before, and give the directory up."""
        self.writer.close()

    def _leave_out(self, name: str, count: int, why: str) -> None:
        if not self.counts[name]:
            warn(logger, "records are left out, as %s; said once, counted in the status", why)
        self.counts[name] += count

    def _step_of(self, row: Row, next_count: int) -> int | None:
        """The weights' version, else the step that the client told, else the count that its trajectory began in.

        None for a row whose version is not known where others' are: a count would be that of other weights.
        """
        if row.version is not None:
            if self._began_in and not self._has_versions:
                warn(
                    logger,
                    "weights' versions begin: earlier records are in steps that were counted, among which later "
                    "versions may fall; have the trainer give the first weights a version, too",
                )
            self._has_versions = True
            return row.version
        if row.told_step is not None:
            return row.told_step
        if self._has_versions:
            return None
        number = row.trajectory.number
        if (began := self._began_in.get(number)) is None or not self.writer.takes_late(began, False):
            began = self._began_in[number] = next_count
        return began

    def _columns(self, rows: Sequence[Row], values: Values, step: int) -> dict[str, Any]:
        samples = self._samples.setdefault(step, _Samples({}, set(), {}))
        parents = [self._enter(row, samples) for row in rows]
        window = self._settings.window
        nats = [first_values(values, row.key, min(row.num_tokens, window)) for row in rows]
        entropies = [normalised_values(of_row, self.vocab_size) for of_row in nats]
        numbers = [row.trajectory.number for row in rows]
        prompts = [row.trajectory.prompt for row in rows]
        columns: dict[str, Any] = {
            "sample_idx": np.array([samples.index[number] for number in numbers], dtype=np.int64),
            "trajectory": np.array(numbers, dtype=np.int64),
            "prompt_idx": [
                None if prompt is None else samples.prompts.setdefault(prompt, len(samples.prompts))
                for prompt in prompts
            ],
            "parent_idx": parents,
            "round": np.array([row.round for row in rows], dtype=np.int64),
            "tool": [shared_name(row.tools) for row in rows],
            "tools": [list(row.tools) if row.is_after else None for row in rows],
            "is_after_tool_call": np.array([row.is_after for row in rows], dtype=bool),
            "entropy": np.array([entropy[0] for entropy in entropies], dtype=np.float32),
        }
        if self._settings.prompt_id:
            columns["prompt"] = prompts
        if self._settings.window > 1:
            columns["window"] = entropies
        if self._settings.record_tokens:
            columns["token_id"] = [int(row.token_ids[0]) for row in rows if row.token_ids is not None]
            columns["tokens"] = [row.token_ids for row in rows]
        if any(row.version not in (None, step) for row in rows):
            columns["policy_step"] = [None if row.version == step else row.version for row in rows]
        if any(number in samples.mid_starts for number in numbers):
            columns["mid_start"] = [number in samples.mid_starts for number in numbers]
        self.counts["records"] += len(rows)
        self.counts["nulls"] += int(np.isnan(columns["entropy"]).sum())
        return columns

    def _enter(self, row: Row, samples: _Samples) -> int | None:
        """Give the row's trajectory its sample_idx in this step; returns the parent's, if that is in the step."""
        number, parent = row.trajectory.number, row.trajectory.parent
        parent_idx = None if parent is None else samples.index.get(parent)
        if number not in samples.index:
            samples.index[number] = len(samples.index)
            if not (row.is_first and row.trajectory.is_start) and parent_idx is None:
                samples.mid_starts.add(number)
        return parent_idx

    def _forget(self) -> None:
        """Drop what is known of steps that nothing is added to any more."""
        self._samples = {
            step: of for step, of in self._samples.items() if self.writer.takes_late(step, False)
        }
        if len(self._began_in) > 1000:
            self._began_in = {
                number: step for number, step in self._began_in.items() if step in self._samples
            }


def _latest_step(settings: Settings) -> int:
    """The last step that is in the directory: a server that is started again goes on behind it."""
    try:
        names = os.listdir(settings.save_dir)
    except OSError:
        return 0
    return max((key.global_step for key in map(parse_name, names) if isinstance(key, StepKey)), default=0)
