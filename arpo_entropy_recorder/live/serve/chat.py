"""Around the server's chat completions: what a request says, and what was replied.

The body is the one that the server has read and checked already. It is parsed in the channel's thread.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from arpo_entropy_recorder.live.serve.conversation import read_conversation, read_reply
from arpo_entropy_recorder.live.serve.front import CHAT, Front, Seam
from arpo_entropy_recorder.live.serve.open_turn import OpenTurn
from arpo_entropy_recorder.live.serve.turns import Turn, read_step

STEP_HEADER = "x-entropy-step"
SESSION_HEADER = "x-session-id"
# Text of a streamed reply that is kept to be hashed at its end. A longer one is recorded, and links by its tokens.
MAX_STREAM = 16 * 1024 * 1024

Create = Callable[..., Awaitable[Any]]


class ChatRequest:
    """One chat completion. turn: its request to the engine, once that is made."""

    def __init__(self, front: Front, body: bytes, headers: Mapping[str, str]) -> None:
        self._front, self._body = front, body
        self._api_key = headers.get("authorization", "")
        self._session = headers.get(SESSION_HEADER)
        self._step = read_step(headers.get(STEP_HEADER, ""))
        self.turn: OpenTurn | None = None
        self._response: Any = None
        self._chunks: list[str] | None = []
        self._streamed = 0

    def replied(self, response: Any) -> None:
        """The server's whole response."""
        self._response = response

    def streamed(self, chunk: Any) -> None:
        """A part of the server's response."""
        if self._chunks is None:
            return
        self._streamed += len(chunk)
        if self._streamed > MAX_STREAM:
            self._chunks, self._streamed = None, 0
        else:
            self._chunks.append(chunk)

    @property
    def size(self) -> int:
        """Bytes of the body and of what was streamed."""
        return len(self._body) + self._streamed

    def end(self) -> None:
        """The response is done, or will not be."""
        if self.turn is not None:
            self.turn.end()

    def complete(self, turn: Turn, indices: Sequence[int], session: str | None) -> None:
        """In the channel's thread: add to the turn what the messages say."""
        digests = self._front.digests
        messages = _read_body(self._body)["messages"]
        turn.conversation = read_conversation(messages, digests, self._front.text_results)
        turn.step = self._step
        if session := session or self._session:
            turn.session = digests.of("session", self._api_key, session)
        replies = _of_response(self._response) if self._response is not None else _of_stream(self._chunks)
        for index, completion in zip(indices, turn.completions, strict=True):
            if (reply := replies.get(index)) is not None:
                completion.reply = read_reply(turn.conversation, reply, digests)


def recorded_chat(seam: Seam, cls: type, original: Create) -> Create:
    """`OpenAIServingChat.create_chat_completion` that tells the front of its request and response."""

    def opened(server: Any, request: Any, raw_request: Any) -> ChatRequest | None:
        # Anthropic's and Cohere's are subclasses; a beam search makes many requests.
        if type(server) is not cls or getattr(request, "use_beam_search", False):
            return None
        body = vars(raw_request).get("_body") if raw_request is not None else None
        return ChatRequest(seam.front(), body, raw_request.headers) if body else None

    @functools.wraps(original)
    async def create_chat_completion(
        server: Any, request: Any, raw_request: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        chat = seam.guarded(opened, server, request, raw_request)
        if chat is None:
            return await original(server, request, raw_request, *args, **kwargs)
        reset = CHAT.set(chat)
        result = None
        try:
            result = await original(server, request, raw_request, *args, **kwargs)
        finally:
            CHAT.reset(reset)
            if not hasattr(result, "__aiter__"):
                seam.guarded(chat.replied, result)
                seam.guarded(chat.end)
        if hasattr(result, "__aiter__"):
            return seam.watched(result, chat.streamed, chat.end)
        return result

    return create_chat_completion


def _read_body(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return json.loads(body)  # as the server does: NaN, UTF-16


def _of_response(response: Any) -> dict[int, dict[str, Any]]:
    """{index of the choice: message as a client gets it}; nothing of an error."""
    return {
        choice.index: _message(
            choice.message.content,
            [
                (call.id, call.function.name, call.function.arguments)
                for call in choice.message.tool_calls or ()
            ],
        )
        for choice in getattr(response, "choices", ())
    }


def _of_stream(chunks: Sequence[str] | None) -> dict[int, dict[str, Any]]:
    """{index of the choice: message as a client puts it together}."""
    texts: dict[int, str] = {}
    calls: dict[int, dict[int, list[str]]] = {}
    for chunk in chunks or ():
        for line in chunk.split("\n"):  # not splitlines(): a reply may hold other ends of lines
            data = line.removeprefix("data:").strip()
            if data == line or not data or data == "[DONE]":
                continue
            for choice in msgspec.json.decode(data).get("choices") or ():
                delta, index = choice.get("delta") or {}, choice["index"]
                texts[index] = texts.get(index, "") + (delta.get("content") or "")
                for part in delta.get("tool_calls") or ():
                    call = calls.setdefault(index, {}).setdefault(part["index"], ["", "", ""])
                    function = part.get("function") or {}
                    call[0] = part.get("id") or call[0]
                    call[1] += function.get("name") or ""
                    call[2] += function.get("arguments") or ""
    return {
        index: _message(text, [tuple(call) for _, call in sorted(calls.get(index, {}).items())])
        for index, text in texts.items()
    }


def _message(content: str | None, calls: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": content,
        "tool_calls": [
            {"id": id_, "function": {"name": name, "arguments": arguments}} for id_, name, arguments in calls
        ],
    }
