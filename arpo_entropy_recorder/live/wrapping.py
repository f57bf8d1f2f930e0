"""Methods of vLLM's classes that have ours in front, once: vLLM may load its plug-ins more than once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Set on a method of ours.
OURS = "_arpo_entropy"


def is_ours(method: object) -> bool:
    """Whether the method was put there by `put`."""
    return bool(getattr(method, OURS, False))


def put(cls: type, name: str, method: Callable[..., Any]) -> None:
    """Have the class use `method` under this name."""
    setattr(method, OURS, True)
    setattr(cls, name, method)
