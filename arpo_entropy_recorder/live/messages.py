"""Messages from an engine's workers to the collector: authenticated before they are parsed, at most 64 KiB.

A frame is sealed (`live.sealed`). The first byte of its body says its kind:

    V   values: for each the key (16 bytes), the token's position (uint32) and nats (float32), little-endian; a NaN
        stands for an entropy that does not exist
    H   a worker says who it is and what it has done so far (JSON)
    L   a worker lost records (JSON)
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence

import msgspec

from arpo_entropy_recorder.live.mark import KEY_BYTES
from arpo_entropy_recorder.live.sealed import MAC_BYTES, opened, sealed

PERSON = b"arpo-message"
MAX_BODY = 65_536
MAX_FRAME = MAC_BYTES + MAX_BODY
VALUE = struct.Struct(f"<{KEY_BYTES}sIf")
MAX_VALUES = (MAX_BODY - 1) // VALUE.size

Place = tuple[str, int]
"""A request's key and the position of its token, from 0."""
Value = tuple[str, int, float | None]
"""A place and its entropy in nats, or None where there is none."""


class Hello(msgspec.Struct, frozen=True):
    """A worker, and its counters since it started. `refused` says why it records nothing; ended: its process ends."""

    host: str
    pid: int
    engine: str
    runner: str
    version: str
    refused: str | None = None
    counters: dict[str, float] = {}
    ended: bool = False


class Lost(msgspec.Struct, frozen=True):
    """`count` values that will not come (0: unknown), and why."""

    count: int
    reason: str


class BadMessage(ValueError):
    """A frame that is not of this job, or not of this form."""


def encode_values(token: bytes, places: Sequence[Place], nats: Sequence[float]) -> Iterator[bytes]:
    """Frames of the values, each with at most MAX_VALUES of them."""
    for first in range(0, len(places), MAX_VALUES):
        part = slice(first, first + MAX_VALUES)
        packed = (
            VALUE.pack(bytes.fromhex(key), position, value)
            for (key, position), value in zip(places[part], nats[part], strict=True)
        )
        yield sealed(token, b"V" + b"".join(packed), PERSON)


def encode_report(token: bytes, report: Hello | Lost) -> bytes:
    """The frame of a report. Raises ValueError if it is longer than a body may be."""
    body = (b"H" if isinstance(report, Hello) else b"L") + msgspec.json.encode(report)
    if len(body) > MAX_BODY:
        raise ValueError(f"a report of {len(body)} bytes")
    return sealed(token, body, PERSON)


def decode(token: bytes, frame: bytes) -> list[Value] | Hello | Lost:
    """What a frame says. Raises BadMessage, and nothing else, for anything that a worker of this job did not send."""
    body = opened(token, frame, PERSON) if len(frame) <= MAX_FRAME else None
    if not body:
        raise BadMessage("not of this job")
    kind, content = body[:1], body[1:]
    try:
        if kind == b"V":
            return [
                (key.hex(), position, nats if math.isfinite(nats) else None)
                for key, position, nats in VALUE.iter_unpack(content)
            ]
        if kind == b"H":
            return msgspec.json.decode(content, type=Hello)
        if kind == b"L":
            return msgspec.json.decode(content, type=Lost)
    except (struct.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"malformed: {type(error).__name__}") from error
    raise BadMessage("unknown kind")
