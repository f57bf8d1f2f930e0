"""Gathers trajectories by step, joins them with the values that came, and writes the steps that are finished."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arpo_entropy_recorder.live.records import live_columns, wanted_values
from arpo_entropy_recorder.live.source import Taking, ValueSource, likely_cause
from arpo_entropy_recorder.live.trajectory import Trajectory
from arpo_entropy_recorder.recorder.call_entropies import CallEntropies
from arpo_entropy_recorder.recorder.guard import ErrorBoundary
from arpo_entropy_recorder.recorder.records import count_metrics, entropy_metrics
from arpo_entropy_recorder.recorder.run_info import run_entry
from arpo_entropy_recorder.recorder.settings import Settings
from arpo_entropy_recorder.step_files.names import StepKey
from arpo_entropy_recorder.step_files.write import StepWriter

logger = logging.getLogger(__name__)

# Trajectories that may wait for their step's end, 1 to 2 kB each.
MAX_TRAJECTORIES = 200_000
# A trajectory may end some steps after the one that it was started in: in asynchronous training, and on a server.
LATE_STEPS = 16


class LiveSteps:
    """The steps of one job. Its methods may be called from several threads; none raises, unless `strict` is set."""

    def __init__(self, source: ValueSource, settings: Settings) -> None:
        self._source, self._settings = source, settings
        self.boundary = ErrorBoundary(settings.strict)
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._waiting: dict[StepKey, list[Trajectory]] = {}
        self._writer: StepWriter | None = None
        self._run_info: dict[str, Any] = {}
        self._taking = Taking(source)
        # What the metrics of the latest training step are made of.
        self._metrics_step = -1
        self._metrics_of: list[Trajectory] = []
        self._metrics_values: dict[str, Sequence[float | None]] = {}
        # After the last flush: what waits while one is under way is none.
        self._unwritten = 0
        self.counts = dict.fromkeys(
            ("trajectories", "records", "nulls", "dropped", "without_step", "too_late"), 0
        )

    def describe(self, info: Mapping[str, Any]) -> None:
        """What is known of the run, for entropy_run.json; the first word counts."""
        with self._lock:
            self._run_info = {**info, **self._run_info}

    def add(self, trajectory: Trajectory) -> None:
        """Keep a trajectory until its step is finished."""
        with self._lock:
            self.counts["trajectories"] += 1
            if (step := _step_of(trajectory)) is None:
                self.counts["without_step"] += 1
                return
            self._waiting.setdefault(StepKey(step, trajectory.validate), []).append(trajectory)
            while sum(map(len, self._waiting.values())) > MAX_TRAJECTORIES:
                self.counts["dropped"] += len(self._waiting.pop(min(self._waiting)))

    def finish(self, step: int | None = None, with_metrics: bool = True) -> dict[str, float]:
        """Write what is there of the steps up to `step` (None: of all), and return the step's metrics.

        Waits some seconds at most for values. What comes later is added to its step the next time.
        """
        with self._writing:
            _, metrics = self.boundary.run(self._finish, step, with_metrics)
        return metrics or {}

    def status(self) -> dict[str, Any]:
        """The counters of trajectories, records and failures; the source's, and why values are missing, or None."""
        source, writer = self._source.status(), self._writer
        with self._lock:
            waiting = sum(map(len, self._waiting.values()))
            is_wrong = self.counts["nulls"] or any(worker.get("refused") for worker in source["workers"])
            cause = likely_cause(source) if is_wrong else None
            return {
                **self.counts,
                "trajectories_waiting": waiting,
                "failures": self.boundary.failures,
                "records_unwritten": self._unwritten,
                "records_dropped": writer.dropped_records if writer else 0,
                "source": source,
                "cause": cause,
            }

    def close(self) -> None:
        """Write all that is there and give the directory up."""
        self.finish(with_metrics=False)
        if self._writer is not None:
            self.boundary.run(self._writer.close)

    def _finish(self, step: int | None, with_metrics: bool) -> dict[str, float]:
        with self._lock:
            ready = sorted(key for key in self._waiting if step is None or key.global_step <= step)
            finished = [(key, self._waiting.pop(key)) for key in ready]
        all_of_them = [trajectory for _, trajectories in finished for trajectory in trajectories]
        values = self._taking.take(wanted_values(all_of_them, self._settings.window))
        for key, trajectories in finished:
            self.boundary.run(self._write, key, trajectories, values)
        if self._writer is not None:
            try:
                self._writer.flush()
            finally:
                self._unwritten = self._writer.pending_records
        return self._metrics(step) if with_metrics and step is not None else {}

    def _write(
        self, key: StepKey, trajectories: list[Trajectory], values: Mapping[str, Sequence[float | None]]
    ) -> None:
        settings = self._settings
        columns = live_columns(trajectories, values, key.global_step, settings.window, settings.record_tokens)
        count = len(columns["entropy"])
        if not count:
            return
        if self._writer is None:
            self._writer = StepWriter(
                settings.save_dir,
                max_pending_steps=settings.pending_steps,
                late_steps=LATE_STEPS,
                run_info=self._all_run_info(trajectories[0].vocab_size),
            )
        if not self._writer.takes_late(*key):
            self.counts["too_late"] += count
            logger.warning("entropy recorder: %d records of step %s came too late", count, key.global_step)
            return
        nulls = int(np.isnan(columns["entropy"]).sum())
        self.counts["records"] += count
        self.counts["nulls"] += nulls
        self._taking.tell_of_nulls(nulls, count, f"step {key.global_step}: ")
        self._writer.add(*key, columns)
        if not key.validate and key.global_step >= self._metrics_step:
            if key.global_step > self._metrics_step:
                self._metrics_step, self._metrics_of, self._metrics_values = key.global_step, [], {}
            self._metrics_of += trajectories
            self._metrics_values |= values

    def _metrics(self, step: int) -> dict[str, float]:
        metrics: dict[str, float] = {}
        if step == self._metrics_step:
            sampled = [trajectory for trajectory in self._metrics_of if not trajectory.is_greedy]
            metrics = entropy_metrics(CallEntropies(live_columns(sampled, self._metrics_values, step, 1)))
        writer = self._writer
        return metrics | count_metrics(
            {
                "dropped": self.counts["dropped"] + self.counts["without_step"] + self.counts["too_late"],
                "recorder_failures": self.boundary.failures,
                "pending_steps": writer.pending_steps if writer else 0,
                "dropped_steps": writer.dropped_steps if writer else 0,
            }
        )

    def _all_run_info(self, vocab_size: int) -> dict[str, Any]:
        workers = self._source.status().get("workers") or [{}]
        return run_entry(self._settings, vocab_size, workers[0].get("version"), self._run_info)


def _step_of(trajectory: Trajectory) -> int | None:
    """The trainer's step. Fully asynchronous training gives none: there it is the step that makes of the policy that
    began to write the next version, as in synchronous training; for a validation, the validated version itself."""
    if trajectory.step >= 0:
        return trajectory.step
    versions = (request.policy_step for segment in trajectory.segments if (request := segment.first_request))
    version = next((version for version in versions if version is not None), None)
    return None if version is None else version + (not trajectory.validate)
