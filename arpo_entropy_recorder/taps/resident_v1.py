"""The resident tap on the V1 engine's first model runner (vLLM 0.10 to 0.33); see `runner_v1` for the logits."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from arpo_entropy_recorder.ops import GREEDY_TEMPERATURE
from arpo_entropy_recorder.taps.patching import find_sampler, require_parameters
from arpo_entropy_recorder.taps.resident import ResidentTap
from arpo_entropy_recorder.taps.runner_v1 import RunnerV1Tap
from arpo_entropy_recorder.taps.tap import Unsupported


class ResidentV1Tap(ResidentTap):
    """A request is learnt where it enters the batch, also when it comes back after a preemption."""

    runner_module = RunnerV1Tap.runner_module

    # Of marked requests that may be within their window, by the engine's request id: the key, and whether the
    # entropy is the one at temperature 1.
    _keys: dict[str, tuple[str, bool]]

    @classmethod
    def check(cls, runner: Any) -> None:
        RunnerV1Tap.check(runner)
        require_parameters(runner.input_batch.add_request, "request")
        if not hasattr(runner.input_batch, "req_id_to_index"):
            raise Unsupported("this vLLM's input batch has no req_id_to_index")
        _chunk_test(runner)

    def attach(self) -> None:
        self._keys = {}
        self._is_chunk = _chunk_test(self.runner)
        self._patches.call_before(self.runner.input_batch, "add_request", self._before_add_request)
        self._patches.call_before(find_sampler(self.runner), "sample", self._before_sample)

    def _before_add_request(self, request: Any, *_: Any, **__: Any) -> None:
        self._guard(self._learn, request)

    def _before_sample(self, logits: Tensor, sampling_metadata: Any, *_: Any, **__: Any) -> None:
        self._steps += 1
        if self._keys:
            self._guard(self._observe, logits, sampling_metadata)

    def _learn(self, request: Any) -> None:
        # An engine may give the id of a finished request to another one.
        self._keys.pop(request.req_id, None)
        if len(request.output_token_ids) < self.window:
            key = self._read_mark(getattr(request.sampling_params, "extra_args", None))
            if key is not None:
                temperature = request.sampling_params.temperature
                at_one = temperature == 1.0 or temperature <= GREEDY_TEMPERATURE
                self._keys[request.req_id] = key, at_one

    def _observe(self, logits: Tensor, sampling_metadata: Any) -> None:
        row_of = self.runner.input_batch.req_id_to_index
        outputs = self.runner.input_batch.req_output_token_ids
        rows, places, all_at_one = [], [], True
        for request_id, (key, at_one) in list(self._keys.items()):
            row = row_of.get(request_id)
            # With asynchronous scheduling a placeholder stands for a token that is not on the host yet.
            position = self.window if row is None else len(outputs[row])
            if row is None or position >= self.window:
                del self._keys[request_id]
            elif not self._is_chunk(row, request_id):
                rows.append(row)
                places.append((key, position))
                all_at_one &= at_one
        if rows:
            # All are at 1 as a rule, and on a CPU the division would take a third of the time.
            self._record(logits, rows, places, None if all_at_one else sampling_metadata.temperature)


def _chunk_test(runner: Any) -> Any:
    """(row, request id) -> whether the row is a chunk of a prefill, from whose logits nothing is sampled."""
    if hasattr(runner, "discard_request_mask"):  # since vLLM 0.12
        return lambda row, _: runner.discard_request_mask.np[row]
    if hasattr(runner, "seq_lens_np"):  # vLLM 0.10.0 and 0.10.1
        return lambda row, request_id: runner.seq_lens_np[row] < runner.requests[request_id].num_tokens
    if hasattr(getattr(runner, "seq_lens", None), "np"):  # to vLLM 0.11
        return lambda row, request_id: runner.seq_lens.np[row] < runner.requests[request_id].num_tokens
    raise Unsupported("this vLLM's model runner does not say which rows are chunks of a prefill")
