"""The buffer beside the logits: one row per segment, one column per token of its window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arpo_entropy_recorder.ops.entropy import entropy, entropy_into

# An entropy is never negative, so a place that still holds this was never written.
UNWRITTEN = -1.0


class EntropyBuffer:
    """Entropies in nats, [capacity, window] float32 on the logits' device, written there and read once.

    A place is addressed by `slot * window + position`: slot is the segment's number within the
    generate_sequences call, position its token's, from 0.
    """

    def __init__(self, window: int = 1) -> None:
        self.window = window
        self.size = 0
        self._buffer: Tensor | None = None

    def reserve(self, size: int, device: torch.device) -> None:
        """Make room for `size` segments, keeping what is there. Never called while the engine steps."""
        if self._buffer is None or self._buffer.numel() < size * self.window:
            # Doubling keeps the number of copies logarithmic over the rounds of a call.
            capacity = max(2 * self.size, size, 1024)
            # Hooks run under inference_mode; a buffer made there could not be reset outside of it.
            with torch.inference_mode(False):
                buffer = torch.full((capacity * self.window,), UNWRITTEN, device=device)
            if self._buffer is not None:
                buffer[: self.size * self.window] = self._buffer[: self.size * self.window]
            self._buffer = buffer
        self.size = max(self.size, size)

    def record(
        self,
        logits: Tensor,
        rows: Sequence[int] | np.ndarray,
        places: Sequence[int] | np.ndarray,
        temperature: Tensor | None,
    ) -> None:
        """Scatter the entropies of `logits[rows]` to `places`, on the device and without waiting for it.

        logits: [num_rows, vocab_size]; rows, places: [n] integers on the host; temperature: [num_rows] on
        the logits' device, or None where the logits are at temperature 1 or already divided by theirs.
        """
        assert self._buffer is not None, "reserve() comes before record()"
        index = index_on(logits.device, (rows, places))
        entropy_into(self._buffer, index[1], logits, index[0], temperature)

    def collect(self) -> np.ndarray:
        """Empty the buffer into [size, window] float32 nats on the host; UNWRITTEN and NaN are possible."""
        if self._buffer is None:
            return np.empty((0, self.window), dtype=np.float32)
        used = self._buffer[: self.size * self.window]
        entropies = used.cpu().numpy().reshape(self.size, self.window).copy()
        self.clear()
        return entropies

    def clear(self) -> None:
        """Forget what was written; the memory is kept for the next call."""
        if self._buffer is not None:
            self._buffer[: self.size * self.window] = UNWRITTEN
        self.size = 0


class EntropiesInFlight:
    """The entropies of a few rows of logits, on their way to the host."""

    def __init__(self, logits: Tensor, rows: Tensor, temperature: Tensor | None) -> None:
        """Queue the entropies of `logits[rows]` and their copy, without waiting for the device.

        logits: [num_rows, vocab_size]; rows: [n] int64, from `index_on`; temperature: as in `EntropyBuffer.record`.
        """
        nats = entropy(logits, temperature, rows)
        self._arrived: torch.cuda.Event | None = None
        if logits.is_cuda:
            host = torch.empty(len(rows), dtype=torch.float32, pin_memory=True)
            nats = host.copy_(nats, non_blocking=True)
            # Blocking, so that the thread that waits sleeps instead of taking a core.
            self._arrived = torch.cuda.Event(blocking=True)
            self._arrived.record()
        self._nats = nats

    def wait(self) -> list[float]:
        """Wait for the copy, in another thread than the engine's; n nats, NaN where a row has no entropy."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._nats.tolist()


def index_on(device: torch.device, numbers: Any) -> Tensor:
    """Integers of the host as an int64 tensor on the device, there once what is queued before it has run."""
    index = torch.from_numpy(np.array(numbers, dtype=np.int64))
    if device.type == "cuda":
        # Pinned, so that the copy is queued behind the model's kernels instead of waiting for them.
        index = index.pin_memory().to(device, non_blocking=True)
    return index
