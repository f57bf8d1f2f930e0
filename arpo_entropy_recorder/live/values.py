"""The table of the values that came in and wait for their trajectory: bounded, and every loss counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from arpo_entropy_recorder.live.messages import Value

MAX_KEYS = 1_000_000
MAX_POSITIONS = 10_000


class ValueTable:
    """Entropies in nats by request key and position; the last one of a place counts. Not for several threads."""

    def __init__(self, max_keys: int = MAX_KEYS, max_positions: int = MAX_POSITIONS) -> None:
        self.max_keys, self.max_positions = max_keys, max_positions
        # A dict keeps the order of insertion: the first key is the one that waits longest.
        self._waiting: dict[str, dict[int, float | None]] = {}
        self.received = self.beyond_window = self.evicted_keys = self.taken = self.missing = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, values: Iterable[Value]) -> None:
        """Enter values. A key too many takes the place of the one that has waited longest."""
        waiting = self._waiting
        for key, position, nats in values:
            self.received += 1
            if position >= self.max_positions:
                self.beyond_window += 1
                continue
            positions = waiting.get(key)
            if positions is None:
                if len(waiting) >= self.max_keys:
                    del waiting[next(iter(waiting))]
                    self.evicted_keys += 1
                positions = waiting[key] = {}
            positions[position] = nats

    def missing_of(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """Of the keys with their numbers of positions, those of which a position has not come."""
        return {key: count for key, count in wanted.items() if len(self._found(key, count)) < count}

    def take(self, wanted: Mapping[str, int]) -> dict[str, list[float | None]]:
        """Remove the keys; for each the nats of its first positions, None where there is no value."""
        result = {}
        for key, count in wanted.items():
            found = self._found(key, count)
            self._waiting.pop(key, None)
            result[key] = [found.get(position) for position in range(count)]
            self.taken += len(found)
            self.missing += count - len(found)
        return result

    def _found(self, key: str, count: int) -> dict[int, float | None]:
        positions = self._waiting.get(key, {})
        return {p: positions[p] for p in range(count) if p in positions}

    def counters(self) -> dict[str, int]:
        """What happened so far, by name."""
        return {
            "keys_waiting": len(self),
            "values_received": self.received,
            "values_taken": self.taken,
            "values_missing": self.missing,
            "values_beyond_window": self.beyond_window,
            "keys_evicted": self.evicted_keys,
        }
