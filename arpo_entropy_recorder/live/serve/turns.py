"""A turn: one request and what came back for it, as an API server tells the recorder.

Messages are MessagePack, sealed (`live.sealed`). They go from process to process on one machine, through a socket
in a private folder, and hold the token ids of prompt and completions, of which the recorder keeps digests.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from arpo_entropy_recorder.live.sealed import MAC_BYTES, opened, sealed
from arpo_entropy_recorder.live.serve.conversation import Conversation, Reply

PERSON = b"arpo-turn"
MAX_MESSAGE = 64 * 1024 * 1024


class Completion(msgspec.Struct):
    """One completion of a request. key: of its mark. token_ids: little-endian int32. finish: None if cut off.

    version: of the weights that wrote its first token, where vLLM tells it.
    """

    key: str
    token_ids: bytes
    finish: str | None = None
    version: str | None = None
    reply: Reply | None = None


class Turn(msgspec.Struct):
    """A request. asked, ended: time.monotonic() of this machine. prompt: little-endian int32.

    conversation: None where the request is no chat. session: digest of the session and the API key that it came with.
    step: the trainer's, where the client tells it.
    """

    asked: float
    ended: float
    prompt: bytes
    completions: list[Completion]
    conversation: Conversation | None = None
    session: bytes | None = None
    step: int | None = None


class FrontReport(msgspec.Struct):
    """What an API server tells of itself. passed: requests that are served and not recorded, by reason."""

    pid: int
    vocab_size: int = 0
    model: str | None = None
    vllm: str | None = None
    failures: int = 0
    dropped: int = 0
    passed: dict[str, int] = {}


class Told(msgspec.Struct):
    """A message: either, or both."""

    front: FrontReport
    turn: Turn | None = None


class Ask(msgspec.Struct):
    """A question to the recorder: `what` is "flush" or "status"."""

    what: str
    step: int | None = None


def read_step(text: str) -> int | None:
    """The step that a client names; None for what is no whole number from 0 on, of at most 15 digits."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 15 else None


class Forged(ValueError):
    """A message that is not of this job, or not of this form."""


Message = TypeVar("Message", bound=msgspec.Struct)


def seal(token: bytes, message: msgspec.Struct) -> bytes:
    """The message with its code. Raises ValueError if it is too long."""
    body = msgspec.msgpack.encode(message)
    if len(body) > MAX_MESSAGE - MAC_BYTES:
        raise ValueError(f"a message of {len(body)} bytes")
    return sealed(token, body, PERSON)


def unseal(token: bytes, frame: bytes, kind: type[Message]) -> Message:
    """The message of this kind. Raises Forged for anything else."""
    body = opened(token, frame, PERSON)
    if body is None:
        raise Forged("not of this job")
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Forged(f"malformed: {type(error).__name__}") from error
