"""`fast_logprobs`: ARPO's loop without the log-probabilities that it asks vLLM for and never reads.

ARPO wants the top 10 of every token and reads those of a segment's first 20. The V0 engine keeps a copy of the
sampling parameters for each request and looks at every step how many log-probabilities that copy asks for. From
a request's 21st token on it asks for none but the sampled token's own. The engine still makes every number and
every object itself, in its own order, so there is nothing to rebuild: the first 20 tokens, each token's own
log-probability and their sum are bit for bit what they were. Only the alternatives to later tokens are missing, and
a later token's rank counts tokens of equal probability as one place.

Should this fail in the midst of a call, the engine goes on with what it was asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from arpo_entropy_recorder.taps.engine import check_configuration
from arpo_entropy_recorder.taps.patching import find_sampler
from arpo_entropy_recorder.taps.runner_v0 import RunnerV0Tap
from arpo_entropy_recorder.taps.tap import Unsupported
from arpo_entropy_recorder.taps.worker import tap_class

logger = logging.getLogger(__name__)

# Tokens of a segment whose log-probabilities ARPO's and AEPO's loops read.
READ_TOKENS = 20


class FastLogprobs:
    """Spares the requests made inside `with saving(llm)` the alternatives to their later tokens."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    @contextmanager
    def saving(self, llm: Any) -> Iterator[None]:
        """Around one generate_sequences call on a vLLM LLM. Where it cannot help it says so once."""
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
        # A logging handler may be broken, too, and this is called by the engine.
        with suppress(Exception):
            reason = f"{type(error).__name__}: {error}"
            if reason not in self._said:
                self._said.add(reason)
                logger.warning(
                    "entropy recorder: fast_logprobs is off, and log-probabilities are as asked for (%s)",
                    reason,
                )


def stop_at_read_tokens(sampling_metadata: Any) -> None:
    """Let each sequence group that is past its first tokens ask for its sampled token's log-probability only."""
    for group in sampling_metadata.seq_groups:
        params = group.sampling_params
        # 0 from the step on that follows; None means that nobody asked.
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
