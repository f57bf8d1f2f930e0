"""Where the values of requests come in, how long they are waited for, and why some may be missing."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from arpo_entropy_recorder.recorder.guard import warn

logger = logging.getLogger(__name__)

# How long values that have not come are waited for; halved each time that some never did, but longer than a sender
# keeps values for those of the next steps.
WAIT_S, SHORTEST_WAIT_S = 5.0, 0.5
PLUGIN = "arpo_entropy"


class ValueSource(Protocol):
    """Where the values of requests come in: `live.collector.Collector`."""

    def take(self, wanted: Mapping[str, int], timeout_s: float) -> Mapping[str, Sequence[float | None]]:
        """The nats of each key's first positions."""

    def status(self) -> dict[str, Any]:
        """Its counters, and the workers that have said hello."""


class Taking:
    """Takes values from a source. Not for several threads."""

    def __init__(self, source: ValueSource) -> None:
        self._source = source
        self._wait_s = WAIT_S
        self._told_of_nulls = False

    def take(self, wanted: Mapping[str, int]) -> dict[str, Sequence[float | None]]:
        """The nats of so many first positions of each key; None for those that do not come in time."""
        values = dict(self._source.take(wanted, self._wait_s))
        is_missing = any(value is None for found in values.values() for value in found)
        self._wait_s = max(self._wait_s / 2, SHORTEST_WAIT_S) if is_missing else WAIT_S
        return values

    def tell_of_nulls(self, nulls: int, count: int, where: str = "") -> None:
        """Log, at the first of them, that so many of `count` entropies are null, and why."""
        if nulls and not self._told_of_nulls:
            self._told_of_nulls = True
            cause = likely_cause(self._source.status())
            warn(logger, "%s%d of %d entropies are null: %s; this is said once", where, nulls, count, cause)


def likely_cause(status: Mapping[str, Any]) -> str:
    """Why values may be missing, by what is known of the engines' workers."""
    names = os.environ.get("VLLM_PLUGINS")
    if names is not None and PLUGIN not in names.split(","):
        return f"VLLM_PLUGINS={names} leaves {PLUGIN} out; add it"
    workers = status.get("workers") or []
    if refused := [worker["refused"] for worker in workers if worker.get("refused")]:
        return f"an engine is not recorded: {refused[0]}"
    if not workers:
        if status.get("messages_refused"):
            return "messages came, but with the token of another job"
        return (
            "no engine's worker has reported; is the package installed on its node, is vLLM 0.10 or later, and can "
            "it reach the collector?"
        )
    if lost := status.get("lost"):
        return "workers lost values: " + "; ".join(f"{reason} ({count})" for reason, count in lost.items())
    if status.get("keys_evicted"):
        return "more requests were under way than the collector holds"
    return "a worker died, the network lost them, or the logits had none"
