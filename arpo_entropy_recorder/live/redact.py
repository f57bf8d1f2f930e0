"""Keeps marks out of what vLLM shows of a request.

vLLM prints `SamplingParams`, with `extra_args`, in its request log and, when a step fails, in the dump of that step's
requests (vLLM 0.32: `RequestLogger.log_inputs`, `NewRequestData.anon_repr`). Its traces have no `extra_args`.
"""

from __future__ import annotations

import copy
from typing import Any

from arpo_entropy_recorder.live.mark import MARK
from arpo_entropy_recorder.live.wrapping import is_ours, put


def redact_marks() -> None:
    """Have this process print each `SamplingParams` as if it had no mark."""
    from vllm.sampling_params import SamplingParams

    original = SamplingParams.__repr__
    if is_ours(original):
        return

    def __repr__(self: Any) -> str:
        if MARK in (self.extra_args or ()):
            # Only the copy loses its mark.
            self = copy.copy(self)
            self.extra_args = {k: v for k, v in self.extra_args.items() if k != MARK} or None
        return original(self)

    put(SamplingParams, "__repr__", __repr__)
