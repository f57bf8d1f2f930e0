"""A call's records by column, as the schema names them, and the few numbers of them that a trainer logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from arpo_entropy_recorder.recorder.batch import Batch
from arpo_entropy_recorder.recorder.call_entropies import CallEntropies
from arpo_entropy_recorder.recorder.rise import rise_metrics
from arpo_entropy_recorder.recorder.settings import Settings
from arpo_entropy_recorder.recorder.trajectory import Segment
from arpo_entropy_recorder.step_files.schema import HIGH_ENTROPY


def call_columns(
    segments: list[Segment], entropies: np.ndarray, batch: Batch, settings: Settings, incomplete: bool
) -> dict[str, Any]:
    """Equally long columns by schema key, one row per segment; `entropies` is [segments, window], normalised."""
    prompt_idx = np.array([segment.prompt_idx for segment in segments], dtype=np.int64)
    columns: dict[str, Any] = {
        "sample_idx": np.array([segment.sample_idx for segment in segments], dtype=np.int64),
        "prompt_idx": [row if row >= 0 else None for row in prompt_idx.tolist()],
        "parent_idx": [segment.parent_idx for segment in segments],
        "round": np.array([segment.round for segment in segments], dtype=np.int64),
        "tool": [segment.tool for segment in segments],
        "is_after_tool_call": np.array([segment.is_after_tool_call for segment in segments], dtype=bool),
        "token_id": [segment.token_ids[0] if segment.token_ids else None for segment in segments],
        "entropy": entropies[:, 0],
    }
    if settings.prompt_id:
        columns["prompt"] = batch.prompt_digests(prompt_idx)
    if settings.window > 1:
        columns["window"] = [
            row[: len(segment.token_ids or ())] for row, segment in zip(entropies, segments, strict=True)
        ]
    numbers = [segment.logprobs_entropy for segment in segments]
    if any(number is not None for number in numbers):
        columns["logprobs_entropy"] = np.array(numbers, dtype=np.float32)  # None is NaN
    if settings.record_tokens:
        # As arrays: a step may wait in memory for its directory, with every token of it.
        columns["tokens"] = [np.asarray(segment.token_ids or (), dtype=np.int32) for segment in segments]
    if not batch.do_sample:
        columns["do_sample"] = [False] * len(segments)
    padding = batch.is_padding(prompt_idx)
    if padding.any():
        columns["padding"] = padding
    for name in ("mid_start", "unsure"):
        if any(column := [getattr(segment, name) for segment in segments]):
            columns[name] = column
    if incomplete:
        columns["incomplete"] = [True] * len(segments)
    return columns


def count_metrics(counts: Mapping[str, int]) -> dict[str, int]:
    """`entropy/<name>` for each count that is not 0: a metric that is there is an alarm."""
    return {f"entropy/{name}": count for name, count in counts.items() if count}


def entropy_metrics(call: CallEntropies) -> dict[str, float]:
    """Normalised entropies of one call's records, nulls and padding left out.

    `entropy/after_tool/mean`, `/std` (population), `/share_above_0.6` (superseded by the rise),
    `entropy/initial/mean` (trajectories' first records, before any tool call), `entropy/round_<r>/mean` (after the
    r-th result) and those of `rise_metrics`. A figure without records is absent.
    """
    entropy, chosen = call.entropy, call.counted & call.after
    metrics = rise_metrics(call)
    initial = entropy[call.counted & call.starts]
    if initial.size:
        metrics["entropy/initial/mean"] = float(initial.mean())
    after_tool = entropy[chosen]
    if after_tool.size:
        metrics["entropy/after_tool/mean"] = float(after_tool.mean())
        metrics["entropy/after_tool/std"] = float(after_tool.std())
        metrics[f"entropy/after_tool/share_above_{HIGH_ENTROPY}"] = float((after_tool > HIGH_ENTROPY).mean())
    for r in np.unique(call.rounds[chosen]):
        metrics[f"entropy/round_{r}/mean"] = float(entropy[chosen & (call.rounds == r)].mean())
    return metrics
