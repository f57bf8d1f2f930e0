"""The V0 engine (vLLM 0.8.4 and 0.8.5, what ARPO's launch scripts run): its sampler is called with the logits
after every mask, and applies penalties, temperature, top-k, top-p and min-p itself.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from arpo_entropy_recorder.taps.patching import find_sampler
from arpo_entropy_recorder.taps.tap import Tap


class RunnerV0Tap(Tap):
    """Requests are known by their sequence ids, which the engine counts up in the order of the prompts."""

    runner_module = "vllm.worker.model_runner_base"

    def __init__(self, runner: Any) -> None:
        super().__init__(runner)
        self._handle: Any = None
        self._done: set[int] = set()

    @classmethod
    def check(cls, runner: Any) -> None:
        find_sampler(runner)

    def attach(self) -> None:
        self._done.clear()
        self._handle = find_sampler(self.runner).register_forward_pre_hook(
            self._before_sampler, with_kwargs=True
        )

    def detach(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def expect(self, first_request: int, num_requests: int, completions: int, first_slot: int) -> None:
        super().expect(first_request, num_requests * completions, 1, first_slot)
        self._done.clear()

    def _before_sampler(self, sampler: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.waiting:
            self.guard(self._observe, args, kwargs)

    def _observe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        logits = kwargs["logits"] if "logits" in kwargs else args[0]
        metadata = kwargs["sampling_metadata"] if "sampling_metadata" in kwargs else args[-1]
        window = self.history.window
        rows, places, temperatures = [], [], []
        for group in metadata.seq_groups:
            if not group.do_sample:
                continue
            for seq_id, row in zip(group.seq_ids, group.sample_indices, strict=False):
                slot = self.slot(seq_id)
                if slot < 0 or slot in self._done:
                    continue
                position = group.seq_data[seq_id].get_output_len()
                if position >= window:
                    self._done.add(slot)
                    self.waiting -= 1
                    continue
                rows.append(row)
                places.append(slot * window + position)
                temperatures.append(_temperature(group.sampling_params))
        if rows:
            self.history.record(logits, rows, places, _by_row(temperatures, rows, logits))


def _temperature(params: Any) -> float:
    """A sequence's temperature; NaN, and so a null entropy, if vLLM changes its logits after this hook."""
    penalised = params.presence_penalty or params.frequency_penalty or params.repetition_penalty != 1.0
    return math.nan if penalised or params.min_tokens else params.temperature


def _by_row(temperatures: list[float], rows: list[int], logits: Tensor) -> Tensor | None:
    """Temperatures as the history takes them, [num_rows] on the device; None where all are 1."""
    if all(temperature == 1.0 for temperature in temperatures):
        return None
    by_row = torch.ones(len(logits))
    by_row[rows] = torch.tensor(temperatures, dtype=torch.float32)
    if logits.is_cuda:
        return by_row.pin_memory().to(logits.device, non_blocking=True)
    return by_row
