"""What a page holds of a run, for its script: sums and histograms by group, and the trajectories to read."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from arpo_entropy_recorder.report.gathered import Gathered
from arpo_entropy_recorder.report.histograms import BINS, LOWEST
from arpo_entropy_recorder.report.markup import visible

# Student's t at 97.5 % by degrees of freedom, for the intervals of fewer prompts than an expansion is exact for.
T_TABLE = 60


def run_data(name: str, gathered: Gathered, trajectories: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A run as plain types for JSON; `packed` holds the arrays that `layout` names, in its order.

    `sums` are the six sums (`ratio`), float64[1 + tools, steps, 6], for all tools and for each; `branches` those of
    `BranchScores`, float64[steps, 6]. A group's place in `groups` is its (step, round, tool), as indices of `steps`
    and, from 1 on, of `tools`, int32[3, groups]; `counts` are uint16 or uint32 [groups, BINS], `totals` their
    entropies' sums, float32[groups].
    """
    pairs, histograms = gathered.pairs, gathered.histograms
    steps = pairs.steps
    sums = [pairs.means, *(pairs.by_tool.get(tool) for tool in histograms.tools)]
    keys, counts = histograms.keys, histograms.counts
    none = np.zeros((len(steps), 6))
    branches = np.stack([gathered.branches.sums.get(step, np.zeros(6)) for step in steps.tolist()])
    narrow = not counts.size or counts.max() < 2**16
    arrays = {
        "sums": np.stack([none if means is None else means.sums(steps) for means in sums]).astype("<f8"),
        "branches": branches.astype("<f8"),
        "totals": histograms.sums.astype("<f4"),
        "groups": np.stack([np.searchsorted(steps, keys[0]), keys[1], keys[2]]).astype("<i4"),
        "counts": counts.astype("<u2" if narrow else "<u4"),
    }
    return {
        "name": visible(name),
        "steps": steps.tolist(),
        "tools": [visible(tool) for tool in histograms.tools],
        "vocab_size": gathered.vocab_size,
        "layout": [[key, array.dtype.str[1:], array.size] for key, array in arrays.items()],
        "packed": _packed(array.tobytes() for array in arrays.values()),
        "trajectories": list(trajectories),
    }


def page_data(runs: Sequence[Mapping[str, Any]], words: Mapping[str, str] | None = None) -> dict[str, Any]:
    """All runs, and what the script needs beside them; `words` translate its English."""
    from scipy.special import stdtrit

    return {
        "bins": BINS,
        "lowest": LOWEST,
        "t": [float(value) for value in stdtrit(np.arange(1, T_TABLE + 1), 0.975)],
        "words": dict(words or {}),
        "runs": list(runs),
    }


def _packed(parts: Iterable[bytes]) -> str:
    """zlib's format, as DecompressionStream("deflate") reads it, in base64."""
    return base64.b64encode(zlib.compress(b"".join(parts))).decode()
