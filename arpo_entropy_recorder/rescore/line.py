"""One dumped trajectory, whatever keys it was dumped under."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeGuard

Prompt = str | list[int] | list[dict[str, str]]
"""Text, token ids, or chat messages with `role` and `content`."""


def is_messages(value: Any) -> TypeGuard[list[dict[str, str]]]:
    """True for chat messages, which are no sequence of tokens. Tells them by the first."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


@dataclass(frozen=True)
class Line:
    """One trajectory of a dump: prompt and response as text, or both as token ids. `where` names file and line.

    `mask`, by token of the response, is True where the policy wrote it and False for a tool's result or padding;
    None where the dump does not tell. `texts` are prompt and response as text, where a dump has them beside the ids.
    `is_unpadded`: an attention mask has told the padding. `score` is the trainer's, where the dump tells it.
    """

    where: str
    prompt: Prompt
    response: str | list[int]
    mask: list[bool] | None = None
    texts: tuple[str, str] | None = None
    is_unpadded: bool = False
    score: float | None = None

    @property
    def largest_id(self) -> int:
        """The largest token id; -1 for a line of text."""
        if isinstance(self.response, str):
            return -1
        return max([*(i for i in self.prompt if isinstance(i, int)), *self.response], default=-1)
