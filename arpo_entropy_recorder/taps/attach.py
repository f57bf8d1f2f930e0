"""Which worker gets a resident tap, and of which kind."""

from __future__ import annotations

from typing import Any

from arpo_entropy_recorder.taps.engine import check_features, check_version
from arpo_entropy_recorder.taps.resident import ATTRIBUTE, ReadMark, ResidentTap
from arpo_entropy_recorder.taps.resident_v1 import ResidentV1Tap
from arpo_entropy_recorder.taps.resident_v2 import ResidentV2Tap
from arpo_entropy_recorder.taps.tap import Unsupported, kind_for

OLDEST = (0, 10)
SUPPORTED = (
    "requests that come and go are recorded with vLLM 0.10 to 0.33 (its model runner V2 from 0.20) without "
    "speculative decoding and pipeline parallelism"
)


def resident_tap(worker: Any, window: int, read_mark: ReadMark) -> ResidentTap:
    """A resident tap for the worker's model runner, not attached yet.

    Raises Unsupported, in one line, for an engine whose logits cannot be reached.
    """
    runner = worker.model_runner
    try:
        check_version(OLDEST)
        check_features(worker.vllm_config)
        kind = kind_for(runner, (ResidentV1Tap, ResidentV2Tap))
        kind.check(runner)
    except Unsupported as error:
        raise Unsupported(f"{error}; {SUPPORTED}") from None
    tap = kind(runner, window, read_mark)
    setattr(runner, ATTRIBUTE, tap)
    return tap


def is_recording_rank(runner: Any) -> bool:
    """Whether this rank of a tensor-parallel group has logits of rows that no other rank records."""
    from vllm.distributed import get_tp_group

    # Runner V2 may give each rank rows of its own; otherwise all ranks see the same logits.
    return get_tp_group().rank_in_group == 0 or getattr(runner, "batch_sharder", None) is not None


def data_parallel_rank(worker: Any) -> int:
    """The number of the worker's engine among those of its server."""
    parallel = worker.vllm_config.parallel_config
    rank = getattr(parallel, "data_parallel_index", None)
    return int(parallel.data_parallel_rank if rank is None else rank)
