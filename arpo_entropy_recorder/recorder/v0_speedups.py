"""What the V0 engine's mask of `allowed_token_ids` costs ARPO's training, spared without changing a token.

vLLM 0.8.4 and 0.8.5 turn `allowed_token_ids` into a logits processor that is left in the caller's own SamplingParams
(`LLMEngine._build_logits_processors`). ARPO keeps one SamplingParams object for the whole training and sets
`allowed_token_ids` in every generate_sequences call. So in the hundredth call every token of every sequence is
masked a hundred times by the very same mask, in Python, one sequence after another: rollouts get slower with each
step. To fill what is filled changes nothing, so of a mask that comes several times in a row one is kept.

And before each use the engine looks at the mask's signature, which takes ten times as long as the masking. A mask
that carries its signature, as `inspect.signature` provides for, answers at once.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from arpo_entropy_recorder.recorder.guard import unnoticed
from arpo_entropy_recorder.taps.patching import MethodPatches


class CheapMasks:
    """Takes both costs off the calls made inside `with sparing(llm)`."""

    def __init__(self) -> None:
        self._patches = MethodPatches()

    @contextmanager
    def sparing(self, llm: Any) -> Iterator[None]:
        """Around one generate_sequences call on a vLLM LLM. Engines other than V0 have nothing to spare."""
        with unnoticed():
            # What an interrupt kept from coming off comes off now.
            self._patches.restore()
            self._patches.wrap(llm.llm_engine, "_build_logits_processors", _cheapening)
        try:
            yield
        finally:
            with unnoticed():
                self._patches.restore()


def _cheapening(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def build(*args: Any, **kwargs: Any) -> Any:
        params = original(*args, **kwargs)
        # If this fails the engine goes on with what it has built.
        with unnoticed():
            cheapen(params)
        return params

    return build


def cheapen(params: Any) -> None:
    """Keep one of each run of the same mask in the list `params.logits_processors`, in place, with its signature."""
    from vllm.entrypoints.openai.logits_processors import AllowedTokenIdsLogitsProcessor as Mask

    processors = params.logits_processors or []
    # Only neighbours: a processor between two masks may have given a masked token a value again.
    processors[:] = [
        processor
        for before, processor in zip([None, *processors], processors, strict=False)
        if not (processor is before and isinstance(processor, Mask))
    ]
    for processor in processors:
        if isinstance(processor, Mask) and not hasattr(processor, "__signature__"):
            processor.__signature__ = inspect.signature(processor)
