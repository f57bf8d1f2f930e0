"""The V1 engine's second model runner (`vllm/v1/worker/gpu/`), the default on a GPU since vLLM 0.32.

Its sampler copies the logits to float32, masks them and applies the temperature only when a request of the
batch asks for any of that. `apply_min_p` follows right after, so it shows such a step's distribution;
otherwise the raw logits are the distribution.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from arpo_entropy_recorder.taps.seams import Seams, require_parameters
from arpo_entropy_recorder.taps.worker import Tap, Unsupported

SAMPLE_PARAMETERS = ("logits", "idx_mapping_np", "seq_lens_upper_bound_np")


class RunnerV2Tap(Tap):
    """A request keeps one index in the runner's tables; lengths on the host say at which token it is."""

    def __init__(self, runner: Any) -> None:
        super().__init__(runner)
        self._seams = Seams()
        self._slot_of_index = np.full(runner.req_states.max_num_reqs, -1, dtype=np.int64)
        self._pending: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def check(cls, runner: Any) -> None:
        require_parameters(runner.sampler.sample, *SAMPLE_PARAMETERS)
        require_parameters(runner.sampler.add_request, "req_idx")
        require_parameters(runner.sampler.sampling_states.apply_min_p, "logits")
        for table, attribute in (
            (runner.sampler, "needs_logits_processing"),
            (runner.req_states, "index_to_req_id"),
            (runner.req_states, "prompt_len"),
        ):
            if not hasattr(table, attribute):
                raise Unsupported(f"this vLLM's {type(table).__name__} has no {attribute}")

    def attach(self) -> None:
        sampler = self.runner.sampler
        self._slot_of_index.fill(-1)
        self._pending = None

        def tapped_add_request(stock: Any) -> Any:
            def add_request(req_idx: int, *args: Any, **kwargs: Any) -> Any:
                self.guard(self._learn, req_idx)
                return stock(req_idx, *args, **kwargs)

            return add_request

        def tapped_sample(stock: Any) -> Any:
            def sample(
                logits: Tensor,
                expanded_idx_mapping: Tensor,
                idx_mapping: Tensor,
                idx_mapping_np: np.ndarray,
                pos: Tensor,
                input_ids: Tensor,
                expanded_local_pos: Tensor,
                seq_lens_upper_bound_np: np.ndarray,
                *args: Any,
                **kwargs: Any,
            ) -> Any:
                if self.waiting:
                    self.guard(self._observe, logits, idx_mapping_np, seq_lens_upper_bound_np)
                return stock(
                    logits,
                    expanded_idx_mapping,
                    idx_mapping,
                    idx_mapping_np,
                    pos,
                    input_ids,
                    expanded_local_pos,
                    seq_lens_upper_bound_np,
                    *args,
                    **kwargs,
                )

            return sample

        def tapped_apply_min_p(stock: Any) -> Any:
            def apply_min_p(logits: Tensor, *args: Any, **kwargs: Any) -> Any:
                if self._pending is not None:
                    self.guard(self._record_pending, logits)
                return stock(logits, *args, **kwargs)

            return apply_min_p

        self._seams.wrap(sampler, "add_request", tapped_add_request)
        self._seams.wrap(sampler, "sample", tapped_sample)
        self._seams.wrap(sampler.sampling_states, "apply_min_p", tapped_apply_min_p)

    def detach(self) -> None:
        self._seams.restore()

    def expect(self, first_request: int, num_requests: int, completions: int, first_slot: int) -> None:
        super().expect(first_request, num_requests, completions, first_slot)
        # Here `waiting` only says that a request in the tables may be within its window.
        self.waiting = 0

    def _learn(self, req_idx: int) -> None:
        slot = (
            -1 if self.failure else self.slot_of_request_id(self.runner.req_states.index_to_req_id[req_idx])
        )
        self._slot_of_index[req_idx] = slot
        if slot >= 0:
            self.waiting = 1

    def _observe(self, logits: Tensor, indices: np.ndarray, seq_lens: np.ndarray) -> None:
        self._pending = None
        window = self.history.window
        slots = self._slot_of_index[indices]
        # Before a request's token j its sequence is the prompt and j output tokens; less during a prefill.
        positions = seq_lens[: len(indices)] - self.runner.req_states.prompt_len.np[indices]
        within = (slots >= 0) & (positions < window)
        if not within.any():
            self.waiting = 0
            return
        rows = np.flatnonzero(within & (positions >= 0))
        if not len(rows):
            return
        places = slots[rows] * window + positions[rows]
        if self.runner.sampler.needs_logits_processing[indices].any():
            self._pending = (rows, places)
        else:
            self.history.record(logits, rows, places, None)

    def _record_pending(self, logits: Tensor) -> None:
        assert self._pending is not None
        rows, places = self._pending
        self._pending = None
        self.history.record(logits, rows, places, None)
