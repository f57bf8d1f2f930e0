"""One mask a token, where ARPO's training piles up a mask a call.

vLLM's V0 engine turns `allowed_token_ids` into a logits processor and leaves it in the caller's own SamplingParams
(`LLMEngine._build_logits_processors` of 0.8.4 and 0.8.5). ARPO keeps one SamplingParams object for the whole training
and sets `allowed_token_ids` in every generate_sequences call. So in the hundredth call every token of every sequence
is masked a hundred times by the very same mask, in Python, one sequence after another: rollouts get slower with each
step. To fill what is filled changes nothing, so of a mask that comes several times in a row one is kept, and what is
generated stays the same bit for bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from arpo_entropy_recorder.taps.seams import Seams


@contextmanager
def one_mask_a_token(llm: Any) -> Iterator[None]:
    """Around one generate_sequences call on a vLLM LLM. Engines other than V0 have nothing to spare."""
    seams = Seams()
    with suppress(Exception):
        seams.wrap(llm.llm_engine, "_build_logits_processors", _without_repeats)
    try:
        yield
    finally:
        with suppress(Exception):
            seams.restore()


def _without_repeats(stock: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(stock)
    def build(*args: Any, **kwargs: Any) -> Any:
        params = stock(*args, **kwargs)
        # If this fails the engine goes on with what it has built.
        with suppress(Exception):
            drop_repeats(params)
        return params

    return build


def drop_repeats(params: Any) -> None:
    """Keep one of each run of the same mask in the list `params.logits_processors`, in place."""
    from vllm.entrypoints.openai.logits_processors import AllowedTokenIdsLogitsProcessor as Mask

    processors = params.logits_processors or []
    # Only neighbours: a processor between two masks may have given a masked token a value again.
    processors[:] = [
        processor
        for before, processor in zip([None, *processors], processors, strict=False)
        if not (processor is before and isinstance(processor, Mask))
    ]
