"""A call's records by column, as the schema names them."""

from __future__ import annotations

from typing import Any

import numpy as np

from arpo_entropy_recorder.recorder.batch import Batch
from arpo_entropy_recorder.recorder.settings import Settings
from arpo_entropy_recorder.recorder.trajectory import Segment


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
    if settings.window > 1:
        columns["window"] = [
            row[: len(segment.token_ids or ())] for row, segment in zip(entropies, segments, strict=True)
        ]
    if settings.record_tokens:
        # As arrays: a step may wait in memory for its directory, with every token of it.
        columns["tokens"] = [np.asarray(segment.token_ids or (), dtype=np.int32) for segment in segments]
    if not batch.do_sample:
        columns["do_sample"] = [False] * len(segments)
    padding = batch.is_padding(prompt_idx)
    if padding.any():
        columns["padding"] = padding
    if incomplete:
        columns["incomplete"] = [True] * len(segments)
    return columns
