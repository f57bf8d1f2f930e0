"""Where a start belongs: the row of the batch whose prompt it is, or begins with."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Place(NamedTuple):
    """The batch row that a start answers, -1 for none, and how many of its tokens are the prompt."""

    row: int
    prompt_len: int


class Rows(Protocol):
    """The prompts of a batch. `doubtful`: rows of which it is not sure which trajectory answers which."""

    doubtful: set[int]

    def places(self, starts: list[list[int]]) -> list[Place]:
        """The place of each starting list of a generate call."""

    def is_row(self, tokens: list[int]) -> bool:
        """Whether `tokens` are a row's prompt."""


class SeenPrompts:
    """Prompts in the order of their first appearance, where no batch says what they are."""

    def __init__(self) -> None:
        self.doubtful: set[int] = set()
        self._row_of: dict[tuple[int, ...], int] = {}

    def places(self, starts: list[list[int]]) -> list[Place]:
        return [self._place(tuple(start)) for start in starts]

    def _place(self, start: tuple[int, ...]) -> Place:
        known = [row for row in self._row_of if start[: len(row)] == row]
        prompt = max(known, key=len, default=start)
        return Place(self._row_of.setdefault(prompt, len(self._row_of)), len(prompt))

    def is_row(self, tokens: list[int]) -> bool:
        return tuple(tokens) in self._row_of
