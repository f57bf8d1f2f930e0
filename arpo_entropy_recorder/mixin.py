"""The mixin: joins the recorder to a rollout class around `generate_sequences`."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import Any

from arpo_entropy_recorder.settings import Settings
from arpo_entropy_recorder.step_files.layout import printable

logger = logging.getLogger(__name__)


class EntropyRecorderMixin:
    """Records the first-token entropies of every generate_sequences call of the class it is put in front of.

    Needs of the class: `inference_engine` (a vLLM LLM), `tokenizer`, `config` (anything with `.get`) and
    `generate_sequences(prompts, **kwargs)`. What is generated is the same with and without it. Settings are
    read from the config and the environment: see `Settings`. Raises UserError at construction for an engine
    that cannot be tapped or a bad setting, nothing of its own later.
    """

    entropy_recorder: Any = None
    fast_logprobs: Any = None
    cheap_masks: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "config" in kwargs:
            # A setting that is none is said before the engine starts, which takes minutes.
            Settings.read(kwargs["config"])
        super().__init__(*args, **kwargs)
        settings = Settings.read(self.config)  # type: ignore[attr-defined]
        dp_rank, dp_size, tp_rank = parallel_ranks(self.config, kwargs.get("device_mesh"))  # type: ignore[attr-defined]
        # Tensor-parallel ranks generate the same; the first one's records are the group's.
        if settings.enabled and tp_rank == 0:
            from arpo_entropy_recorder.recorder import EntropyRecorder

            self.entropy_recorder = EntropyRecorder(self, settings, dp_rank, dp_size)
            logger.warning(
                "entropy recorder: rank %d writes to %s", dp_rank, printable(settings.save_dir.resolve())
            )
        # Each tensor-parallel rank has an engine of its own that waits for the slowest.
        if settings.enabled:
            from arpo_entropy_recorder.masks import CheapMasks

            self.cheap_masks = CheapMasks()
        if settings.enabled and settings.fast_logprobs:
            from arpo_entropy_recorder.fast_logprobs import FastLogprobs

            self.fast_logprobs = FastLogprobs()

    @property
    def entropy_history(self) -> Any:
        """The `EntropyHistory` on the logits' device, empty between calls; None if off or in another process."""
        return self.entropy_recorder.entropy_history if self.entropy_recorder is not None else None

    def generate_sequences(self, prompts: Any, **kwargs: Any) -> Any:
        """The class's own generate_sequences, recorded."""
        call = None
        with ExitStack() as around:
            if self.cheap_masks is not None:
                around.enter_context(self.cheap_masks.sparing(self.inference_engine))  # type: ignore[attr-defined]
            if self.fast_logprobs is not None:
                around.enter_context(self.fast_logprobs.saving(self.inference_engine))  # type: ignore[attr-defined]
            if self.entropy_recorder is not None:
                call = around.enter_context(self.entropy_recorder.recording(prompts))
            output = super().generate_sequences(prompts, **kwargs)  # type: ignore[misc]
        if self.entropy_recorder is not None:
            self.entropy_recorder.add_metrics(output, call)
        return output


def record_entropy(cls: type) -> type:
    """A subclass of the rollout class `cls` that records; `cls` itself if it already does."""
    if issubclass(cls, EntropyRecorderMixin):
        return cls
    return type(
        cls.__name__, (EntropyRecorderMixin, cls), {"__module__": cls.__module__, "__doc__": cls.__doc__}
    )


def parallel_ranks(config: Any, device_mesh: Any = None) -> tuple[int, int, int]:
    """(dp_rank, dp_size, tp_rank) of this process.

    From verl's device mesh with the dimensions `dp` and `infer_tp`; without one from torch.distributed and
    `tensor_model_parallel_size`, whose ranks are consecutive; (0, 1, 0) where neither is set up.
    """
    if device_mesh is not None:
        dp, tp = device_mesh["dp"], device_mesh["infer_tp"]
        return dp.get_local_rank(), dp.size(), tp.get_local_rank()
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1, 0
    tp_size = int(config.get("tensor_model_parallel_size", 1) or 1)
    rank, world_size = distributed.get_rank(), distributed.get_world_size()
    return rank // tp_size, max(1, world_size // tp_size), rank % tp_size
