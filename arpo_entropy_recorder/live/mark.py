"""The mark on a request that is to be recorded: a random key, and a code that only this job can have made of it.

An HTTP client can set any `extra_args`, so a mark is believed only with the job's code. It names no address and holds
nothing else.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

MARK = "arpo_entropy"
"""The entry of `SamplingParams.extra_args`."""
KEY_BYTES = 16


def new_mark(token: bytes) -> tuple[str, list[str]]:
    """(key, mark) for one request with n = 1 under the job's `token`; the mark goes to `extra_args[MARK]`.

    The key is 32 hexadecimal digits. The completions of a request with n > 1 would share it: see
    `child_mark`.
    """
    key = secrets.token_hex(KEY_BYTES)
    return key, [key, _code(token, key)]


def child_mark(token: bytes, key: str, index: int) -> tuple[str, list[str]]:
    """(key, mark) for completion `index` of a request with n > 1 whose own mark has `key`."""
    child = blake2b(
        f"{key} {index}".encode(), key=token, digest_size=KEY_BYTES, person=b"arpo-child"
    ).hexdigest()
    return child, [child, _code(token, child)]


def read_mark(token: bytes, extra_args: Any) -> str | None:
    """The key of a request's mark, or None where it has none of this job's. Never raises, whatever is given."""
    mark = extra_args.get(MARK) if isinstance(extra_args, Mapping) else None
    if not isinstance(mark, list | tuple) or len(mark) != 2:
        return None
    key, code = mark
    if not (_is_hex(key) and _is_hex(code)):
        return None
    return key if hmac.compare_digest(code, _code(token, key)) else None


def _is_hex(text: object) -> bool:
    return isinstance(text, str) and len(text) == 2 * KEY_BYTES and set(text) <= set("0123456789abcdef")


def _code(token: bytes, key: str) -> str:
    # `person` keeps a mark's code from being one of a message, which are made with the same token.
    return blake2b(key.encode(), key=token, digest_size=16, person=b"arpo-mark").hexdigest()
