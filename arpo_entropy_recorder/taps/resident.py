"""The tap that stays on an engine whose requests come and go.

Nothing is announced to it: each request that is to be recorded carries a mark, and the tap emits (key, position) and
the entropy of each of its first tokens, in the step that samples them. It keeps nothing but the keys of requests
that are at their first tokens, or were when they ended. Where a token is sampled twice (after a preemption), the last
emission counts.
"""

from __future__ import annotations

import logging
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from torch import Tensor

from arpo_entropy_recorder.taps.buffer import EntropiesInFlight, index_on
from arpo_entropy_recorder.taps.patching import MethodPatches

logger = logging.getLogger(__name__)

# The model runner's attribute that holds its resident tap.
ATTRIBUTE = "entropy_resident_tap"

ReadMark = Callable[[Any], str | None]
"""The key of a request's `SamplingParams.extra_args`, or None where the request is not to be recorded."""
Emit = Callable[[list[tuple[str, int]], EntropiesInFlight], None]


class ResidentTap(ABC):
    """On one model runner, from `attach` until it fails: then it detaches itself and reports the traceback once."""

    runner_module: str
    """The vLLM module, or the start of its name, of the model runners that the subclass is for."""

    def __init__(self, runner: Any, window: int, read_mark: ReadMark) -> None:
        self.runner = runner
        self.window = window
        self.failure: str | None = None
        self.emit: Emit = lambda places, entropies: None
        """Called in the engine's step: must not wait."""
        self.lose: Callable[[int, str], None] = lambda count, reason: None
        """Told how many values are lost (0: unknown), and why."""
        self._read_mark = read_mark
        self._patches = MethodPatches()
        # The rows of the last step that had any, and their index on the device.
        self._rows: list[int] = []
        self._index: Tensor | None = None
        self._steps = self._steps_with_rows = self._values = 0
        self._seconds = 0.0

    @classmethod
    @abstractmethod
    def check(cls, runner: Any) -> None:
        """Raise Unsupported if the runner lacks a method or attribute that this tap needs."""

    @abstractmethod
    def attach(self) -> None:
        """Patch what this tap needs, on this one runner's instances."""

    def detach(self) -> None:
        """Undo `attach`; does nothing if nothing is attached."""
        self._patches.restore()

    def counters(self) -> dict[str, float]:
        """Steps that were sampled, those of them in which a marked request was at its first tokens, the values
        that were emitted, and the seconds that the engine spent in this tap."""
        return {
            "steps": self._steps,
            "steps_with_values": self._steps_with_rows,
            "values": self._values,
            "tap_seconds": self._seconds,
        }

    def _guard(self, observe: Callable[..., None], *args: Any) -> None:
        """Run `observe`; on an error take the tap off, so that the engine never sees it."""
        if self.failure is not None:
            return
        start = time.perf_counter()
        try:
            observe(*args)
        except Exception as error:
            self.failure = type(error).__name__
            with suppress(Exception):
                self.detach()
            # A logging handler may itself raise.
            with suppress(Exception):
                self.failure = traceback.format_exc()
                logger.warning(
                    "entropy recorder: the tap failed and is off; the engine goes on", exc_info=True
                )
            with suppress(Exception):
                self.lose(0, f"the tap failed: {type(error).__name__}")
        self._seconds += time.perf_counter() - start

    def _record(
        self,
        logits: Tensor,
        rows: list[int],
        places: list[tuple[str, int]],
        temperature: Tensor | None,
    ) -> None:
        """Emit the entropies of `logits[rows]` for `places`; see `EntropyBuffer.record` for the tensors."""
        self._steps_with_rows += 1
        self._values += len(places)
        # In a batch that stays the same so do the rows, for as many steps as the window has tokens.
        if self._index is None or rows != self._rows:
            self._rows, self._index = rows, index_on(logits.device, rows)
        self.emit(places, EntropiesInFlight(logits, self._index, temperature))
