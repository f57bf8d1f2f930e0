"""In an agent loop worker: the books of the trajectory that the current task runs.

A context variable holds them; tasks that the loop starts inherit it. An error of the recorder costs records of the
trajectory and is logged once a process; the loop's own errors pass.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import logging
import re
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

from arpo_entropy_recorder.live.mark import MARK, new_mark
from arpo_entropy_recorder.live.trajectory import Books, Request, Trajectory
from arpo_entropy_recorder.live.verl.actor import AGENT_LOOP, MEMBERSHIP
from arpo_entropy_recorder.recorder.guard import ErrorBoundary, warn
from arpo_entropy_recorder.recorder.run_info import rollout_info
from arpo_entropy_recorder.recorder.settings import Settings
from arpo_entropy_recorder.step_files.values import prompt_digest

logger = logging.getLogger(__name__)

Generate = Callable[..., Awaitable[Any]]


class Running(NamedTuple):
    """The trajectory of the current task, and the client whose requests are its: a teacher has another."""

    books: Books
    client: Any


_RUNNING: ContextVar[Running | None] = ContextVar("arpo_entropy_running", default=None)
_BOUNDARY = ErrorBoundary(strict=False)
_STARTED = itertools.count()
# Not empty once this process has told of its run.
_DESCRIBED: list[bool] = []


async def follow_trajectory(original: Generate, worker: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """`_run_agent_loop` of a worker, with its trajectory recorded."""
    running = None
    if _RUNNING.get() is None and await asyncio.to_thread(MEMBERSHIP.join, AGENT_LOOP):
        _, running = _BOUNDARY.run(_open, worker, args, kwargs)
    if running is None:
        return await original(worker, *args, **kwargs)
    reset = _RUNNING.set(running)
    trajectory = running.books.trajectory
    try:
        return await original(worker, *args, **kwargs)
    except BaseException:
        trajectory.incomplete = True
        raise
    finally:
        _RUNNING.reset(reset)
        MEMBERSHIP.tell("add", trajectory)


def marked(original: Generate) -> Generate:
    """A client's `generate` that puts this job's mark on each request of a trajectory."""

    @functools.wraps(original)
    async def generate(self: Any, request_id: Any, *args: Any, **kwargs: Any) -> Any:
        running = _RUNNING.get()
        if running is None or (running.client is not None and running.client is not self):
            return await original(self, request_id, *args, **kwargs)
        succeeded, begun = _BOUNDARY.run(_begin, running.books, kwargs)
        if not succeeded:
            running.books.trajectory.incomplete = True
            return await original(self, request_id, *args, **kwargs)
        request, prompt, params = begun
        output = None
        try:
            output = await original(self, request_id, *args, **{**kwargs, "sampling_params": params})
            return output
        finally:
            succeeded, _ = _BOUNDARY.run(_end, running.books, request, prompt, output)
            if not succeeded:
                running.books.trajectory.incomplete = True

    return generate


def telling(original: Callable[..., Any]) -> Callable[..., Any]:
    """A parser's `extract_tool_calls` that tells the running trajectory the names of the calls.

    What it returns is handed on as it is: a parser of someone's own may return more than content and calls, or be no
    coroutine.
    """

    def tell(result: Any) -> Any:
        if (running := _RUNNING.get()) is not None:
            _BOUNDARY.run(lambda: running.books.parsed([call.name for call in result[1]]))
        return result

    async def tell_later(result: Awaitable[Any]) -> Any:
        return tell(await result)

    @functools.wraps(original)
    def extract_tool_calls(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        return tell_later(result) if inspect.isawaitable(result) else tell(result)

    return extract_tool_calls


def follow_parser(parser: Any) -> None:
    """Have a parser tell of the calls that it finds. Never raises."""
    _BOUNDARY.run(lambda: setattr(parser, "extract_tool_calls", telling(parser.extract_tool_calls)))


def tell_of_call(tool_call: Any) -> None:
    """The running trajectory's loop makes this tool call."""
    if (running := _RUNNING.get()) is not None:
        _BOUNDARY.run(lambda: running.books.called(tool_call.name))


def _open(worker: Any, args: tuple, kwargs: dict[str, Any]) -> Running | None:
    rollout = worker.config.actor_rollout_ref.rollout
    if rollout.name != "vllm":
        _refuse(str(rollout.name))
        return None
    info = kwargs.get("trajectory") or next(a for a in args if isinstance(a, dict) and "rollout_n" in a)
    params = kwargs.get("sampling_params") or args[0]
    is_validation = bool(info["validate"])
    # Fully asynchronous training gives its validations a count of samples in the place of a step.
    is_fully_async = hasattr(worker.config, "async_training")
    # TransferQueue's trainer: sessions of a prompt are its trajectories, and a validation batch is not filled up.
    has_sessions = "session_id" in kwargs
    settings = _settings()
    trajectory = Trajectory(
        step=-1 if is_fully_async else int(info["step"]),
        validate=is_validation,
        # Before verl gives each prompt a uid, its index stands for it.
        group=str(kwargs.get("uid", info["sample_index"])),
        order=_order(kwargs),
        is_greedy=params.get("temperature") == 0,
        vocab_size=_vocab_size(worker.tokenizer),
        group_size=int(rollout.val_kwargs.n) if is_validation and "uid" in kwargs and not has_sessions else 0,
    )
    if not _DESCRIBED:
        _DESCRIBED.append(True)
        model = worker.config.actor_rollout_ref.model
        MEMBERSHIP.tell("describe", rollout_info(lambda: model.path, lambda name: getattr(rollout, name)))
    # verl 0.8 calls the worker's client llm_client, before that it is server_manager.
    client = getattr(worker, "llm_client", None) or getattr(worker, "server_manager", None)
    return Running(Books(trajectory, settings.record_tokens), client)


def _begin(books: Books, kwargs: dict[str, Any]) -> tuple[Request, list[int], dict[str, Any]]:
    prompt = list(kwargs["prompt_ids"])
    job = MEMBERSHIP.job
    assert job is not None
    key, mark = new_mark(job.token)
    params = kwargs["sampling_params"]
    # A copy: the loop uses its own dict for all turns.
    params = {**params, "extra_args": {**(params.get("extra_args") or {}), MARK: mark}}
    if books.trajectory.prompt is None and _settings().prompt_id:
        books.trajectory.prompt = prompt_digest(prompt)
    return books.begin(key, prompt), prompt, params


def _end(books: Books, request: Request, prompt: list[int], output: Any) -> None:
    if output is None:
        books.end(request, prompt, None)
        return
    token_ids = list(getattr(output, "token_ids", output))
    version = (getattr(output, "extra_fields", None) or {}).get("global_steps")
    books.end(request, prompt, token_ids, None if version is None else int(version))


def _order(kwargs: dict[str, Any]) -> tuple[int, ...]:
    """Where the batch has this trajectory: its row where verl tells it, else worker by worker as they start."""
    if "priority" in kwargs and "session_id" not in kwargs:
        return (int(kwargs["priority"]),)
    return (_worker_number(), next(_STARTED))


@functools.cache
def _worker_number() -> int:
    import ray

    name = re.match(r"agent_loop_worker_(\d+)", ray.get_runtime_context().get_actor_name() or "")
    return int(name[1]) if name else 0


@functools.cache
def _vocab_size(tokenizer: Any) -> int:
    return len(tokenizer.get_vocab())


@functools.cache
def _settings() -> Settings:
    return Settings.read({})


@functools.cache
def _refuse(engine: str) -> None:
    """Said once a process."""
    warn(logger, "rollouts by %s are not recorded, only those by vllm", engine)
