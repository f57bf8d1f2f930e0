"""The recorder of one rollout: opens and closes the tap, turns segments into records, writes the step.

It knows nothing of the loop. A driver (batch_rollout.py) enters `recording` around a generate_sequences call, and
tells of segments by `announce` before they are generated and by `complete` after. All of it runs on the host between
the engine's steps. Errors after construction end at the `ErrorBoundary`; they cost records, never the rollout.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from arpo_entropy_recorder.recorder.batch import Batch
from arpo_entropy_recorder.recorder.call_entropies import CallEntropies
from arpo_entropy_recorder.recorder.guard import ErrorBoundary
from arpo_entropy_recorder.recorder.logprobs_entropy import logprobs_entropies
from arpo_entropy_recorder.recorder.records import call_columns, count_metrics, entropy_metrics
from arpo_entropy_recorder.recorder.rise import RiseLog
from arpo_entropy_recorder.recorder.run_info import gather_run_info
from arpo_entropy_recorder.recorder.settings import Settings
from arpo_entropy_recorder.recorder.trajectory import Segment
from arpo_entropy_recorder.step_files.values import normalised
from arpo_entropy_recorder.step_files.write import StepWriter
from arpo_entropy_recorder.taps.buffer import EntropyBuffer
from arpo_entropy_recorder.taps.engine import EngineTap

logger = logging.getLogger(__name__)


@dataclass
class Call:
    """One generate_sequences call: the batch that it answers and the segments generated so far."""

    batch: Batch
    global_step: int
    segments: list[Segment] = field(default_factory=list)
    # Announced and not complete yet.
    announced: list[Segment] | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    incomplete: bool = False
    # In how many places the call's output says otherwise.
    disagreements: int = 0

    @cached_property
    def entropies(self) -> CallEntropies:
        """What metrics and log need of `columns`, once these are there."""
        return CallEntropies(self.columns)


class EntropyRecorder:
    """Records the generate_sequences calls of one rollout.

    `engine` is a vLLM LLM; entropy_run.json has the sampling settings of the rollout's `config`. Raises UserError
    at construction for an engine that cannot be tapped or a directory that another job writes to.
    """

    def __init__(
        self,
        engine: Any,
        tokenizer: Any,
        settings: Settings,
        dp_rank: int = 0,
        dp_size: int = 1,
        config: Any = None,
    ) -> None:
        self.settings, self.tokenizer = settings, tokenizer
        self.boundary = ErrorBoundary(settings.strict)
        self._tap = EngineTap(engine)
        self._vocab_size = len(tokenizer.get_vocab())
        self._dp_rank, self._dp_size = dp_rank, dp_size
        _, run_info = self.boundary.run(gather_run_info, config, engine, self._vocab_size, settings)
        self._writer = StepWriter(
            settings.save_dir,
            dp_rank=dp_rank,
            dp_size=dp_size,
            max_pending_steps=settings.pending_steps,
            run_info=run_info,
        )
        # The call that runs, and the one whose metrics are wanted next: None if its batch could not be read.
        self._current: Call | None = None
        self._last: Call | None = None
        self._counted_steps = 0
        self._told_step = False
        self._warned_step_count = False
        self._rise = RiseLog()
        # The last sampled training call's step, and its metrics.
        self._sampled: tuple[int, dict[str, float]] | None = None

    @property
    def entropy_history(self) -> EntropyBuffer | None:
        """The buffer on the logits' device; None where the engine runs in another process."""
        return self._tap.history

    @property
    def failures(self) -> int:
        """How often the recorder itself has failed so far."""
        return self.boundary.failures

    def close(self) -> None:
        """Write what still waits in memory and give the directory up; what is recorded later is not written."""
        self.boundary.run(self._writer.close)

    @contextmanager
    def recording(self, engine: Any, prompts: Any) -> Iterator[Call | None]:
        """Around one generate_sequences call; None if it cannot be recorded. The recorder's errors end here."""
        if self._current is not None:
            # A generate_sequences within another: its segments are the outer call's.
            yield None
            return
        self._last = None
        try:
            self.boundary.run(self._start, engine, prompts)
            yield self._current
        finally:
            call, self._current = self._current, None
            _, collected = self.boundary.run(self._tap.close)
        if call is not None and collected is not None:
            self.boundary.run(self._finish, call, *collected)

    def announce(self, call: Call, segments: list[Segment], completions: int) -> None:
        """Tell the tap of the engine's next requests, `completions` segments each, in the order of `segments`."""
        call.announced = segments
        self._tap.expect(len(segments) // completions, completions, first_slot=len(call.segments))

    def complete(
        self, call: Call, token_ids: Sequence[Sequence[int]], completions: Sequence[Any] = ()
    ) -> None:
        """The announced segments have come back as `token_ids`, in the same order.

        Of vLLM's `completions`, in that order, too, the log-probabilities are read where the loop asked for them.
        """
        assert call.announced is not None
        for segment, tokens in zip(call.announced, token_ids, strict=True):
            segment.token_ids = tokens
        if completions and self.settings.window > 1:
            _, found = self.boundary.run(logprobs_entropies, completions, self._vocab_size)
            for segment, entropy in zip(call.announced, found or (), strict=False):
                segment.logprobs_entropy = entropy
        call.segments.extend(call.announced)
        call.announced = None

    def add_metrics(self, output: Any) -> None:
        """Put the last call's metrics into `output.meta_info["metrics"]`, which reaches the trainer's loggers."""
        if self._current is None:
            self.boundary.run(self._add_metrics, output)

    def _start(self, engine: Any, prompts: Any) -> None:
        pad_token_id = getattr(self.tokenizer, "pad_token_id", None)
        batch = Batch(prompts, pad_token_id, self._dp_rank, self._dp_size)
        self._last = Call(batch, self._step_of(batch))
        if self._tap.llm is not engine:
            self._tap = EngineTap(engine)
        self._tap.open(self.settings.window)
        self._current = self._last

    def _step_of(self, batch: Batch) -> int:
        if batch.global_step is not None:
            if not batch.validate:
                # Where only training is told the step, a validation is of the last one.
                self._counted_steps = batch.global_step
                self._told_step = True
            return batch.global_step
        if self._told_step:
            # A further request of that step: APPO's for branches has no global_steps.
            return self._counted_steps
        if not self._warned_step_count:
            self._warned_step_count = True
            logger.warning(
                "entropy recorder: meta_info has no global_steps; training calls are counted from 1 instead"
            )
        # A greedy baseline belongs to the step whose sampled call came before it.
        if batch.do_sample and not batch.validate:
            self._counted_steps += 1
        return self._counted_steps

    def _finish(self, call: Call, nats: np.ndarray, failure: str | None) -> None:
        call.incomplete |= call.announced is not None
        if failure is not None:
            if self.settings.strict:
                raise RuntimeError(f"a hook in the engine failed:\n{failure}")
            call.incomplete = True
            self.boundary.report(f"a hook in the engine failed:\n{failure}")
        if not call.segments:
            if call.incomplete:
                return
            self.boundary.report(
                "no segment was announced: only rollouts that go by `LLM.generate` are recorded"
            )
        entropies = normalised(nats[: len(call.segments)], self._vocab_size)
        call.columns = call_columns(call.segments, entropies, call.batch, self.settings, call.incomplete)
        self._warn_of_nulls(call)
        self._writer.add(call.global_step, call.batch.validate, call.columns)
        self._writer.flush()
        if call.batch.do_sample and not call.batch.validate:
            self._rise.add(call.global_step, call.entropies)

    def _warn_of_nulls(self, call: Call) -> None:
        nulls = int(np.isnan(call.columns["entropy"]).sum())
        if nulls:
            logger.warning(
                "entropy recorder: step %s: %d of %d entropies are null (a NaN or nothing but -inf in the logits, "
                "a sampling option that this engine applies out of sight, or a token that no hook saw)",
                call.global_step,
                nulls,
                len(call.segments),
            )

    def _add_metrics(self, output: Any) -> None:
        call, metrics = self._last, self._metrics_of(self._last)
        if call is not None and not call.batch.validate:
            if call.batch.do_sample:
                # Not of a further request of its step.
                if call.batch.global_step is not None or not self._told_step:
                    self._sampled = call.global_step, metrics
            elif self._sampled is not None and self._sampled[0] == call.global_step:
                # A REMAX baseline: the trainer unites it with its step's sampled call, and asserts that their
                # metrics are equal.
                metrics = self._sampled[1]
        if metrics:
            output.meta_info["metrics"] = {**output.meta_info.get("metrics", {}), **metrics}

    def _metrics_of(self, call: Call | None) -> dict[str, float]:
        metrics: dict[str, float] = {}
        if call is not None and call.columns and (call.batch.do_sample or call.batch.validate):
            metrics = entropy_metrics(call.entropies)
        return metrics | count_metrics(
            {
                "lineage/disagreements": call.disagreements if call else 0,
                "lineage/unsure": sum(segment.unsure for segment in call.segments) if call else 0,
                "recorder_failures": self.failures,
                "pending_steps": self._writer.pending_steps,
                "dropped_steps": self._writer.dropped_steps,
            }
        )
