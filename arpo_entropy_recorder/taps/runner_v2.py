"""The V1 engine's second model runner (`vllm/v1/worker/gpu/`, tapped from vLLM 0.20 on).

On a GPU it is the default of Qwen3 since vLLM 0.22, of every dense model since 0.25, of all since 0.29.
Its sampler copies the logits to float32, masks them and applies the temperature, since 0.28 only when a request
of the batch asks for any of that. `apply_min_p` follows right after, so it shows such a step's distribution;
otherwise the raw logits are the distribution.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from torch import Tensor

from arpo_entropy_recorder.taps.patching import MethodPatches, require_parameters
from arpo_entropy_recorder.taps.tap import Tap, Unsupported

# Since vLLM 0.31 the sampler is told the lengths; before, they are in the batch that the runner samples from.
SEQ_LENS = "seq_lens_upper_bound_np"


def lengths_in(input_batch: Any) -> Any:
    """The lengths on the host in a batch that the runner samples from; None if there are none."""
    return getattr(input_batch, "seq_lens_cpu_upper_bound", None)


def positions_of(req_states: Any, indices: np.ndarray, seq_lens: np.ndarray) -> np.ndarray:
    """At which of its tokens each request is, [n] integers; negative in a chunk of a prefill.

    Before a request's token j its sequence is the prompt and j output tokens. After a preemption the prefill has the
    output tokens, too, and nothing is sampled from a chunk that ends among them.
    """
    positions: np.ndarray = seq_lens - req_states.prompt_len.np[indices]
    positions[seq_lens < req_states.prefill_len.np[indices]] = -1
    return positions


def are_processed(sampler: Any, indices: np.ndarray) -> bool:
    """Whether the sampler changes the logits of a step's requests, so that they are read at `apply_min_p`."""
    needs_processing = getattr(sampler, "needs_logits_processing", None)
    return needs_processing is None or bool(needs_processing[indices].any())


class RunnerV2Tap(Tap):
    """A request keeps one index in the runner's tables; lengths on the host say at which token it is."""

    runner_module = "vllm.v1.worker.gpu."

    def __init__(self, runner: Any) -> None:
        super().__init__(runner)
        self._patches = MethodPatches()
        self._slot_of_index = np.full(runner.req_states.max_num_reqs, -1, dtype=np.int64)
        self._names: tuple[str, ...] = ()
        self._seq_lens: Any = None
        self._pending: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def check(cls, runner: Any) -> None:
        require_parameters(runner.sampler.sample, "logits", "idx_mapping_np")
        if SEQ_LENS not in inspect.signature(runner.sampler.sample).parameters:
            from vllm.v1.worker.gpu.input_batch import InputBatch

            require_parameters(runner.sample, "hidden_states", "input_batch")
            if "seq_lens_cpu_upper_bound" not in InputBatch.__dataclass_fields__:
                raise Unsupported(
                    "model runner V2 of this vLLM keeps no sequence lengths on the host; "
                    "VLLM_USE_V2_MODEL_RUNNER=0 chooses model runner V1"
                )
        require_parameters(runner.sampler.add_request, "req_idx")
        require_parameters(runner.sampler.sampling_states.apply_min_p, "logits")
        for attribute in ("index_to_req_id", "prompt_len", "prefill_len"):
            if not hasattr(runner.req_states, attribute):
                raise Unsupported(f"this vLLM's {type(runner.req_states).__name__} has no {attribute}")

    def attach(self) -> None:
        sampler = self.runner.sampler
        self._slot_of_index.fill(-1)
        self._pending = None
        # By name: the places of the sampler's positional arguments changed between versions.
        self._names = tuple(inspect.signature(sampler.sample).parameters)
        self._patches.call_before(sampler, "add_request", self._before_add_request)
        self._patches.call_before(sampler, "sample", self._before_sample)
        if SEQ_LENS not in self._names:
            self._patches.call_before(self.runner, "sample", self._before_runner_sample)
        self._patches.call_before(sampler.sampling_states, "apply_min_p", self._before_apply_min_p)

    def detach(self) -> None:
        self._patches.restore()

    def expect(self, first_request: int, num_requests: int, completions: int, first_slot: int) -> None:
        super().expect(first_request, num_requests, completions, first_slot)
        # Here `waiting` only says that a request in the tables may be within its window.
        self.waiting = 0

    def _before_add_request(self, req_idx: int, *_: Any, **__: Any) -> None:
        self.guard(self._learn, req_idx)

    def _before_sample(self, *args: Any, **kwargs: Any) -> None:
        if self.waiting:
            self.guard(self._observe, dict(zip(self._names, args, strict=False)) | kwargs)

    def _before_runner_sample(self, hidden_states: Tensor, input_batch: Any, *_: Any, **__: Any) -> None:
        self._seq_lens = lengths_in(input_batch)

    def _before_apply_min_p(self, logits: Tensor, *_: Any, **__: Any) -> None:
        if self._pending is not None:
            self.guard(self._record_pending, logits)

    def _learn(self, req_idx: int) -> None:
        slot = (
            -1 if self.failure else self.slot_of_request_id(self.runner.req_states.index_to_req_id[req_idx])
        )
        self._slot_of_index[req_idx] = slot
        if slot >= 0:
            self.waiting = 1

    def _observe(self, arguments: dict[str, Any]) -> None:
        self._pending = None
        window = self.history.window
        indices = arguments["idx_mapping_np"]
        seq_lens = arguments[SEQ_LENS] if SEQ_LENS in arguments else self._seq_lens.numpy()
        slots = self._slot_of_index[indices]
        positions = positions_of(self.runner.req_states, indices, seq_lens[: len(indices)])
        within = (slots >= 0) & (positions < window)
        if not within.any():
            self.waiting = 0
            return
        rows = np.flatnonzero(within & (positions >= 0))
        if not len(rows):
            return
        places = slots[rows] * window + positions[rows]
        if are_processed(self.runner.sampler, indices):
            self._pending = (rows, places)
        else:
            self.history.record(arguments["logits"], rows, places, None)

    def _record_pending(self, logits: Tensor) -> None:
        assert self._pending is not None
        rows, places = self._pending
        self._pending = None
        self.history.record(logits, rows, places, None)
