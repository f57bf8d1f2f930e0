"""vLLM's SamplingParams for the rounds of a tool loop."""

from __future__ import annotations

import copy
import math
import os
import random
from collections.abc import Mapping
from typing import Any

from arpo_entropy_recorder.errors import UserError

# The most ids that vLLM's model runner V2 takes in a list of allowed tokens, and in a bias (logit_bias.py, 0.32).
MAX_V2_IDS = 1024


def shared_params(
    config: Mapping[str, Any],
    mask: Mapping[str, Any],
    stop: list[str],
    greedy: bool,
    overrides: Mapping[str, Any],
) -> Any:
    """What all requests of a generate_sequences call have in common, from the sampling options in `config`.

    `mask` is that of `vocabulary_mask`.
    """
    from vllm import SamplingParams

    chosen = {name: config.get(name) for name in ("temperature", "top_p", "top_k", "min_p")}
    options = {"temperature": 0.0} if greedy else {k: v for k, v in chosen.items() if v is not None}
    return SamplingParams(
        include_stop_str_in_output=True,
        **({"stop": stop} | dict(mask) | options | dict(overrides)),
    )


def vocabulary_mask(engine: Any, tokenizer: Any) -> dict[str, Any]:
    """The sampling options that keep `engine` from the token ids that its model has and its tokenizer lacks.

    None are needed where the tokenizer has them all. Raises UserError where the engine cannot be kept from them.
    """
    ids = sorted(set(tokenizer.get_vocab().values()))
    missing = sorted(set(range(engine.llm_engine.model_config.get_vocab_size())).difference(ids))
    if not missing:
        return {}
    if len(ids) <= MAX_V2_IDS or not _has_runner_v2(engine):
        return {"allowed_token_ids": ids}
    if len(missing) <= MAX_V2_IDS:
        return {"logit_bias": dict.fromkeys(missing, -math.inf)}
    raise UserError(
        f"the model has {len(missing):,} token ids that its tokenizer lacks, and vLLM's model runner V2 masks at "
        f"most {MAX_V2_IDS:,}; set VLLM_USE_V2_MODEL_RUNNER=0"
    )


def _has_runner_v2(engine: Any) -> bool:
    """Whether the engine has vLLM's model runner V2."""
    config = getattr(engine.llm_engine, "vllm_config", None)
    chosen = getattr(config, "use_v2_model_runner", None)
    if chosen is None:  # until vLLM 0.21 the variable alone says it
        chosen = os.environ.get("VLLM_USE_V2_MODEL_RUNNER", "0") not in ("", "0")
    return bool(chosen)


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
