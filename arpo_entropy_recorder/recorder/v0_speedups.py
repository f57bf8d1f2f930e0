"""Optional speed-ups of the V0 engine, for ARPO's training. Neither changes a token; where one fails, the engine runs
unmodified.

Repeated masks. vLLM 0.8.4 and 0.8.5 turn `allowed_token_ids` into a logits processor that they leave in the caller's
own SamplingParams (`LLMEngine._build_logits_processors`). ARPO keeps one SamplingParams object for the whole training
and sets `allowed_token_ids` in every generate_sequences call. In the hundredth call every token of every sequence is
masked a hundred times by the same mask, in Python, one sequence after another: rollouts get slower with each step.
Re-applying the same mask is a no-op, so consecutive duplicates are dropped. Before each use the engine also looks at
the mask's signature, which takes ten times as long as the masking. A mask that carries its signature, as
`inspect.signature` provides for, answers at once.

Unread log-probabilities (`fast_logprobs`). ARPO asks for the top 10 of every token and reads those of a segment's
first 20. The engine keeps a copy of the sampling parameters for each request and looks at every step how many
log-probabilities that copy asks for. From a request's 21st token on it is made to ask for the sampled token's only.
The engine still makes every number and every object itself, in its own order: the first 20 tokens, each token's own
log-probability and their sum are bit for bit what they were. Only the alternatives to later tokens are missing, and
a later token's rank counts tokens of equal probability as one place.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from arpo_entropy_recorder.recorder.guard import swallow_errors
from arpo_entropy_recorder.step_files.schema import READ_TOKENS
from arpo_entropy_recorder.taps.engine import check_configuration
from arpo_entropy_recorder.taps.patching import MethodPatches, find_sampler
from arpo_entropy_recorder.taps.runner_v0 import RunnerV0Tap
from arpo_entropy_recorder.taps.tap import Unsupported
from arpo_entropy_recorder.taps.worker import tap_class

logger = logging.getLogger(__name__)


class MaskSpeedup:
    """Drops repeated masks from the requests made inside `with active(llm)`."""

    def __init__(self) -> None:
        self._patches = MethodPatches()

    @contextmanager
    def active(self, llm: Any) -> Iterator[None]:
        """Around one generate_sequences call on a vLLM LLM; other engines than V0 are left as they are."""
        with swallow_errors():
            # An interrupt may have left the wrapper of an earlier call on.
            self._patches.restore()
            self._patches.wrap(llm.llm_engine, "_build_logits_processors", _without_repeats)
        try:
            yield
        finally:
            with swallow_errors():
                self._patches.restore()


def _without_repeats(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def build(*args: Any, **kwargs: Any) -> Any:
        params = original(*args, **kwargs)
        with swallow_errors():
            drop_repeated_masks(params)
        return params

    return build


def drop_repeated_masks(params: Any) -> None:
    """Drop consecutive duplicates of a mask from `params.logits_processors`, in place, and attach its signature."""
    from vllm.entrypoints.openai.logits_processors import AllowedTokenIdsLogitsProcessor as Mask

    processors = params.logits_processors or []
    # Only consecutive ones: a processor between two masks may have given a masked token a value again.
    processors[:] = [
        processor
        for before, processor in zip([None, *processors], processors, strict=False)
        if not (processor is before and isinstance(processor, Mask))
    ]
    for processor in processors:
        if isinstance(processor, Mask) and not hasattr(processor, "__signature__"):
            processor.__signature__ = inspect.signature(processor)


class FastLogprobs:
    """Spares the requests made inside `with active(llm)` the alternatives to their later tokens."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    @contextmanager
    def active(self, llm: Any) -> Iterator[None]:
        """Around one generate_sequences call on a vLLM LLM. On another engine it logs the reason once."""
        try:
            hook = _v0_sampler(llm).register_forward_pre_hook(self._before_sampler, with_kwargs=True)
        except Exception as error:
            self._off(error)
            yield
            return
        try:
            yield
        finally:
            hook.remove()

    def _before_sampler(self, sampler: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            stop_at_read_tokens(kwargs["sampling_metadata"] if "sampling_metadata" in kwargs else args[-1])
        except Exception as error:
            self._off(error)

    def _off(self, error: Exception) -> None:
        # The engine calls this, so a broken logging handler must not raise here.
        with suppress(Exception):
            reason = f"{type(error).__name__}: {error}"
            if reason not in self._logged:
                self._logged.add(reason)
                logger.warning(
                    "entropy recorder: fast_logprobs is off, and log-probabilities are as asked for (%s)",
                    reason,
                )


def stop_at_read_tokens(sampling_metadata: Any) -> None:
    """Let each sequence group that is past its first tokens ask for its sampled token's log-probability only."""
    for group in sampling_metadata.seq_groups:
        params = group.sampling_params
        # 0 once it was set below; None if no log-probabilities were asked for.
        if params.logprobs and all(group.seq_data[i].get_output_len() >= READ_TOKENS for i in group.seq_ids):
            params.logprobs = 0


def _v0_sampler(llm: Any) -> Any:
    """The sampler of a V0 engine, whose driver is this process. Raises Unsupported for any other engine."""
    import vllm
    from packaging.version import Version

    check_configuration(llm.llm_engine)
    if Version(vllm.__version__).release[:2] != (0, 8):
        raise Unsupported(f"vLLM {vllm.__version__}; it knows the V0 engine of 0.8.4 and 0.8.5")
    runner = llm.llm_engine.model_executor.driver_worker.worker.model_runner
    if tap_class(runner) is not RunnerV0Tap:
        raise Unsupported("the V1 engine; it knows V0, which VLLM_USE_V1=0 asks for")
    return find_sampler(runner)
