"""The V1 engine's first model runner (vLLM 0.8.4 to 0.33): `Sampler.sample` sees the logits after every mask,
bias and penalty, and before temperature, min-p, top-k and top-p.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from arpo_entropy_recorder.taps.patching import MethodPatches, find_sampler, require_parameters
from arpo_entropy_recorder.taps.tap import Tap, Unsupported


class RunnerV1Tap(Tap):
    """Rows follow `runner.input_batch.req_ids`; a request's live output list says at which token it is."""

    runner_module = "vllm.v1.worker.gpu_model_runner"

    def __init__(self, runner: Any) -> None:
        super().__init__(runner)
        self._patches = MethodPatches()
        self._metadata: Any = None
        self._temperature: Tensor | None = None
        self._rows: list[tuple[int, int, list[int], str]] = []
        # Of the requests seen in the current generate call; -1 once there is nothing left to record.
        self._slots: dict[str, int] = {}

    @classmethod
    def check(cls, runner: Any) -> None:
        require_parameters(find_sampler(runner).sample, "logits", "sampling_metadata")
        for attribute in ("req_output_token_ids", "temperature_cpu"):
            if not hasattr(runner.input_batch, attribute):
                raise Unsupported(f"this vLLM's input batch has no {attribute}")

    def attach(self) -> None:
        self._patches.call_before(find_sampler(self.runner), "sample", self._before_sample)

    def detach(self) -> None:
        self._patches.restore()
        self._metadata = None
        self._rows = []

    def expect(self, first_request: int, num_requests: int, completions: int, first_slot: int) -> None:
        super().expect(first_request, num_requests, completions, first_slot)
        self._slots.clear()

    def _before_sample(self, logits: Tensor, sampling_metadata: Any, *_: Any, **__: Any) -> None:
        # The runner makes new metadata whenever its batch changes, so a step of plain decoding ends here.
        if self.waiting and (self._rows or sampling_metadata is not self._metadata):
            self.guard(self._observe, logits, sampling_metadata)

    def _observe(self, logits: Tensor, sampling_metadata: Any) -> None:
        window = self.history.window
        if sampling_metadata is not self._metadata:
            self._metadata = sampling_metadata
            self._rows = self._rows_within_window()
            # All are 1 as a rule, and on a CPU the division would take a third of the time.
            if self._rows:
                self._temperature = None if self._all_at_one() else sampling_metadata.temperature
        rows, places, finished = [], [], False
        for row, slot, output, request_id in self._rows:
            position = len(output)
            if position < window:
                # A chunk of a prefill has logits too; the last chunk, which is sampled from, overwrites them.
                rows.append(row)
                places.append(slot * window + position)
            else:
                finished = True
                self._slots[request_id] = -1
                self.waiting -= 1
        if finished:
            self._rows = [entry for entry in self._rows if self._slots[entry[3]] >= 0]
        if rows:
            self.history.record(logits, rows, places, self._temperature)

    def _all_at_one(self) -> bool:
        """Whether the batch's temperatures are all 1, by the host's table of them."""
        batch = self.runner.input_batch
        return bool((batch.temperature_cpu[: batch.num_reqs] == 1.0).all())

    def _rows_within_window(self) -> list[tuple[int, int, list[int], str]]:
        batch = self.runner.input_batch
        found = []
        for row, request_id in enumerate(batch.req_ids[: batch.num_reqs]):
            slot = self._slots.get(request_id)
            if slot is None:
                slot = self._slots[request_id] = self.slot_of_request_id(request_id)
            if slot >= 0:
                found.append((row, slot, batch.req_output_token_ids[row], request_id))
        return found
