"""The exact entropy of selected rows of logits: the torch reference, and the choice of a path per device.

H = log(sum(exp(z / T))) - sum(p * z / T) in nats, over the full vocabulary, in float32 whatever the dtype of
the logits. An entry of -inf (a masked token) contributes 0; a row with a NaN or +inf, or with nothing but
-inf, gives NaN, which becomes null in a record.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from arpo_entropy_recorder.ops import GREEDY_TEMPERATURE

logger = logging.getLogger(__name__)

# Elements of one row block: its float32 temporaries (2 MiB each) stay in the cache.
BLOCK_ELEMENTS = 1 << 19


def entropy_into(
    history: Tensor, slots: Tensor, logits: Tensor, rows: Tensor, temperature: Tensor | None = None
) -> None:
    """Write the entropy of `logits[rows[i]]` to `history[slots[i]]`; every other slot is left as it is.

    history: [num_slots] float32, contiguous.
    slots, rows: [n] int64 (int32 works too), in range; the slots are distinct, a row may come twice.
    logits: [num_rows, vocab_size] bf16, fp16 or fp32; rows may be strided.
    temperature: [num_rows] float, indexed by row like the logits; a value <= 1e-5 (greedy) counts as 1.

    All tensors are on one device. On CUDA nothing waits for the device and nothing is copied to the host.
    """
    _path(logits.device.type)(history, slots, logits, rows, temperature)


def entropy(logits: Tensor, temperature: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
    """Entropy in nats, [n] float32, of `logits[rows]`, or of every row; arguments as in `entropy_into`."""
    if rows is None:
        rows = torch.arange(len(logits), device=logits.device)
    if not logits.is_cuda:
        return _entropy_torch(logits, rows, temperature)
    result = torch.empty(len(rows), dtype=torch.float32, device=logits.device)
    slots = torch.arange(len(rows), device=logits.device)
    entropy_into(result, slots, logits.detach(), rows, temperature)
    return result


@cache
def _path(device_type: str) -> Callable[..., None]:
    """The implementation for a device type, chosen at its first call."""
    if device_type == "cuda":
        try:
            from arpo_entropy_recorder.ops.entropy_triton import entropy_into_triton
        except ImportError:
            return entropy_into_torch
        return _or_torch(entropy_into_triton)
    return entropy_into_torch


def _or_torch(fused: Callable[..., None]) -> Callable[..., None]:
    """`fused` until it fails once, plain torch from then on.

    Triton compiles at the first launch, which needs a C compiler and a directory to write to. Without them torch
    computes the same entropies, slower.
    """
    path = fused

    def entropy_into_either(*args: Any) -> None:
        nonlocal path
        try:
            path(*args)
        except Exception:
            if path is entropy_into_torch:
                raise
            logger.warning("entropy recorder: the fused kernel failed; torch takes over", exc_info=True)
            path = entropy_into_torch
            path(*args)

    return entropy_into_either


def entropy_into_torch(
    history: Tensor, slots: Tensor, logits: Tensor, rows: Tensor, temperature: Tensor | None = None
) -> None:
    """`entropy_into` in plain torch, for the CPU and as the reference: no temporary exceeds one row block."""
    history.index_copy_(0, slots.long(), _entropy_torch(logits, rows, temperature))


def _entropy_torch(logits: Tensor, rows: Tensor, temperature: Tensor | None) -> Tensor:
    """Entropies of `logits[rows]`, [n] float32."""
    block_rows = max(1, BLOCK_ELEMENTS // logits.shape[-1])
    if rows.numel() > block_rows:
        return torch.cat([_entropy_torch(logits, part, temperature) for part in rows.split(block_rows)])
    # Every op costs 1 to 2 us before it touches an element, and few rows are the rule: hence few ops, in place.
    # log_softmax would save three, but sums a row naively: 4e-5 nats off at a vocabulary of 151,936.
    x = logits.detach().index_select(0, rows).float()
    x.sub_(x.amax(-1, keepdim=True))
    if temperature is not None:
        t = temperature.index_select(0, rows).float()
        x.div_(t.masked_fill_(t <= GREEDY_TEMPERATURE, 1.0).unsqueeze(-1))
    mass = x.exp()
    total = mass.sum(-1)
    # A masked token's 0 * -inf is NaN and contributes 0. A row without an entropy has a NaN in its total already.
    weighted = mass.mul_(x).nansum(-1)
    # total >= 1 and weighted <= 0, so the result is not below 0.
    return total.log().addcdiv_(weighted, total, value=-1.0)
