"""vLLM's SamplingParams for the rounds of a tool loop."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from typing import Any


def shared_params(
    config: Mapping[str, Any], tokenizer: Any, stop: list[str], greedy: bool, overrides: Mapping[str, Any]
) -> Any:
    """What all requests of a generate_sequences call have in common, from the sampling options in `config`."""
    from vllm import SamplingParams

    chosen = {name: config.get(name) for name in ("temperature", "top_p", "top_k", "min_p")}
    options = {"temperature": 0.0} if greedy else {k: v for k, v in chosen.items() if v is not None}
    return SamplingParams(
        include_stop_str_in_output=True,
        # A model's vocabulary is often padded beyond its tokenizer's.
        allowed_token_ids=sorted(tokenizer.get_vocab().values()),
        **({"stop": stop} | options | dict(overrides)),
    )


def own_params(shared: Any, max_tokens: int, name: str) -> Any:
    """`shared` for one request, with a bound and a seed of its own; the seed follows from `name` alone."""
    # SamplingParams.clone() would copy the list of allowed tokens, which is as long as the vocabulary; skip_clone
    # keeps newer versions of vLLM from doing so themselves.
    params = copy.copy(shared)
    if hasattr(params, "skip_clone"):
        params.skip_clone = True
    params.max_tokens = max_tokens
    params.seed = random.Random(name).getrandbits(31)
    return params
