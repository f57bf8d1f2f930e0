"""What ARPO's branching goes by: an entropy of the few log-probabilities that the engine returns for each token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from arpo_entropy_recorder.step_files.schema import READ_TOKENS


def logprobs_entropies(completions: Sequence[Any], vocab_size: int) -> list[float] | None:
    """The number of each completion of a vLLM `generate`; None where no log-probabilities were asked for.

    It is -sum(p ln p) over all alternatives that were returned for the first 20 tokens, over ln(vocab_size): the top
    10 in ARPO, and the sampled token where it is not among these. Truncated, a sum over tokens, not bounded by 1. NaN
    where a log-probability is NaN or -inf.
    """
    if any(getattr(completion, "logprobs", None) is None for completion in completions):
        return None
    return [_entropy(completion.logprobs) / math.log(vocab_size) for completion in completions]


def _entropy(tokens: Sequence[Any]) -> float:
    values = [p.logprob for at in range(min(len(tokens), READ_TOKENS)) for p in tokens[at].values()]
    entropy = -sum(math.exp(value) * value for value in values)
    # A log-probability of 0 may come out a little above it.
    return 0.0 if entropy <= 0 else entropy
