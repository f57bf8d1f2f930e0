"""What a rollout knows of the run that it records, for `entropy_run.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from arpo_entropy_recorder.recorder.guard import is_failure
from arpo_entropy_recorder.recorder.settings import Settings
from arpo_entropy_recorder.step_files.names import run_name


def gather_run_info(config: Any, engine: Any, vocab_size: int, settings: Settings) -> dict[str, Any]:
    """The entry of this run (see `read_run_info`), without `run` and `date`; null for what cannot be told.

    `config` is anything with `.get`, `engine` a vLLM LLM.
    """
    rollout = rollout_info(lambda: engine.llm_engine.model_config.model, lambda name: config.get(name))
    # By the module: the CPU builds of vLLM have a distribution of another name.
    return run_entry(settings, vocab_size, _or_null(lambda: import_module("vllm").__version__), rollout)


def rollout_info(model: Callable[[], Any], option: Callable[[str], Any]) -> dict[str, Any]:
    """What the process of a rollout tells of the run: `model` gives a path or a name, `option` a sampling option."""
    return {
        "model": _or_null(lambda: _text(Path(str(model())).name)),
        "temperature": _or_null(lambda: float(option("temperature"))),
        "top_p": _or_null(lambda: float(option("top_p"))),
        "verl": _or_null(lambda: version("verl")),
    }


def run_entry(
    settings: Settings, vocab_size: int, vllm: str | None, rollout: Mapping[str, Any]
) -> dict[str, Any]:
    """The entry of a run: `vllm` is the engine's version, `rollout` what `rollout_info` has told, perhaps nothing."""
    return {
        "name": _or_null(lambda: _text(run_name(settings.save_dir.resolve()))),
        "model": rollout.get("model"),
        "vocab_size": vocab_size,
        "temperature": rollout.get("temperature"),
        "top_p": rollout.get("top_p"),
        "window": settings.window,
        "vllm": vllm,
        "verl": rollout.get("verl"),
        "recorder": _or_null(lambda: version("arpo-entropy-recorder")),
    }


def _text(name: str) -> str:
    """`name`, of a file perhaps, as JSON can say it."""
    return name.encode(errors="replace").decode()


def _or_null(get: Callable[[], Any]) -> Any:
    try:
        return get()
    except BaseException as error:
        if not is_failure(error):
            raise
        return None
