"""Entropies after tool results against their trajectories' starts, as a training goes: metrics and warnings.

What counts is a prompt: A is the mean, over its trajectories that have both, of their mean after-tool entropies, B
the mean of their starts. `analysis/ratio.py` takes the same from step files.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

# Steps that the warning adds up.
STEPS = 20
# It comes again only after the ratio has been above this.
REARM = 1.1
MAX_TOOLS = 8
_NOT_A_NAME = re.compile(r"[^\w.]")


def counted_records(columns: dict[str, Any]) -> np.ndarray:
    """True, bool[n], for what is no padding and has an entropy."""
    return _real(columns) & ~np.isnan(np.asarray(columns["entropy"], dtype=np.float64))


def start_records(columns: dict[str, Any]) -> np.ndarray:
    """True, bool[n], for a trajectory's first record if it comes before any tool result and begins a response."""
    rounds, after = np.asarray(columns["round"]), np.asarray(columns["is_after_tool_call"])
    # What goes on after a length limit is round 0 too, but no start: only a trajectory's first record is one.
    first = np.zeros(len(rounds), dtype=bool)
    first[np.unique(np.asarray(columns["sample_idx"]), return_index=True)[1]] = True
    # Nor is what begins amid a response: as a branch, or as a trajectory whose beginning was written elsewhere.
    if "parent_idx" in columns:
        first &= np.array([parent is None for parent in columns["parent_idx"]], dtype=bool)
    if "mid_start" in columns:
        first &= ~np.asarray(columns["mid_start"])
    return first & ~after & (rounds == 0)


def prompt_means(columns: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """A and B of one call's prompts that have both, float64[prompts] each; a branch's start is its parent's."""
    entropy, samples = np.asarray(columns["entropy"], dtype=np.float64), np.asarray(columns["sample_idx"])
    counted, after = counted_records(columns), np.asarray(columns["is_after_tool_call"])
    starts = dict(
        zip(samples[m := start_records(columns) & counted].tolist(), entropy[m].tolist(), strict=True)
    )
    parents = dict(zip(samples.tolist(), columns.get("parent_idx") or [None] * len(samples), strict=True))
    rows = columns.get("prompt_idx") or [None] * len(samples)
    prompts = dict(zip(samples.tolist(), rows, strict=True))
    after_tool: dict[int, list[float]] = {}
    for sample, value in zip(
        samples[counted & after].tolist(), entropy[counted & after].tolist(), strict=True
    ):
        after_tool.setdefault(sample, []).append(value)
    means: dict[Any, list[tuple[float, float]]] = {}
    for sample, values in after_tool.items():
        ancestor = sample
        while ancestor not in starts and parents.get(ancestor) is not None:
            ancestor = parents[ancestor]
        if ancestor in starts:
            row = prompts[sample]
            prompt = ("row", row) if row is not None else ("trajectory", sample)
            means.setdefault(prompt, []).append((float(np.mean(values)), starts[ancestor]))
    found = np.array([np.mean(pairs, axis=0) for pairs in means.values()]).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def rise_metrics(columns: dict[str, Any]) -> dict[str, float]:
    """Of one call: `entropy/rise/ratio`, sum A / sum B, and `/share_of_prompts`, those with A > B.

    `entropy/tool_results`, their number, 0 included; `entropy/null`, records without an entropy, if any;
    `entropy/after_tool/p90`; `entropy/tool/<name>/mean` of the tools that are called most.
    """
    after_tool = np.asarray(columns["is_after_tool_call"])
    counted, real = counted_records(columns), _real(columns)
    entropy = np.asarray(columns["entropy"], dtype=np.float64)
    metrics: dict[str, float] = {"entropy/tool_results": int(np.count_nonzero(after_tool & real))}
    if nulls := int(np.count_nonzero(real & ~counted)):
        metrics["entropy/null"] = nulls
    a, b = prompt_means(columns)
    if len(a):
        metrics["entropy/rise/share_of_prompts"] = float((a > b).mean())
        if b.sum() > 0:
            metrics["entropy/rise/ratio"] = float(a.sum() / b.sum())
    chosen = counted & after_tool
    if chosen.any():
        metrics["entropy/after_tool/p90"] = float(np.quantile(entropy[chosen], 0.9))
    by_tool: dict[str, list[float]] = {}
    for index in np.flatnonzero(chosen).tolist() if "tool" in columns else ():
        # Metric names are paths: what a logger could stumble over becomes an underscore.
        name = _NOT_A_NAME.sub("_", columns["tool"][index] or "not_named")
        by_tool.setdefault(name, []).append(float(entropy[index]))
    for name, values in sorted(by_tool.items(), key=lambda item: -len(item[1]))[:MAX_TOOLS]:
        metrics[f"entropy/tool/{name}/mean"] = float(np.mean(values))
    return metrics


def _real(columns: dict[str, Any]) -> np.ndarray:
    """True, bool[n], for what is no padding."""
    padding = columns.get("padding")
    return np.ones(len(columns["entropy"]), dtype=bool) if padding is None else ~np.asarray(padding)


class RiseLog:
    """Warns where a step had no tool result, and where after / before over the last 20 steps falls below 1."""

    def __init__(self) -> None:
        self._step: int | None = None
        self._results = 0
        self._sums = np.zeros(2)
        self._last: deque[np.ndarray] = deque(maxlen=STEPS)
        self._had_results = True
        self._armed = True

    def add(self, step: int, columns: dict[str, Any]) -> None:
        """Take a sampled call of training; a step is over when a call of another one comes."""
        if self._step is not None and step != self._step:
            self._close()
        self._step = step
        self._results += int(np.count_nonzero(np.asarray(columns["is_after_tool_call"]) & _real(columns)))
        a, b = prompt_means(columns)
        self._sums += (a.sum(), b.sum())

    def _close(self) -> None:
        if not self._results and self._had_results:
            logger.warning("entropy recorder: no tool result in step %s (of this worker)", self._step)
        self._had_results = bool(self._results)
        self._last.append(self._sums)
        after, before = np.sum(list(self._last), axis=0).tolist()
        if len(self._last) == STEPS and before > 0:
            ratio = after / before
            if ratio < 1 and self._armed:
                logger.warning(
                    "entropy recorder: up to step %s the entropy after tool results is %.2f times that before any, "
                    "over %d steps (of this worker)",
                    self._step,
                    ratio,
                    STEPS,
                )
            self._armed = ratio > REARM or (self._armed and ratio >= 1)
        self._results, self._sums = 0, np.zeros(2)
