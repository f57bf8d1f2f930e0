"""Patching a method on one instance, and undoing it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from arpo_entropy_recorder.taps.tap import Unsupported


class MethodPatches:
    """The methods that are wrapped now. A wrapper is in the instance's own dict, so no class changes."""

    def __init__(self) -> None:
        self._wrapped: list[tuple[Any, str, Any, Any]] = []

    def wrap(self, owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Replace `owner.name` by `make(original)`, remembering whatever stood in the instance's dict before."""
        wrapper = make(getattr(owner, name))
        self._wrapped.append((owner, name, owner.__dict__.get(name), wrapper))
        owner.__dict__[name] = wrapper

    def call_before(self, owner: Any, name: str, before: Callable[..., None]) -> None:
        """Have `owner.name` call `before` first, with the arguments that it is given itself."""

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            # Wrapped, so that a look at its parameters sees the original's.
            @wraps(original)
            def patched(*args: Any, **kwargs: Any) -> Any:
                before(*args, **kwargs)
                return original(*args, **kwargs)

            return patched

        self.wrap(owner, name, make)

    def restore(self) -> None:
        """Take every wrapper off, last one first. Harmless when there is none."""
        while self._wrapped:
            owner, name, before, wrapper = self._wrapped[-1]
            # If someone else has wrapped the method since, their wrapper stays, and ours below it.
            if owner.__dict__.get(name) is wrapper:
                if before is None:
                    del owner.__dict__[name]
                else:
                    owner.__dict__[name] = before
            # Forget it last, so that after an interrupt the next restore takes it off.
            self._wrapped.pop()


def require_parameters(function: Callable[..., Any], *names: str) -> None:
    """Raise Unsupported unless `function` takes parameters of these names, as other versions of vLLM may not."""
    found = inspect.signature(function).parameters
    missing = [name for name in names if name not in found]
    if missing:
        where = getattr(function, "__qualname__", repr(function))
        raise Unsupported(f"{where} of this vLLM takes no {', '.join(missing)}")


def find_sampler(runner: Any) -> Any:
    """The runner's sampler. Raises Unsupported.

    vLLM 0.8.5 moved it to the runner; in 0.8.4 it is the model's, in a multimodal wrapper the language model's.
    """
    model = getattr(runner, "model", None)
    language_model = getattr(model, "language_model", None)
    for owner in (runner, model, language_model):
        sampler = getattr(owner, "sampler", None)
        if sampler is not None:
            return sampler
    raise Unsupported("this vLLM's model runner has no sampler (only the last pipeline stage has one)")
