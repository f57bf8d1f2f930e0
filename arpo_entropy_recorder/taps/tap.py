"""The worker's side of a tap: what every engine's tap shares.

A tap lives where the logits are, beside the sampler, perhaps in another process. The host tells it which
requests the next `generate` call will make and where their segments go; the tap finds the rows of a step that
are at one of their first tokens and records their entropies in the buffer. A tap that fails detaches itself until the
next call and reports the traceback when it is closed: the engine never sees its errors.
"""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.taps.buffer import EntropyBuffer


class Unsupported(UserError):
    """This engine's logits cannot be reached; the message says what is supported."""


class KnowsRunner(Protocol):
    """A tap's class, by which module's model runners it is for."""

    runner_module: str


Kind = TypeVar("Kind", bound=KnowsRunner)


def kind_for(runner: Any, kinds: Iterable[type[Kind]]) -> type[Kind]:
    """The one of `kinds` for a model runner, by the vLLM class that it is or extends. Raises Unsupported."""
    kinds = list(kinds)
    for base in type(runner).__mro__:
        for kind in kinds:
            if base.__module__.startswith(kind.runner_module):
                return kind
    raise Unsupported(f"the model runner {type(runner).__module__}.{type(runner).__name__} is not known")


class Tap(ABC):
    """Watches one model runner. Subclasses know where its sampler is and which request a row belongs to."""

    runner_module: str
    """The vLLM module, or the start of its name, of the model runners that the subclass is for."""

    def __init__(self, runner: Any) -> None:
        self.runner = runner
        self.history = EntropyBuffer()
        # Requests of the current generate call that may still have tokens in their window.
        self.waiting = 0
        self.failure: str | None = None
        self._first_request = self._first_slot = self._num_requests = 0
        self._completions = 1

    @classmethod
    @abstractmethod
    def check(cls, runner: Any) -> None:
        """Raise Unsupported if the runner lacks a method or attribute that this tap needs."""

    @abstractmethod
    def attach(self) -> None:
        """Patch what this tap needs, on this one runner's instances."""

    @abstractmethod
    def detach(self) -> None:
        """Undo `attach`; does nothing if nothing is attached."""

    def open(self, window: int) -> None:
        """Start a generate_sequences call: an empty history of `window` tokens per segment."""
        self.detach()
        if self.history.window != window:
            self.history = EntropyBuffer(window)
        self.history.clear()
        self.waiting = 0
        self.failure = None
        self.attach()

    def expect(self, first_request: int, num_requests: int, completions: int, first_slot: int) -> None:
        """Announce a `generate` call.

        Its requests are numbered from `first_request` (the engine's own counter), each with `completions`
        sequences; sequence c of request i goes to slot `first_slot + i * completions + c`.
        """
        num_segments = num_requests * completions
        # Expect nothing until there is room: on a GPU a write beyond the buffer's end kills the process.
        self.waiting = self._num_requests = 0
        self.history.reserve(first_slot + num_segments, self.runner.device)
        self._first_request = first_request
        self._num_requests = num_requests
        self._completions = completions
        self._first_slot = first_slot
        self.waiting = 0 if self.failure else num_segments

    def slot(self, request: int, completion: int = 0) -> int:
        """Slot of a request's completion, or -1 for a request that was not announced."""
        offset = request - self._first_request
        if not 0 <= offset < self._num_requests:
            return -1
        return self._first_slot + offset * self._completions + completion

    def slot_of_request_id(self, request_id: str) -> int:
        """Slot of a V1 engine's request id: `12`, `12-<random>` or, for completion 3 of several, `3_12...`."""
        completion, _, rest = request_id.rpartition("_")
        number = rest.partition("-")[0]
        if not (number.isdecimal() and (not completion or completion.isdecimal())):
            return -1
        return self.slot(int(number), int(completion or 0))

    def guard(self, observe: Callable[..., None], *args: Any) -> None:
        """Run `observe`; on an error detach and keep the traceback for the host."""
        try:
            observe(*args)
        except Exception as error:
            self.failure = type(error).__name__
            self.waiting = 0
            with suppress(Exception):
                self.detach()
                self.failure = traceback.format_exc()

    def buffer(self) -> EntropyBuffer:
        """The history itself, for a host in the same process."""
        return self.history

    def close(self) -> dict[str, Any]:
        """End the call: detach, copy the history to the host once.

        Returns plain types, since the host may be another process: `entropies` (float32 bytes of
        [size, window] nats), `window`, and `failure` (a traceback or None).
        """
        self.detach()
        self.waiting = 0
        window, entropies = self.history.window, self.history.collect()
        return {"entropies": entropies.tobytes(), "window": window, "failure": self.failure}
