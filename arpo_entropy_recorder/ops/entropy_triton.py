"""The exact entropy of selected rows of logits on CUDA: gather, entropy and scatter in one launch, one read.

A row is cut into slices so that a few rows fill the card. A program walks its slice in tiles; each of its lanes
(threads) keeps, over the elements z = x / T it has seen,

    peak = max(x),  total = sum(2 ** u),  weighted = sum(u * 2 ** u)   with u = (x - peak) / T * log2(e),

so that H = ln(2) * (log2(total) - weighted / total). Two such triples merge by moving both to the larger peak
(Milakov and Gimelshein 2018, "Online normalizer calculation for softmax", with the weighted sum added). The
last program of a row to arrive merges the row's slices.

Loads are of 16 bytes where each row begins at a multiple of 16 elements, whatever the size of the vocabulary:
the elements behind the last whole 16 bytes of a row are read one by one, before the loop. vLLM's logits are such,
as it cuts them from a padded vocabulary. A contiguous array with rows of an odd length has rows that begin
anywhere; these are read element by element, since 16-byte loads would need another start in every row.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from arpo_entropy_recorder.ops import GREEDY_TEMPERATURE

# An H100 needs about 3.35 TB/s * 0.7 us / 132 = 18 KB of loads in flight on each multiprocessor, more under
# load. A program has 128 lanes with 2 loads of 16 bytes (this tile's and the next one's), and at 32 registers a
# lane 16 programs share a multiprocessor: 64 KB.
NUM_WARPS = 4
LANES = 32 * NUM_WARPS
LOAD_BYTES = 16
PROGRAMS_PER_PROCESSOR = 16
MAX_SPLITS = 256

_LANES = tl.constexpr(LANES)
_MAX_SPLITS = tl.constexpr(MAX_SPLITS)
_GREEDY = tl.constexpr(GREEDY_TEMPERATURE)
_LOG2_E = tl.constexpr(1.4426950408889634)
_LN_2 = tl.constexpr(0.6931471805599453)
# Where a peak starts: finite, so that peak - peak is 0, and no finite logit is below it.
_LOWEST = tl.constexpr(-3.4028234663852886e38)
# 2 ** -1e4 is 0 in float32: stands for -inf in products with such a 0, which must be 0 and not NaN.
_FLOOR = tl.constexpr(-1.0e4)


def plan(num_rows: int, vocab_size: int, itemsize: int, programs: int) -> tuple[int, int]:
    """(splits, tiles): `splits` programs a row, each of `tiles` tiles, on a card that runs `programs` at once.

    The slices of a row cover it, none is empty, and split rows never take more than `programs` programs
    together, which is what the workspace holds.
    """
    row_tiles = triton.cdiv(vocab_size, LANES * LOAD_BYTES // itemsize)
    splits = max(1, min(programs // num_rows, row_tiles, MAX_SPLITS))
    tiles = triton.cdiv(row_tiles, splits)
    return triton.cdiv(row_tiles, tiles), tiles


@triton.jit
def _merge(peak, total, weighted, scale):
    """Merge the triples along axis 0 into one."""
    top = tl.max(peak, 0)
    shift = tl.maximum((peak - top) * scale, _FLOOR)
    factor = tl.exp2(shift)
    return top, tl.sum(total * factor, 0), tl.sum((weighted + shift * total) * factor, 0)


@triton.jit
def _store_nats(history, slots, index, total, weighted):
    nats = _LN_2 * (tl.log2(total) - weighted / total)
    # The device's log2 and exp2 are approximate, so a one-hot row may come out below 0. Not tl.maximum, which
    # would turn NaN into 0.
    tl.store(history + tl.load(slots + index).to(tl.int64), tl.where(nats <= 0.0, 0.0, nats))


# What differs from call to call, integers and the alignment of what points into the index tensor, is not
# specialised on, or a new value would stall on a compilation.
@triton.jit(do_not_specialize=["history", "slots", "rows", "temperature", "splits", "tiles"])
def _entropy_kernel(  # type: ignore[no-untyped-def]
    history,
    slots,
    logits,
    rows,
    temperature,
    arrivals,
    partials,
    row_stride,
    vocab_size,
    splits,
    tiles,
    VECTOR: tl.constexpr,
    TAIL: tl.constexpr,
    SPLIT: tl.constexpr,
    CAPACITY: tl.constexpr,
):
    program = tl.program_id(0)
    index = program // splits
    row = tl.load(rows + index).to(tl.int64)
    scale = _LOG2_E
    if temperature is not None:
        t = tl.load(temperature + row).to(tl.float32)
        scale = _LOG2_E / tl.where(t <= _GREEDY, 1.0, t)

    # [LANES, VECTOR]: a row of the tile is one lane's 16 bytes, so the loop reduces within lanes only.
    offsets = tl.arange(0, _LANES)[:, None] * VECTOR + tl.arange(0, VECTOR)[None, :]
    first = (program % splits) * tiles * (_LANES * VECTOR)
    # A multiple of VECTOR, or the compiler could not let one mask stand for a lane's VECTOR elements.
    whole = vocab_size // VECTOR * VECTOR
    end = tl.minimum(first + tiles * (_LANES * VECTOR), whole)
    offsets += first
    source = logits + row * row_stride

    peak = tl.full([_LANES], _LOWEST, tl.float32)
    total = tl.zeros([_LANES], tl.float32)
    weighted = tl.zeros([_LANES], tl.float32)
    if TAIL:
        # At most VECTOR - 1 elements, one a lane, in the row's last slice. With u = 0 the weighted sum stays 0.
        beyond = whole + tl.arange(0, _LANES)
        limit = tl.where(program % splits == splits - 1, vocab_size, 0)
        rest = tl.load(source + beyond, mask=beyond < limit, other=float("-inf")).to(tl.float32)
        peak = tl.maximum(peak, rest)
        total = tl.exp2((rest - peak) * scale)
    # No eviction hint: the sampler reads the same logits next.
    following = tl.load(source + offsets, mask=offsets < end, other=float("-inf"))
    for _ in range(tiles):
        x = following.to(tl.float32)
        # Under way while this tile is worked on; nothing is loaded past the slice.
        offsets += _LANES * VECTOR
        following = tl.load(source + offsets, mask=offsets < end, other=float("-inf"))
        top = tl.maximum(peak, tl.max(x, 1))
        shift = tl.maximum((peak - top) * scale, _FLOOR)
        factor = tl.exp2(shift)
        u = (x - top[:, None]) * scale
        mass = tl.exp2(u)
        weighted = (weighted + shift * total) * factor + tl.sum(mass * tl.maximum(u, _FLOOR), 1)
        total = total * factor + tl.sum(mass, 1)
        peak = top
    peak, total, weighted = _merge(peak, total, weighted, scale)

    if SPLIT:
        tl.store(partials + program, peak)
        tl.store(partials + CAPACITY + program, total)
        tl.store(partials + 2 * CAPACITY + program, weighted)
        tl.debug_barrier()
        # Releases this slice and acquires those that arrived before.
        if tl.atomic_add(arrivals + index, 1, sem="acq_rel") == splits - 1:
            slices = tl.arange(0, _MAX_SPLITS)
            mine = slices < splits
            slices += index * splits
            # Past the first-level cache, which other multiprocessors' stores do not reach.
            peaks = tl.load(partials + slices, mask=mine, other=_LOWEST, cache_modifier=".cg")
            totals = tl.load(partials + CAPACITY + slices, mask=mine, other=0.0, cache_modifier=".cg")
            weights = tl.load(partials + 2 * CAPACITY + slices, mask=mine, other=0.0, cache_modifier=".cg")
            peak, total, weighted = _merge(peaks, totals, weights, scale)
            _store_nats(history, slots, index, total, weighted)
            tl.store(arrivals + index, 0)  # ready for the next launch
    else:
        _store_nats(history, slots, index, total, weighted)


class Workspace(NamedTuple):
    """Where the slices of split rows meet; of a fixed size, since only so many programs run at a time."""

    programs: int
    arrivals: Tensor  # [programs] int32, 0 between launches
    partials: Tensor  # [3, programs] float32: peak, total, weighted


@cache
def _workspace(device: torch.device, stream: int) -> Workspace:
    """One for each stream, since launches on two streams may overlap."""
    processors = 4  # Triton's interpreter
    if device.type == "cuda":
        processors = torch.cuda.get_device_properties(device).multi_processor_count
    programs = PROGRAMS_PER_PROCESSOR * processors
    arrivals = torch.zeros(programs, dtype=torch.int32, device=device)
    return Workspace(programs, arrivals, torch.empty(3, programs, dtype=torch.float32, device=device))


def entropy_into_triton(
    history: Tensor, slots: Tensor, logits: Tensor, rows: Tensor, temperature: Tensor | None = None
) -> None:
    """`entropy.entropy_into` in one launch; does not wait for the device.

    Allocates at the first call on a stream only (call it once before capturing a CUDA graph), and for an
    argument of an unusual layout (a strided vocabulary or index).
    """
    num_rows, vocab_size = rows.numel(), logits.shape[-1]
    if num_rows == 0:
        return
    if logits.stride(-1) != 1:
        logits = logits.contiguous()
    if temperature is not None:
        temperature = temperature.contiguous()
    device, stream = logits.device, 0
    if device.type == "cuda":
        if device.index != torch.cuda.current_device():
            with torch.cuda.device(device):
                return entropy_into_triton(history, slots, logits, rows, temperature)
        stream = torch.cuda.current_stream(device).cuda_stream
    programs, arrivals, partials = _workspace(device, stream)
    splits, tiles = plan(num_rows, vocab_size, logits.element_size(), programs)
    vector = LOAD_BYTES // logits.element_size()
    _entropy_kernel[(num_rows * splits,)](
        history,
        slots.contiguous(),
        logits,
        rows.contiguous(),
        temperature,
        arrivals,
        partials,
        logits.stride(0),
        vocab_size,
        splits,
        tiles,
        VECTOR=vector,
        TAIL=vocab_size % vector > 0,
        SPLIT=splits > 1,
        CAPACITY=programs,
        num_warps=NUM_WARPS,
    )
