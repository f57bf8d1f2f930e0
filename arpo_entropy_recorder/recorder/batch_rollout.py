"""The driver of a loop that calls `LLM.generate` round by round, as ARPO's does.

It stands between the loop and the session: announces what each `generate` call is about to make, infers whose
segments they are from the token lists, and hands them over when they have come back. A driver of another kind of
loop tells the session its segments in the same two steps, `EntropyRecorder.announce` and `EntropyRecorder.complete`.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from arpo_entropy_recorder.recorder.generate_call import generate_arguments
from arpo_entropy_recorder.recorder.lineage import TrajectoryTracker
from arpo_entropy_recorder.recorder.results import TextResultForm, start_of
from arpo_entropy_recorder.recorder.self_check import compare
from arpo_entropy_recorder.recorder.session import Call, EntropyRecorder
from arpo_entropy_recorder.taps.patching import MethodPatches

logger = logging.getLogger(__name__)


class BatchRollout:
    """Follows the `generate` calls of one rollout and tells `session` of them."""

    def __init__(self, session: EntropyRecorder) -> None:
        self._session = session
        self._patches = MethodPatches()
        self._call: Call | None = None
        self._tracker: TrajectoryTracker | None = None
        settings = session.settings
        # What was learnt of tools' results in one call holds in the next.
        self._form = TextResultForm(
            session.tokenizer.decode,
            settings.result_end,
            settings.result_start or start_of(settings.result_end),
            set(re.findall(r"[\w.-]+", settings.tools)),
        )
        self._warned_of_lineage = self._warned_of_prompts = False

    @contextmanager
    def recording(self, engine: Any, prompts: Any) -> Iterator[Callable[[Any], object] | None]:
        """Around one generate_sequences call on a vLLM LLM. The engine's errors pass, the recorder's do not.

        What it yields, unless that is None, is to be called with the output, which is compared with what was
        followed.
        """
        with self._session.recording(engine, prompts) as call:
            if call is None:
                yield None
                return
            try:
                self._attempt(call, self._start, engine, call)
                yield functools.partial(self._session.boundary.run, self._check, call)
            finally:
                # First of all: from here on the wrapper only passes on, even if it cannot be taken off.
                self._call = None
                self._session.boundary.run(self._patches.restore)
                tracker, self._tracker = self._tracker, None
                if tracker is not None:
                    self._attempt(call, self._end, call, tracker)

    def _start(self, engine: Any, call: Call) -> None:
        # An interrupt may have left the wrapper of an earlier call on.
        self._patches.restore()
        tracker = TrajectoryTracker(self._form, call.batch)
        self._patches.wrap(engine, "generate", lambda original: self._recorded(original, call, tracker))
        self._call, self._tracker = call, tracker

    def _attempt(self, call: Call, action: Callable[..., None], *args: Any) -> bool:
        succeeded, _ = self._session.boundary.run(action, *args)
        call.incomplete |= not succeeded
        return succeeded

    def _recorded(
        self, original: Callable[..., Any], call: Call, tracker: TrajectoryTracker
    ) -> Callable[..., Any]:
        """`generate`, announcing its requests before and handing over its segments after."""

        @functools.wraps(original)
        def generate(*args: Any, **kwargs: Any) -> Any:
            live = call is self._call and not call.incomplete
            recorded = live and self._attempt(call, self._announce, call, tracker, args, kwargs)
            outputs = original(*args, **kwargs)
            if recorded:
                self._attempt(call, self._follow, call, tracker, outputs)
            return outputs

        return generate

    def _announce(
        self, call: Call, tracker: TrajectoryTracker, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if call.announced is not None:
            raise RuntimeError(
                "generate was called again, by a thread or after an error, before it had returned"
            )
        prompts, completions = generate_arguments(args, kwargs)
        self._session.announce(call, tracker.begin(prompts, completions), completions)

    def _follow(self, call: Call, tracker: TrajectoryTracker, outputs: Any) -> None:
        if not isinstance(outputs, (list, tuple)):
            # The rollout could not read an iterator again.
            raise TypeError(f"generate returned a {type(outputs).__name__}, not a list")
        completions = [c for output in outputs for c in sorted(output.outputs, key=lambda c: c.index)]
        token_ids = [list(completion.token_ids) for completion in completions]
        reasons = [[getattr(c, name, None) for c in completions] for name in ("stop_reason", "finish_reason")]
        tracker.end(token_ids, *reasons)
        self._session.complete(call, token_ids, completions)

    def _check(self, call: Call, output: Any) -> None:
        if self._tracker is None:
            return
        findings = compare(self._tracker.trajectories, output, call.batch.pad_token_id)
        call.disagreements = findings.not_followed + findings.disagreements
        call.incomplete |= findings.not_followed > 0
        if findings.example:
            logger.warning(
                "entropy recorder: step %s: the output disagrees with what was recorded in %d places; %s",
                call.global_step, call.disagreements, findings.example,
            )  # fmt: skip

    def _end(self, call: Call, tracker: TrajectoryTracker) -> None:
        """Make the labels final, and say once which of them are not sure."""
        unsure = tracker.settle()
        if call.batch.edits_prompts and not self._warned_of_prompts:
            self._warned_of_prompts = True
            logger.warning(
                "entropy recorder: the loop edits its prompts; prompt_idx goes by the order of starts"
            )
        if not unsure or self._warned_of_lineage:
            return
        self._warned_of_lineage = True
        heads = (piece.head for segment in unsure for piece in segment.pieces if piece.is_result is None)
        example = next((self._form.text(head) for head in heads), None)
        hint = (
            ""
            if example is None
            else (
                f"; the loop appends text like {example!r} after a stop tag: if it is a tool's result, set "
                "entropy_result_end or entropy_result_start, if not, entropy_tools"
            )
        )
        logger.warning(
            "entropy recorder: step %s: round, tool or parent of %d of %d segments is not sure%s; this is said once",
            call.global_step, len(unsure), len(call.segments), hint,
        )  # fmt: skip
