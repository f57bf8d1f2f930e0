"""What vLLM loads in every process of an engine (entry point `vllm.general_plugins`).

Importing this module, and calling `register` in a process of no job, imports nothing else.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from importlib import import_module
from typing import Any

logger = logging.getLogger(__name__)


def register() -> None:
    """Have the workers of this process attach the tap that stays, once their engine is set up, and no process
    print a mark. Never raises."""
    if not (os.environ.get("ARPO_ENTROPY_JOB") and os.environ.get("ARPO_ENTROPY_COLLECTOR")):
        return
    try:
        from arpo_entropy_recorder.live.job import Job

        if (job := Job.from_environ()) is not None:
            _show_warnings()
            _hook_workers()
            from arpo_entropy_recorder.live.redact import redact_marks

            redact_marks()
            # A variable of its own: verl's requests are marked by its loop.
            if os.environ.get("ARPO_ENTROPY_LIVE") == "1":
                from arpo_entropy_recorder.live.serve.seam import install

                install(job)
    except Exception as error:
        _warn(error)


def _show_warnings() -> None:
    """Keep this package's warnings where the root logger is set to errors, as by what vLLM's server imports."""
    ours = logging.getLogger(__name__.partition(".")[0])
    if ours.level == logging.NOTSET:
        ours.setLevel(logging.WARNING)


def _hook_workers() -> None:
    from arpo_entropy_recorder.live.wrapping import is_ours, put

    wrapper = _worker_wrapper()
    original = wrapper.initialize_from_config
    if is_ours(original):
        return

    # The last call of an engine's start: the model, the batch and the sampler are there.
    def initialize_from_config(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        try:
            from arpo_entropy_recorder.live.worker import start_recording

            start_recording(self.worker)
        except Exception as error:
            _warn(error)
        return result

    put(wrapper, "initialize_from_config", initialize_from_config)


def _worker_wrapper() -> Any:
    # Before vLLM 0.11 it stood in another package.
    for name in ("vllm.v1.worker.worker_base", "vllm.worker.worker_base"):
        with suppress(ImportError):
            if wrapper := getattr(import_module(name), "WorkerWrapperBase", None):
                return wrapper
    raise RuntimeError("this vLLM has no WorkerWrapperBase")


def _warn(error: Exception) -> None:
    """One line for what the user can change, the traceback for the rest."""
    is_traceback = type(error).__name__ not in ("UserError", "Unsupported")
    # A logging handler may itself raise; the engine must start nevertheless.
    with suppress(Exception):
        logger.warning("entropy recorder: not recording in this process: %s", error, exc_info=is_traceback)
