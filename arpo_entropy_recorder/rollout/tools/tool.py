"""What a tool is, and how a call of it fails."""

from __future__ import annotations

from typing import Protocol


class ToolError(Exception):
    """A call that failed. Its message is what the policy is told in place of a result."""


class Tool(Protocol):
    """Anything callable with the text between the tags. It must end by itself; what it raises is a failure."""

    def __call__(self, content: str, /) -> str: ...
