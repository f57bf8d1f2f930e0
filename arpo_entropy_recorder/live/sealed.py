"""Messages between a job's processes: each begins with a code that only this job can have made of the rest."""

from __future__ import annotations

import hmac
from hashlib import blake2b

MAC_BYTES = 16


def sealed(token: bytes, body: bytes, person: bytes) -> bytes:
    """The message of a body: its code (BLAKE2b under the job's `token`, 16 bytes), and the body.

    person: at most 16 bytes; keeps the code of one kind of message from being that of another.
    """
    return _code(token, body, person) + body


def opened(token: bytes, frame: bytes, person: bytes) -> bytes | None:
    """The body of a message; None if it is not of this job and kind."""
    body = frame[MAC_BYTES:]
    return body if hmac.compare_digest(frame[:MAC_BYTES], _code(token, body, person)) else None


def _code(token: bytes, body: bytes, person: bytes) -> bytes:
    return blake2b(body, key=token, digest_size=MAC_BYTES, person=person).digest()
