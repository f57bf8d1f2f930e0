"""The hooks on verl's agent loop, by the module that each belongs to. They fit verl 0.6.1 to 0.9.1.

What is wrapped, and why there: an agent loop worker's `_run_agent_loop` is one trajectory; the client's `generate` is
one request to an engine, also where an aborted one goes on; every tool parser comes from
`ToolParser.get_tool_parser`, so custom loops are followed too; `Tracking.log` is where a trainer ends a step and
logs its metrics.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from arpo_entropy_recorder.live.imports import Hook
from arpo_entropy_recorder.live.verl import loop, trainer
from arpo_entropy_recorder.live.verl.actor import MEMBERSHIP


def hook_workers(module: ModuleType) -> None:
    """Follow the trajectories of the module's agent loop workers, and, before verl 0.8, of its client's requests."""
    for value in list(vars(module).values()):
        # A class under @ray.remote (verl 0.6) has its methods copied when the module runs.
        metadata = getattr(value, "__ray_metadata__", None)
        cls = value if metadata is None else metadata.modified_class
        if isinstance(cls, type) and "_run_agent_loop" in vars(cls):
            cls._run_agent_loop = _followed(cls.__dict__["_run_agent_loop"])  # type: ignore[attr-defined]
    if (client := getattr(module, "AsyncLLMServerManager", None)) is not None:
        hook_client(client)


def _followed(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def _run_agent_loop(self: Any, *args: Any, **kwargs: Any) -> Any:
        # Imported here: Ray copies the classes of verl 0.6, this function among them, but not this module's globals.
        from arpo_entropy_recorder.live.verl.loop import follow_trajectory

        return await follow_trajectory(original, self, args, kwargs)

    return _run_agent_loop


def hook_client(cls: Any) -> None:
    """Mark the requests of a client that belong to a trajectory."""
    original = cls.__dict__["generate"]
    traced = getattr(original, "__wrapped__", None)
    if traced is None:
        cls.generate = loop.marked(original)
        return
    # Below verl's tracing, so that no trace shows a mark.
    trace = importlib.import_module("verl.utils.rollout_trace").rollout_trace_op
    cls.generate = trace(loop.marked(traced))


def hook_parsers(module: ModuleType) -> None:
    """Have every tool parser tell the names of the calls that it finds."""
    original = module.ToolParser.__dict__["get_tool_parser"].__func__

    @functools.wraps(original)
    def get_tool_parser(cls: type, *args: Any, **kwargs: Any) -> Any:
        parser = original(cls, *args, **kwargs)
        loop.follow_parser(parser)
        return parser

    module.ToolParser.get_tool_parser = classmethod(get_tool_parser)


def hook_tool_loop(module: ModuleType) -> None:
    """Have verl's tool loop tell which of the calls it makes: it may leave some out."""
    original = module.ToolAgentLoop.__dict__["_call_tool"]

    @functools.wraps(original)
    async def _call_tool(self: Any, tool_call: Any, *args: Any, **kwargs: Any) -> Any:
        loop.tell_of_call(tool_call)
        return await original(self, tool_call, *args, **kwargs)

    module.ToolAgentLoop._call_tool = _call_tool


def hook_tracking(module: ModuleType) -> None:
    """Write a step when its trainer logs it, and add the entropies' metrics to what is logged."""
    original, tracking = module.Tracking.log, module.Tracking

    @functools.wraps(original)
    def log(self: Any, data: Any, step: Any, *args: Any, **kwargs: Any) -> Any:
        return original(self, trainer.with_metrics(data, step), step, *args, **kwargs)

    tracking.log = log
    if (end := getattr(tracking, "finish", None)) is not None:

        @functools.wraps(end)
        def finish(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not getattr(self, "_finished", False):
                trainer.write_rest()
            return end(self, *args, **kwargs)

        tracking.finish = finish


def hook_runtime_env(module: ModuleType) -> None:
    """Hand the driver's settings on to the processes of a cluster that was started elsewhere."""
    original = module.get_ppo_ray_runtime_env

    @functools.wraps(original)
    def get_ppo_ray_runtime_env(*args: Any, **kwargs: Any) -> Any:
        return trainer.with_settings(original(*args, **kwargs))

    module.__dict__["get_ppo_ray_runtime_env"] = get_ppo_ray_runtime_env


def hook_engine(module: ModuleType) -> None:
    """In a process that starts a vLLM engine, or makes those that do: have the engine record for this job."""
    MEMBERSHIP.enter_environment()


HOOKS: dict[str, Hook] = {
    "verl.experimental.agent_loop.agent_loop": hook_workers,
    "verl.experimental.agent_loop.tool_agent_loop": hook_tool_loop,
    "verl.experimental.agent_loop.tool_parser": hook_parsers,
    "verl.workers.rollout.llm_server": lambda module: hook_client(module.LLMServerClient),
    "verl.workers.rollout.vllm_rollout.vllm_async_server": hook_engine,
    # verl 0.6 has vLLM's workers in its own.
    "verl.workers.rollout.vllm_rollout.vllm_rollout_spmd": hook_engine,
    "verl.utils.tracking": hook_tracking,
    "verl.trainer.constants_ppo": hook_runtime_env,
}
