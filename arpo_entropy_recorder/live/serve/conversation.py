"""What the messages of one chat request say, without any memory: round, tools, and digests to find the parent by.

Clients and templates change thoughts, white space, identifiers and the way that calls are written; role, text and
calls are what stays of a message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from arpo_entropy_recorder.live.serve.digests import Digests
from arpo_entropy_recorder.step_files.values import tool_name

ASSISTANT = "assistant"
RESULTS = ("tool", "function")
# An identifier is relied on if its end is as long as a random one; Kimi's (functions.search:0) are counted.
_RANDOM_END = re.compile(r"[0-9A-Za-z]{9,}$")

# A conversation starts from this.
_START = "start"


class Conversation(msgspec.Struct, frozen=True):
    """The messages of a request, in digests.

    context: the whole conversation. continued: up to and with the last assistant message, None where there is none.
    last: the last assistant message alone. calls: its calls, None without any. turns: number of assistant messages.
    result_ids: the calls that the results at the end answer; None where an identifier is none to rely on, or not of
    the last assistant message.
    tools: the names of the tools whose results are at the end, in order; None where no message names the call.
    round: results before the reply, those that come together counted as one. is_after: the end is a result.
    """

    context: bytes
    continued: bytes | None
    last: bytes | None
    calls: bytes | None
    turns: int
    result_ids: list[bytes | None]
    tools: list[str | None]
    round: int
    is_after: bool


class Reply(msgspec.Struct, frozen=True):
    """A reply, in digests: the conversation with it, it alone, its calls (None without any), and their ids."""

    conversation: bytes
    alone: bytes
    calls: bytes | None
    call_ids: list[bytes]


def read_conversation(
    messages: Sequence[Mapping[str, Any]], digests: Digests, text_results: bool = False
) -> Conversation:
    """What `messages`, as a client sends them, say.

    text_results: a user's message behind an assistant's is the result of a tool that is not told.
    Raises an error of some kind for what are no messages.
    """
    context, continued = digests.of(_START), None
    last: Mapping[str, Any] | None = None
    turns = rounds = 0
    names: dict[object, str | None] = {}
    tail: list[Mapping[str, Any]] = []
    for message in messages:
        role = message["role"]
        context = _extended(context, message, digests)
        if role in RESULTS or (text_results and role == "user" and turns > 0):
            rounds += not tail
            tail.append(message)
            continue
        tail = []
        if role == ASSISTANT:
            turns += 1
            continued, last = context, message
            names |= {call["id"]: tool_name(call["function"]["name"]) for call in _calls_of(message)}
    last_ids = {call["id"] for call in _calls_of(last or {})}
    return Conversation(
        context=context,
        continued=continued,
        last=_message_digest(last, digests) if last else None,
        calls=_calls_digest(last, digests) if last else None,
        turns=turns,
        result_ids=[
            _id_digest(message["tool_call_id"], digests) if message.get("tool_call_id") in last_ids else None
            for message in tail
        ],
        tools=[names.get(message.get("tool_call_id")) for message in tail],
        round=rounds,
        is_after=bool(tail),
    )


def read_reply(conversation: Conversation, message: Mapping[str, Any], digests: Digests) -> Reply:
    """What a reply to the conversation says. Raises an error of some kind for what is no message."""
    ids = [_id_digest(call.get("id"), digests) for call in _calls_of(message)]
    return Reply(
        conversation=_extended(conversation.context, message, digests),
        alone=_message_digest(message, digests),
        calls=_calls_digest(message, digests),
        call_ids=[call_id for call_id in ids if call_id is not None],
    )


def _extended(context: bytes, message: Mapping[str, Any], digests: Digests) -> bytes:
    """The digest of a conversation with one more message."""
    return digests.of(context.hex(), *_plain(message))


def _message_digest(message: Mapping[str, Any], digests: Digests) -> bytes:
    return digests.of("message", *_plain(message))


def _plain(message: Mapping[str, Any]) -> tuple[str, str, list[list[str]]]:
    """A message's role, text and calls."""
    role = message["role"]
    return role, _text(message.get("content"), role == ASSISTANT), _plain_calls(message)


def _text(content: Any, is_assistant: bool) -> str:
    """The content without white space, without an assistant's thoughts, and however it is cut into parts."""
    parts = content if isinstance(content, list) else [content or ""]
    texts = []
    for part in parts:
        text = part if isinstance(part, str) else part.get("text") if part.get("type") == "text" else None
        texts.append(json.dumps(part, sort_keys=True) if text is None else text)  # a picture or the like
    text = "".join(texts)
    if is_assistant:
        # Also where the prompt has opened the thought.
        text = text.rpartition("</think>")[2]
    return "".join(text.split())


def _calls_of(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return message.get("tool_calls") or ()


def _plain_calls(message: Mapping[str, Any]) -> list[list[str]]:
    return [
        [str(call["function"]["name"]), _plain_arguments(call["function"].get("arguments"))]
        for call in _calls_of(message)
    ]


def _plain_arguments(arguments: Any) -> str:
    """Equal for equal arguments, however their JSON was written."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):  # a model may write brackets without end
            return arguments.strip()
    return json.dumps(arguments, sort_keys=True)


def _calls_digest(message: Mapping[str, Any], digests: Digests) -> bytes | None:
    calls = _plain_calls(message)
    return digests.of("calls", calls) if calls else None


def _id_digest(identifier: object, digests: Digests) -> bytes | None:
    is_random = isinstance(identifier, str) and _RANDOM_END.search(identifier)
    return digests.of("id", identifier) if is_random else None
