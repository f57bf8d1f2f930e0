"""Tables of what is known of earlier turns, by digest. What two turns have alike finds neither of them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Node = TypeVar("Node")


@dataclass
class Found(Generic[Node]):
    """The turns with one digest. was_alike: there have been several; it stays, since which one is meant is open."""

    nodes: list[Node] = field(default_factory=list)
    was_alike: bool = False


class Table(Generic[Node]):
    """Turns by digest."""

    def __init__(self) -> None:
        self._entries: dict[bytes, Found[Node]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, digest: bytes, node: Node) -> None:
        """Enter a turn under a digest."""
        entry = self._entries.setdefault(digest, Found())
        entry.nodes.append(node)
        entry.was_alike |= len(entry.nodes) > 1

    def remove(self, digest: bytes, node: Node) -> None:
        """Take a turn out that was entered."""
        entry = self._entries[digest]
        entry.nodes.remove(node)
        if not entry.nodes:
            del self._entries[digest]

    def get(self, digest: bytes | None) -> Found[Node] | None:
        """The turns with this digest; None where there are none."""
        return None if digest is None else self._entries.get(digest)


class Lengths:
    """The lengths, in tokens, of the sequences that are known, in order."""

    def __init__(self) -> None:
        self._sorted: list[int] = []
        self._counts: Counter[int] = Counter()

    def add(self, length: int) -> None:
        """One more of this length."""
        if not self._counts[length]:
            insort(self._sorted, length)
        self._counts[length] += 1

    def remove(self, length: int) -> None:
        """One less."""
        self._counts[length] -= 1
        if not self._counts[length]:
            del self._counts[length]
            del self._sorted[bisect_left(self._sorted, length)]

    def __iter__(self) -> Iterator[int]:
        return iter(self._sorted)
