"""A call's entropies as the few numbers that a trainer logs."""

from __future__ import annotations

from typing import Any

import numpy as np

from arpo_entropy_recorder.step_files.schema import HIGH_ENTROPY


def entropy_metrics(columns: dict[str, Any]) -> dict[str, float]:
    """Normalised entropies of one call's records, nulls and padding left out.

    `entropy/after_tool/mean`, `/std` (population), `/share_above_0.6`, `entropy/initial/mean` (trajectories'
    first records, before any tool call) and `entropy/round_<r>/mean` (after the r-th result). A figure without
    records is absent.
    """
    entropy = np.asarray(columns["entropy"], dtype=np.float64)
    rounds = np.asarray(columns["round"])
    after = np.asarray(columns["is_after_tool_call"])
    counted = ~np.isnan(entropy)
    if "padding" in columns:
        counted &= ~np.asarray(columns["padding"])
    metrics: dict[str, float] = {}
    # What goes on after a length limit is round 0 too, but no start: only a trajectory's first record is one.
    first = np.zeros(len(entropy), dtype=bool)
    first[np.unique(np.asarray(columns["sample_idx"]), return_index=True)[1]] = True
    initial = entropy[counted & first & ~after & (rounds == 0)]
    if initial.size:
        metrics["entropy/initial/mean"] = float(initial.mean())
    after_tool = entropy[counted & after]
    if after_tool.size:
        metrics["entropy/after_tool/mean"] = float(after_tool.mean())
        metrics["entropy/after_tool/std"] = float(after_tool.std())
        metrics[f"entropy/after_tool/share_above_{HIGH_ENTROPY}"] = float((after_tool > HIGH_ENTROPY).mean())
    for r in np.unique(rounds[counted & after]):
        metrics[f"entropy/round_{r}/mean"] = float(entropy[counted & after & (rounds == r)].mean())
    return metrics
