"""The recorder of one rollout: follows its `generate` calls, collects the entropies, writes the step.

Everything here runs on the host between the engine's calls. Whatever goes wrong here after construction is
caught at one place, `Boundary`, and costs records, never the rollout.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from arpo_entropy_recorder.recorder.batch import Batch
from arpo_entropy_recorder.recorder.batch_rollout import Call
from arpo_entropy_recorder.recorder.generate_call import generate_arguments
from arpo_entropy_recorder.recorder.guard import Boundary
from arpo_entropy_recorder.recorder.lineage import TrajectoryTracker
from arpo_entropy_recorder.recorder.metrics import entropy_metrics
from arpo_entropy_recorder.recorder.records import call_columns
from arpo_entropy_recorder.recorder.settings import Settings
from arpo_entropy_recorder.step_files.schema import normalised
from arpo_entropy_recorder.step_files.write import StepWriter
from arpo_entropy_recorder.taps.buffer import EntropyBuffer
from arpo_entropy_recorder.taps.engine import EngineTap
from arpo_entropy_recorder.taps.patching import MethodPatches

logger = logging.getLogger(__name__)

# Tokens that surely hold `</result>`, or a tag like it, and the white space around it, however they are cut.
RESULT_END_TOKENS = 24


class EntropyRecorder:
    """Records the generate_sequences calls of one rollout.

    `rollout` needs `inference_engine` (a vLLM LLM), `tokenizer` and `config`. Raises UserError at construction
    for an engine that cannot be tapped, a bad setting, or a directory that another job writes to.
    """

    def __init__(self, rollout: Any, settings: Settings, dp_rank: int = 0, dp_size: int = 1) -> None:
        self.settings = settings
        self._rollout = rollout
        self._tap = EngineTap(rollout.inference_engine)
        self._warned_of_text = False
        self._vocab_size = len(rollout.tokenizer.get_vocab())
        self._dp_rank, self._dp_size = dp_rank, dp_size
        self._writer = StepWriter(
            settings.save_dir, dp_rank=dp_rank, dp_size=dp_size, max_pending_steps=settings.pending_steps
        )
        self._patches = MethodPatches()
        self._current: Call | None = None
        self._boundary = Boundary(settings.strict)
        self._counted_steps = 0
        self._warned_step_count = False
        # The last sampled training call: what the trainer called its step, and its metrics.
        self._sampled: tuple[Any, dict[str, float]] | None = None

    @property
    def entropy_history(self) -> EntropyBuffer | None:
        """The buffer on the logits' device; None where the engine runs in another process."""
        return self._tap.history

    @property
    def failures(self) -> int:
        """How often the recorder itself has failed so far."""
        return self._boundary.failures

    def close(self) -> None:
        """Write what still waits in memory and give the directory up; what is recorded later is not written."""
        self._boundary.run(self._writer.close)

    @contextmanager
    def recording(self, prompts: Any) -> Iterator[Call | None]:
        """Around one generate_sequences call. Its own errors do not leave it; the engine's pass through."""
        if self._current is not None:
            # A generate_sequences within another: its segments are the outer call's.
            yield None
            return
        try:
            _, call = self._boundary.run(self._start, prompts)
            self._current = call
            yield call
        finally:
            # From here on `generate` is the original one, also where its wrapper does not come off.
            self._current = None
            try:
                self._boundary.run(self._patches.restore)
            finally:
                _, collected = self._boundary.run(self._tap.close)
        if call is not None and collected is not None:
            self._boundary.run(self._finish, call, *collected)

    def add_metrics(self, prompts: Any, output: Any, call: Call | None) -> None:
        """Put the call's metrics into `output.meta_info["metrics"]`, which reaches the trainer's loggers."""
        self._boundary.run(self._add_metrics, prompts, output, call)

    def _start(self, prompts: Any) -> Call:
        pad_token_id = getattr(self._rollout.tokenizer, "pad_token_id", None)
        batch = Batch(prompts, pad_token_id, self._dp_rank, self._dp_size)
        call = Call(batch, self._step_of(batch), TrajectoryTracker(self._is_result, batch.rows_of))
        engine = self._rollout.inference_engine
        if self._tap.llm is not engine:
            self._tap = EngineTap(engine)
        self._tap.open(self.settings.window)
        # What an interrupt kept from coming off comes off now.
        self._patches.restore()
        self._patches.wrap(engine, "generate", lambda original: self._recorded(original, call))
        return call

    def _step_of(self, batch: Batch) -> int:
        if batch.global_step is not None:
            if not batch.validate:
                # Where only training is told the step, a validation is of the last one.
                self._counted_steps = batch.global_step
            return batch.global_step
        if not self._warned_step_count:
            self._warned_step_count = True
            logger.warning(
                "entropy recorder: meta_info has no global_steps; training calls are counted from 1 instead"
            )
        # A greedy baseline belongs to the step whose sampled call came before it.
        if batch.do_sample and not batch.validate:
            self._counted_steps += 1
        return self._counted_steps

    def _recorded(self, original: Callable[..., Any], call: Call) -> Callable[..., Any]:
        """`generate`, announcing its requests to the tap before and following the trajectories after."""

        def attempt(action: Callable[..., None], *args: Any) -> bool:
            succeeded, _ = self._boundary.run(action, call, *args)
            call.incomplete |= not succeeded
            return succeeded

        @functools.wraps(original)
        def generate(*args: Any, **kwargs: Any) -> Any:
            live = call is self._current and not call.incomplete
            recorded = live and attempt(self._announce, args, kwargs)
            outputs = original(*args, **kwargs)
            if recorded:
                attempt(self._follow, outputs)
            return outputs

        return generate

    def _announce(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if call.announced is not None:
            raise RuntimeError(
                "generate was called again, by a thread or after an error, before it had returned"
            )
        prompts, completions = generate_arguments(args, kwargs)
        call.announced = call.tracker.begin(prompts, completions)
        self._tap.expect(len(prompts), completions, first_slot=len(call.segments))

    def _follow(self, call: Call, outputs: Any) -> None:
        if not isinstance(outputs, (list, tuple)):
            # An iterator's items are the rollout's to take.
            raise TypeError(f"generate returned a {type(outputs).__name__}, not a list")
        assert call.announced is not None
        completions = [c for output in outputs for c in sorted(output.outputs, key=lambda c: c.index)]
        token_ids = [list(completion.token_ids) for completion in completions]
        call.tracker.end(token_ids, [getattr(c, "stop_reason", None) for c in completions])
        for segment, tokens in zip(call.announced, token_ids, strict=True):
            segment.token_ids = tokens
        call.segments.extend(call.announced)
        call.announced = None

    def _is_result(self, tokens: list[int]) -> bool:
        tail = self._rollout.tokenizer.decode(tokens[-RESULT_END_TOKENS:]).rstrip()
        found = tail.endswith(self.settings.result_end)
        if not found and not self._warned_of_text:
            self._warned_of_text = True
            logger.warning(
                "entropy recorder: the loop appends text that ends in %r and not in %r: it is not counted as a tool "
                "result; if it is one, set entropy_result_end",
                tail[-20:],
                self.settings.result_end,
            )
        return found

    def _finish(self, call: Call, nats: np.ndarray, failure: str | None) -> None:
        call.incomplete |= call.announced is not None
        if failure is not None:
            if self.settings.strict:
                raise RuntimeError(f"a hook in the engine failed:\n{failure}")
            call.incomplete = True
            self._boundary.report(f"a hook in the engine failed:\n{failure}")
        if not call.segments:
            if call.incomplete:
                return
            self._boundary.report("no generate call was seen: the rollout does not go by `LLM.generate`")
        entropies = normalised(nats[: len(call.segments)], self._vocab_size)
        call.columns = call_columns(call.segments, entropies, call.batch, self.settings, call.incomplete)
        self._warn_of_nulls(call)
        self._writer.add(call.global_step, call.batch.validate, call.columns)
        self._writer.flush()

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

    def _add_metrics(self, prompts: Any, output: Any, call: Call | None) -> None:
        meta_info = getattr(prompts, "meta_info", None)
        if not isinstance(meta_info, Mapping):
            meta_info = {}
        step, metrics = meta_info.get("global_steps"), self._metrics_of(call)
        if not meta_info.get("validate"):
            if meta_info.get("do_sample", True):
                self._sampled = step, metrics
            elif self._sampled is not None and self._sampled[0] == step:
                # A REMAX baseline: the trainer unites it with its step's sampled call, and asserts that their
                # metrics are equal.
                metrics = self._sampled[1]
        if metrics:
            output.meta_info["metrics"] = {**output.meta_info.get("metrics", {}), **metrics}

    def _metrics_of(self, call: Call | None) -> dict[str, float]:
        metrics: dict[str, float] = {}
        if call is not None and call.columns and (call.batch.do_sample or call.batch.validate):
            metrics = entropy_metrics(call.columns)
        for name, count in (
            ("recorder_failures", self.failures),
            ("pending_steps", self._writer.pending_steps),
            ("dropped_steps", self._writer.dropped_steps),
        ):
            if count:
                metrics[f"entropy/{name}"] = count
        return metrics
