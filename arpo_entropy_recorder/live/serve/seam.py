"""Which of vLLM's methods are wrapped in a process that serves, and where its routes are added.

They are wrapped when vLLM imports them, and only if all are there and look as they are known to: else one line says
so, and the server serves without being recorded. tests/data/vllm_methods.json has those of each version.
"""

from __future__ import annotations

import inspect
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from arpo_entropy_recorder.live.imports import Hook, after_imports
from arpo_entropy_recorder.live.job import Job
from arpo_entropy_recorder.live.serve.channel import local_addresses
from arpo_entropy_recorder.live.serve.front import Seam
from arpo_entropy_recorder.live.wrapping import is_ours, put
from arpo_entropy_recorder.recorder.guard import warn

logger = logging.getLogger(__name__)

ENGINE = "vllm.v1.engine.async_llm"
CHILDREN = "vllm.v1.engine.parallel_sampling"
CHAT = "vllm.entrypoints.openai.chat_completion.serving"
ROUTER = "vllm.entrypoints.openai.chat_completion.api_router"
RUST = "VLLM_USE_RUST_FRONTEND"
USE = "use vLLM 0.32"


class Unfit(Exception):
    """A method of vLLM is not as it is known to be."""


def install(job: Job) -> None:
    """Have this process's server or AsyncLLM record for the job. Raises UserError where its address is not local."""
    local_addresses(job)
    if (reason := _unfit()) is not None:
        if multiprocessing.parent_process() is None:  # said once, and not by the engine's processes
            warn(logger, "not recording: %s", reason)
        return
    seam = Seam(job)
    after_imports(
        {
            ENGINE: _hook(lambda module: _wrap_engine(seam, module)),
            CHAT: _hook(lambda module: _wrap_chat(seam, module)),
            ROUTER: _hook(lambda module: _add_routes(seam, module)),
        }
    )


def _unfit() -> str | None:
    """Why a server of this vLLM is not recorded, as far as it can be told before its modules are imported."""
    if os.environ.get(RUST, "0") not in ("", "0"):
        return f"{RUST} is set, and the Rust front end has no place for it; unset it"
    for name in (ENGINE, CHILDREN, CHAT, ROUTER):
        if name not in sys.modules and not _has_file(name):
            return f"this vLLM has no {name}; {USE}"
    return None


def _has_file(name: str) -> bool:
    """Whether a module of vLLM has a file. An import of its package would come too early here."""
    package, *inner = name.split(".")
    spec = find_spec(package)
    places = spec.submodule_search_locations if spec is not None else None
    return any(Path(place, *inner).with_suffix(".py").is_file() for place in places or ())


def _hook(action: Hook) -> Hook:
    def hook(module: ModuleType) -> None:
        try:
            action(module)
        except (Unfit, AttributeError, TypeError, ImportError) as error:
            warn(
                logger,
                "not recording: this vLLM's %s does not fit: %s; %s",
                module.__name__,
                error,
                USE,
            )

    return hook


def _wrap_engine(seam: Seam, module: ModuleType) -> None:
    from importlib import import_module

    parent = import_module(CHILDREN).ParentRequest
    generate = _method(module.AsyncLLM, "generate", ["self", "prompt", "sampling_params", "request_id"])
    child_info = _method(parent, "get_child_info", ["self", "index"])
    if generate is None or child_info is None:
        return
    if not inspect.isasyncgenfunction(generate):
        raise Unfit("AsyncLLM.generate is no asynchronous generator")
    put(parent, "get_child_info", seam.child_info(child_info))
    put(module.AsyncLLM, "generate", seam.generate(generate))


def _wrap_chat(seam: Seam, module: ModuleType) -> None:
    from arpo_entropy_recorder.live.serve.chat import recorded_chat

    cls, name = module.OpenAIServingChat, "create_chat_completion"
    original = _method(cls, name, ["self", "request", "raw_request"])
    if original is None:
        return
    if not inspect.iscoroutinefunction(original):
        raise Unfit(f"{name} is no coroutine function")
    put(cls, name, recorded_chat(seam, cls, original))


def _add_routes(seam: Seam, module: ModuleType) -> None:
    from arpo_entropy_recorder.live.serve.routes import add_routes

    seam.is_server = True
    add_routes(module.router, seam)


def _method(cls: type, name: str, parameters: list[str]) -> Callable[..., Any] | None:
    """The class's own method; None if it is wrapped already. Raises Unfit if it begins with other parameters."""
    method = cls.__dict__[name]
    if is_ours(method):
        return None
    found = list(inspect.signature(method).parameters)
    if found[: len(parameters)] != parameters:
        raise Unfit(f"{cls.__name__}.{name} takes ({', '.join(found)})")
    return method
