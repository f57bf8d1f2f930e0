"""Wrapping a method on one instance, and taking the wrapper off again."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from arpo_entropy_recorder.taps.worker import Unsupported


class Seams:
    """The methods a tap has wrapped. Wrappers sit in the instance's own dict, so no class is touched."""

    def __init__(self) -> None:
        self._wrapped: list[tuple[Any, str, Any]] = []

    def wrap(self, owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Replace `owner.name` by `make(stock)`, remembering whatever stood in the instance's dict before."""
        self._wrapped.append((owner, name, owner.__dict__.get(name)))
        owner.__dict__[name] = make(getattr(owner, name))

    def restore(self) -> None:
        """Take every wrapper off, last one first. Harmless when there is none."""
        while self._wrapped:
            owner, name, before = self._wrapped.pop()
            if before is None:
                owner.__dict__.pop(name, None)
            else:
                owner.__dict__[name] = before


def require_parameters(function: Callable[..., Any], *names: str) -> None:
    """Raise Unsupported unless `function` takes parameters of these names: a seam that has changed."""
    found = inspect.signature(function).parameters
    missing = [name for name in names if name not in found]
    if missing:
        where = getattr(function, "__qualname__", repr(function))
        raise Unsupported(f"{where} of this vLLM takes no {', '.join(missing)}")
