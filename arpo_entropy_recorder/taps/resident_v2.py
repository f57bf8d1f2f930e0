"""The resident tap on the V1 engine's second model runner (vLLM 0.20 to 0.33); see `runner_v2` for the logits."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from torch import Tensor

from arpo_entropy_recorder.taps.patching import require_parameters
from arpo_entropy_recorder.taps.resident import ResidentTap
from arpo_entropy_recorder.taps.runner_v2 import (
    SEQ_LENS,
    RunnerV2Tap,
    are_processed,
    lengths_in,
    positions_of,
)


class ResidentV2Tap(ResidentTap):
    """A request is known by its index in the runner's tables, from when it is added until it is removed."""

    runner_module = RunnerV2Tap.runner_module

    @classmethod
    def check(cls, runner: Any) -> None:
        RunnerV2Tap.check(runner)
        require_parameters(runner.sampler.add_request, "req_idx", "sampling_params")

    def attach(self) -> None:
        sampler = self.runner.sampler
        # Of marked requests that may be within their window, by index: the engine's request id and the key.
        self._requests: dict[int, tuple[str, str]] = {}
        self._is_watched = np.zeros(self.runner.req_states.max_num_reqs, dtype=bool)
        self._pending: tuple[list[int], list[tuple[str, int]]] | None = None
        self._seq_lens: Any = None
        # By name: the places of positional arguments changed between versions.
        self._sample_names = tuple(inspect.signature(sampler.sample).parameters)
        self._add_names = tuple(inspect.signature(sampler.add_request).parameters)
        self._patches.call_before(sampler, "add_request", self._before_add_request)
        self._patches.call_before(sampler, "sample", self._before_sample)
        if SEQ_LENS not in self._sample_names:
            self._patches.call_before(self.runner, "sample", self._before_runner_sample)
        self._patches.call_before(sampler.sampling_states, "apply_min_p", self._before_apply_min_p)

    def _before_add_request(self, *args: Any, **kwargs: Any) -> None:
        self._guard(self._learn, dict(zip(self._add_names, args, strict=False)) | kwargs)

    def _before_runner_sample(self, hidden_states: Tensor, input_batch: Any, *_: Any, **__: Any) -> None:
        self._seq_lens = lengths_in(input_batch)

    def _before_sample(self, *args: Any, **kwargs: Any) -> None:
        self._steps += 1
        self._pending = None
        if self._requests:
            self._guard(self._observe, dict(zip(self._sample_names, args, strict=False)) | kwargs)

    def _before_apply_min_p(self, logits: Tensor, *_: Any, **__: Any) -> None:
        if self._pending is not None:
            (rows, places), self._pending = self._pending, None
            self._guard(self._record, logits, rows, places, None)

    def _learn(self, arguments: dict[str, Any]) -> None:
        index = int(arguments["req_idx"])
        self._forget(index)
        key = self._read_mark(getattr(arguments["sampling_params"], "extra_args", None))
        if key is not None:
            self._requests[index] = (self.runner.req_states.index_to_req_id[index], key)
            self._is_watched[index] = True

    def _forget(self, index: int) -> None:
        self._requests.pop(index, None)
        self._is_watched[index] = False

    def _observe(self, arguments: dict[str, Any]) -> None:
        indices = arguments["idx_mapping_np"]
        watched = np.flatnonzero(self._is_watched[indices])
        if not len(watched):
            self._forget_removed()
            return
        seq_lens = arguments[SEQ_LENS] if SEQ_LENS in arguments else self._seq_lens.numpy()
        positions = positions_of(self.runner.req_states, indices[watched], seq_lens[watched])
        rows, places = [], []
        for row, index, position in zip(
            watched.tolist(), indices[watched].tolist(), positions.tolist(), strict=True
        ):
            if position >= self.window:
                self._forget(index)
            elif position >= 0:
                rows.append(row)
                places.append((self._requests[index][1], position))
        if not rows:
            return
        if are_processed(self.runner.sampler, indices):
            self._pending = (rows, places)
        else:
            self._record(arguments["logits"], rows, places, None)

    def _forget_removed(self) -> None:
        """Forget requests that ended. A rank of a sharded batch never sees the tokens of the other ranks' rows."""
        names = self.runner.req_states.index_to_req_id
        for index, (request_id, _) in list(self._requests.items()):
            if names.get(index) != request_id:
                self._forget(index)
