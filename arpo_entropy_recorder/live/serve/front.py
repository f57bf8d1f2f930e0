"""Around `AsyncLLM.generate`, the one place that all requests of a server pass: marks them, and sees what comes back.

Whatever fails here costs records. The request is served as without, and vLLM's generator is always closed.
"""

from __future__ import annotations

import atexit
import copy
import functools
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from arpo_entropy_recorder.live.job import Job
from arpo_entropy_recorder.live.mark import MARK, child_mark, new_mark, read_mark
from arpo_entropy_recorder.live.serve.channel import Channel, new_report
from arpo_entropy_recorder.live.serve.digests import Digests
from arpo_entropy_recorder.live.serve.open_turn import OpenTurn, version_so_far
from arpo_entropy_recorder.recorder.guard import is_failure

if TYPE_CHECKING:
    from arpo_entropy_recorder.live.serve.chat import ChatRequest

Generate = Callable[..., AsyncGenerator[Any, None]]

LIVE, TEXT_RESULTS = "ARPO_ENTROPY_LIVE", "ARPO_ENTROPY_TEXT_RESULTS"

CHAT: ContextVar[ChatRequest | None] = ContextVar("arpo_entropy_chat", default=None)
"""The chat request that the current task serves."""


class Front:
    """What this process knows of its job. Made at its first request: behind every fork."""

    def __init__(self, job: Job, text_results: bool, is_server: bool) -> None:
        self.job, self.text_results, self.is_server = job, text_results, is_server
        self.digests = Digests(job.token)
        self.channel = Channel(job, new_report())
        atexit.register(self.channel.close)

    def open(
        self, engine: Any, prompt: Any, params: Any, request_id: str, session: str | None
    ) -> tuple[OpenTurn, Any] | None:
        """A turn for a request, and the parameters with its mark; None for a request that is not recorded."""
        self._describe(engine)
        chat = CHAT.get()
        reason = None
        if self.is_server and chat is None:
            reason = "no chat completion"
        elif chat is not None and chat.turn is not None:
            reason = "a further request of one chat completion"
        elif hasattr(prompt, "__aiter__") or hasattr(prompt, "request_id"):
            reason = "a prompt that comes in parts, or was made elsewhere"
        if reason is not None:
            self.channel.passed[reason] += 1
            return None
        key, mark = new_mark(self.job.token)
        # A copy: the caller may use its own for other requests.
        params = copy.copy(params)
        params.extra_args = {**(params.extra_args or {}), MARK: mark}
        version_of = functools.partial(version_so_far, engine, request_id)
        turn = OpenTurn(self, key, params, session, chat, version_of)
        if chat is not None:
            chat.turn = turn
        return turn, params

    def _describe(self, engine: Any) -> None:
        report = self.channel.report
        if not report.vocab_size:
            report.model = os.path.basename(str(engine.model_config.model).rstrip("/"))
            report.vllm = _vllm_version()
            # On the event loop, where vLLM uses it, too: a tokenizer is not to be used by two threads.
            report.vocab_size = len(engine.tokenizer.get_vocab())


class Seam:
    """The wrapped methods' way to the process's front."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._pid = -1
        self._front: Front | None = None
        self.is_server = False

    def front(self) -> Front:
        """This process's, made at first use."""
        if self._front is None or self._pid != os.getpid():
            text_results = os.environ.get(TEXT_RESULTS) == "1"
            self._front, self._pid = Front(self._job, text_results, self.is_server), os.getpid()
        return self._front

    def guarded(self, action: Callable[..., Any], *args: Any) -> Any:
        """`action(*args)`, or None if it fails, which is counted."""
        try:
            return action(*args)
        except BaseException as error:
            if not is_failure(error):
                raise
            with suppress(Exception):
                self.front().channel.fail("a request could not be recorded")
            return None

    async def watched(
        self, stream: AsyncGenerator[Any, None], see: Callable[[Any], None], end: Callable[[], None]
    ) -> AsyncGenerator[Any, None]:
        """What `stream` yields, each item shown to `see` first; closes it, and calls `end` once, however it ends."""
        try:
            async for item in stream:
                self.guarded(see, item)
                yield item
        finally:
            try:
                await stream.aclose()
            finally:
                self.guarded(end)

    def generate(self, original: Generate) -> Generate:
        """`AsyncLLM.generate` that marks what is recorded."""

        @functools.wraps(original)
        def generate(
            engine: Any, prompt: Any, sampling_params: Any, request_id: str, *args: Any, **kwargs: Any
        ) -> AsyncGenerator[Any, None]:
            session = kwargs.get("session_id")
            opened = self.guarded(self._open, engine, prompt, sampling_params, request_id, session)
            if opened is None:
                return original(engine, prompt, sampling_params, request_id, *args, **kwargs)
            turn, params = opened
            return self.watched(
                original(engine, prompt, params, request_id, *args, **kwargs), turn.see, turn.end
            )

        return generate

    def child_info(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """`ParentRequest.get_child_info` that gives each of a request's completions a mark of its own."""

        @functools.wraps(original)
        def get_child_info(parent: Any, index: int) -> Any:
            child_id, params = original(parent, index)
            marked = self.guarded(self._child, params, index)
            return child_id, params if marked is None else marked

        return get_child_info

    def _open(self, *request: Any) -> tuple[OpenTurn, Any] | None:
        return self.front().open(*request)

    def _child(self, params: Any, index: int) -> Any:
        key = read_mark(self._job.token, params.extra_args)
        if key is None:
            return None
        params = copy.copy(params)
        params.extra_args = {**params.extra_args, MARK: child_mark(self._job.token, key, index)[1]}
        return params


def _vllm_version() -> str:
    import vllm

    return vllm.__version__
