"""Entropies after tool results against their trajectories' starts, as a training goes: metrics and warnings."""

from __future__ import annotations

import logging
import re
from collections import deque
from statistics import fmean

import numpy as np

from arpo_entropy_recorder.recorder.call_entropies import CallEntropies

logger = logging.getLogger(__name__)

# Steps that the warning adds up.
STEPS = 20
# It comes again only after the ratio has been above this.
REARM = 1.1
MAX_TOOLS = 8
_NOT_A_NAME = re.compile(r"[^\w.]")


def rise_metrics(call: CallEntropies) -> dict[str, float]:
    """Of one call: `entropy/rise/ratio`, sum A / sum B, and `/share_of_prompts`, those with A > B.

    `entropy/tool_results`, their number, 0 included; `entropy/null`, records without an entropy, if any;
    `entropy/after_tool/p90`; `entropy/tool/<name>/mean` of the tools that are called most.
    """
    metrics: dict[str, float] = {"entropy/tool_results": call.num_results}
    if nulls := int(np.count_nonzero(call.real & ~call.counted)):
        metrics["entropy/null"] = nulls
    a, b = call.prompt_means
    if len(a):
        metrics["entropy/rise/share_of_prompts"] = float((a > b).mean())
        if b.sum() > 0:
            metrics["entropy/rise/ratio"] = float(a.sum() / b.sum())
    chosen = call.counted & call.after
    if chosen.any():
        metrics["entropy/after_tool/p90"] = float(np.quantile(call.entropy[chosen], 0.9))
    by_tool: dict[str, list[float]] = {}
    if "tool" in call.columns:
        # Metric names are paths: what a logger could stumble over becomes an underscore.
        names = {tool: _NOT_A_NAME.sub("_", tool or "not_named") for tool in set(call.columns["tool"])}
        for index, value in zip(np.flatnonzero(chosen).tolist(), call.entropy[chosen].tolist(), strict=True):
            by_tool.setdefault(names[call.columns["tool"][index]], []).append(value)
    for name, values in sorted(by_tool.items(), key=lambda item: -len(item[1]))[:MAX_TOOLS]:
        metrics[f"entropy/tool/{name}/mean"] = fmean(values)
    return metrics


class RiseLog:
    """Warns where a step had no tool result, and where after / before over the last 20 steps falls below 1."""

    def __init__(self) -> None:
        self._step: int | None = None
        self._results = 0
        self._sums = np.zeros(2)
        self._last: deque[np.ndarray] = deque(maxlen=STEPS)
        self._had_results = True
        self._armed = True

    def add(self, step: int, call: CallEntropies) -> None:
        """Take a sampled call of training; a step is over when a call of another one comes."""
        if self._step is not None and step != self._step:
            self._close()
        self._step = step
        self._results += call.num_results
        a, b = call.prompt_means
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
