"""The host's side of a tap: what may be tapped, how a worker is reached, how requests are numbered."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from arpo_entropy_recorder.taps.buffer import UNWRITTEN, EntropyBuffer
from arpo_entropy_recorder.taps.tap import Unsupported
from arpo_entropy_recorder.taps.worker import EntropyWorkerExtension, call_tap

OLDEST, NEWEST = (0, 8, 4), (0, 33)
SUPPORTED = (
    "supported are vLLM 0.8.4 to 0.33 (V0 and V1 engine; its model runner V2 from 0.20) without speculative "
    "decoding, pipeline parallelism or multi-step scheduling; "
    "entropy_recorder=off or ARPO_ENTROPY_DISABLE=1 runs without"
)
# The engine's attribute that holds the tap that is open on it.
OWNER = "_entropy_tap_owner"
EXTENSION = f"{EntropyWorkerExtension.__module__}.{EntropyWorkerExtension.__qualname__}"


class EngineTap:
    """The tap on an `LLM` that is already built. Nothing is patched before `open` or left patched after `close`.

    Raises Unsupported, in one line, for an engine whose logits cannot be reached.
    """

    def __init__(self, llm: Any) -> None:
        self.llm = llm
        try:
            if not hasattr(llm, "llm_engine"):
                raise Unsupported(f"the engine is not a vLLM LLM but of the class {type(llm).__name__}")
            self._engine = llm.llm_engine
            check_configuration(self._engine)
            self._in_process = _in_process(self._engine)
            self._method = call_tap if self._in_process else _across_processes(self._engine)
            for refusal in self._call("check"):
                if refusal:
                    raise Unsupported(refusal)
        except Unsupported as error:
            raise Unsupported(f"entropy recorder: {error}; {SUPPORTED}") from None

    @property
    def history(self) -> EntropyBuffer | None:
        """The buffer beside the logits; None where it is in another process."""
        return self._call("buffer")[0] if self._in_process else None

    def open(self, window: int) -> None:
        """Attach the tap; `window` entropies per segment.

        Raises RuntimeError while another recorder records the same engine: each would get the other's entropies.
        """
        if vars(self.llm).get(OWNER, self) is not self:
            raise RuntimeError("another recorder is recording this engine")
        vars(self.llm)[OWNER] = self
        self._call("open", window)

    def expect(self, num_requests: int, completions: int, first_slot: int) -> None:
        """Announce the requests of the next `generate` call, in the order of its prompts."""
        self._call("expect", self._next_request(), num_requests, completions, first_slot)

    def close(self) -> tuple[np.ndarray, str | None]:
        """Detach the tap and take what it recorded.

        Returns [segments, window] float32 nats, NaN where no token was recorded, and the traceback of a failure
        in a hook, or None.
        """
        if vars(self.llm).get(OWNER) is not self:
            return np.empty((0, 1), np.float32), None
        del vars(self.llm)[OWNER]
        results = self._call("close")
        # Tensor-parallel workers that all see the logits agree. Those that see none, or their share of the rows,
        # leave UNWRITTEN (negative) where another has the number.
        nats, *others = (np.frombuffer(r["entropies"], np.float32).reshape(-1, r["window"]) for r in results)
        for other in others:
            if len(other) == len(nats):
                nats = np.where(np.isnan(nats) | np.isnan(other), np.float32(np.nan), np.maximum(nats, other))
        failure = next((r["failure"] for r in results if r["failure"]), None)
        return np.where(nats == UNWRITTEN, np.float32(np.nan), nats), failure

    def _call(self, method: str, *args: Any) -> list[Any]:
        return self.llm.collective_rpc(self._method, args=(method, *args))

    def _next_request(self) -> int:
        """Number of the engine's next request: V1 keeps the request's number, V0 only its sequence's."""
        counter = getattr(self._engine, "seq_counter", None) or self.llm.request_counter
        return counter.counter


def check_configuration(engine: Any) -> None:
    """Raise Unsupported for an unknown version, or a feature that hides logits or whose they are."""
    config = engine.vllm_config
    check_version(OLDEST)
    check_features(config)
    if getattr(config.parallel_config, "data_parallel_size", 1) > 1:
        raise Unsupported("with data parallelism inside one LLM requests are spread over several engines")
    if getattr(config.scheduler_config, "num_scheduler_steps", 1) > 1:
        raise Unsupported("multi-step scheduling does not show each step's logits")


def check_version(oldest: tuple[int, ...]) -> None:
    """Raise Unsupported unless the installed vLLM is from `oldest` to `NEWEST`."""
    import vllm
    from packaging.version import Version

    release = Version(vllm.__version__).release
    if not (release >= oldest and release[:2] <= NEWEST):
        raise Unsupported(f"vLLM {vllm.__version__} is not known")


def check_features(config: Any) -> None:
    """Raise Unsupported where a step's logits are not those of one token of each request; `config`: vLLM's."""
    if config.speculative_config is not None:
        raise Unsupported("speculative decoding samples several tokens from one step's logits")
    if config.parallel_config.pipeline_parallel_size > 1:
        raise Unsupported("with pipeline parallelism only the last stage has logits")


def _in_process(engine: Any) -> bool:
    """Whether the engine steps in this process: V0 always, V1 with VLLM_ENABLE_V1_MULTIPROCESSING=0."""
    engine_core = getattr(engine, "engine_core", None)
    return engine_core is None or type(engine_core).__name__ == "InprocClient"


def _across_processes(engine: Any) -> Any:
    """What `collective_rpc` shall call in another process: a method's name, or a function that is pickled."""
    if engine.vllm_config.parallel_config.worker_extension_cls == EXTENSION:
        return "entropy_tap"
    if os.environ.get("VLLM_ALLOW_INSECURE_SERIALIZATION") == "1":
        return call_tap
    raise Unsupported(
        "the engine runs in another process; set VLLM_ENABLE_V1_MULTIPROCESSING=0 before vLLM is imported, "
        f'or build it with LLM(..., worker_extension_cls="{EXTENSION}")'
    )
