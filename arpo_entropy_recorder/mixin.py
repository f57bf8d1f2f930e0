"""The mixin: joins the recorder to a rollout class around `generate_sequences`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

from arpo_entropy_recorder.errors import printable
from arpo_entropy_recorder.recorder.settings import Settings

if TYPE_CHECKING:
    from arpo_entropy_recorder.recorder.batch_rollout import BatchRollout
    from arpo_entropy_recorder.recorder.session import EntropyRecorder

logger = logging.getLogger(__name__)


class EntropyRecorderMixin:
    """Records the first-token entropies of every generate_sequences call of the class it is put in front of.

    Needs of the class: `inference_engine` (a vLLM LLM), `tokenizer`, `config` (anything with `.get`) and
    `generate_sequences(prompts, **kwargs)`. Outputs are the same with and without it. Raises UserError at
    construction for an engine that cannot be tapped or an invalid setting; later errors are logged.
    """

    # Long names, since forks of ARPO that record entropies themselves have an `entropy_history` or an
    # `entropy_recorder`.
    arpo_entropy_settings: Settings | None = None
    """If None, settings are read from the config and the environment."""
    arpo_entropy_recorder: EntropyRecorder | None = None
    """Has the `entropy_history`, a buffer on the logits' device. None if off, and on ranks that do not record."""
    arpo_entropy_driver: BatchRollout | None = None
    arpo_entropy_speedups: tuple[Callable[[Any], AbstractContextManager[None]], ...] = ()
    """Each is called with the engine and entered around a generate_sequences call."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        settings = self.arpo_entropy_settings
        if settings is None and "config" in kwargs:
            # An invalid setting is reported before the engine starts, which takes minutes.
            Settings.read(kwargs["config"])
        super().__init__(*args, **kwargs)
        config = self.config  # type: ignore[attr-defined]
        if settings is None:
            settings = Settings.read(config)
        if not settings.enabled:
            return
        from arpo_entropy_recorder.recorder.batch_rollout import BatchRollout
        from arpo_entropy_recorder.recorder.session import EntropyRecorder
        from arpo_entropy_recorder.recorder.v0_speedups import FastLogprobs, MaskSpeedup

        dp_rank, dp_size, tp_rank = parallel_ranks(config, kwargs.get("device_mesh"))
        # Tensor-parallel ranks generate the same; the first one's records are the group's.
        if tp_rank == 0:
            engine, tokenizer = self.inference_engine, self.tokenizer  # type: ignore[attr-defined]
            self.arpo_entropy_recorder = EntropyRecorder(
                engine, tokenizer, settings, dp_rank, dp_size, config
            )
            self.arpo_entropy_driver = BatchRollout(self.arpo_entropy_recorder)
            logger.warning(
                "entropy recorder: rank %d writes to %s", dp_rank, printable(settings.save_dir.resolve())
            )
        # On every tensor-parallel rank: each has an engine of its own, and all wait for the slowest.
        self.arpo_entropy_speedups = (MaskSpeedup().active,)
        if settings.fast_logprobs:
            self.arpo_entropy_speedups += (FastLogprobs().active,)

    def generate_sequences(self, prompts: Any, **kwargs: Any) -> Any:
        """The class's own generate_sequences, recorded."""
        check = None
        with ExitStack() as stack:
            for speedup in self.arpo_entropy_speedups:
                stack.enter_context(speedup(self.inference_engine))  # type: ignore[attr-defined]
            if self.arpo_entropy_driver is not None:
                engine = self.inference_engine  # type: ignore[attr-defined]
                check = stack.enter_context(self.arpo_entropy_driver.recording(engine, prompts))
            output = super().generate_sequences(prompts, **kwargs)  # type: ignore[misc]
            if check is not None:
                check(output)
        if self.arpo_entropy_recorder is not None:
            self.arpo_entropy_recorder.add_metrics(output)
        return output


def record_entropy(cls: type, settings: Settings | None = None) -> type:
    """A subclass of the rollout class `cls` that records; `cls` itself if it already does.

    `settings` are used instead of those in the config and the environment.
    """
    is_recording = issubclass(cls, EntropyRecorderMixin)
    if is_recording and settings is None:
        return cls
    attributes = {"__module__": cls.__module__, "__doc__": cls.__doc__, "arpo_entropy_settings": settings}
    return type(cls.__name__, (cls,) if is_recording else (EntropyRecorderMixin, cls), attributes)


def parallel_ranks(config: Any, device_mesh: Any = None) -> tuple[int, int, int]:
    """(dp_rank, dp_size, tp_rank) of this process.

    From verl's device mesh with the dimensions `dp` and `infer_tp`; else from torch.distributed and
    `tensor_model_parallel_size`, whose ranks are consecutive; (0, 1, 0) where neither is set up.
    """
    if {"dp", "infer_tp"} <= set(getattr(device_mesh, "mesh_dim_names", None) or ()):
        assert device_mesh is not None
        dp, tp = device_mesh["dp"], device_mesh["infer_tp"]
        return dp.get_local_rank(), dp.size(), tp.get_local_rank()
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1, 0
    tp_size = int(config.get("tensor_model_parallel_size", 1) or 1)
    rank, world_size = distributed.get_rank(), distributed.get_world_size()
    return rank // tp_size, max(1, world_size // tp_size), rank % tp_size
