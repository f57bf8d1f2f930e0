"""Keyed digests, the only form in which prompts, replies and identifiers are remembered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

import msgspec

DIGEST_BYTES = 16
TOKEN_BYTES = 4
"""Bytes of a token id: little-endian int32."""


class Digests:
    """BLAKE2b under a key that is made of the job's random token, so that nobody without it can try texts out."""

    def __init__(self, token: bytes) -> None:
        self._key = blake2b(token, person=b"arpo-lineage", digest_size=32).digest()

    def of(self, *parts: object) -> bytes:
        """The digest of values that JSON can say, or of bytes: 16 bytes."""
        return self.of_bytes(msgspec.json.encode(parts))

    def of_bytes(self, data: bytes) -> bytes:
        """The digest of bytes as they are: 16 bytes. Equal to that of `prefixes` at the whole length."""
        return blake2b(data, key=self._key, digest_size=DIGEST_BYTES).digest()

    def prefixes(self, token_ids: bytes, lengths: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """(length, digest of the first `length` tokens) for each of the ascending `lengths` that fit.

        token_ids: little-endian int32.
        """
        state, done = blake2b(key=self._key, digest_size=DIGEST_BYTES), 0
        with memoryview(token_ids) as view:
            for length in lengths:
                end = length * TOKEN_BYTES
                if end > len(view):
                    return
                state.update(view[done:end])
                done = end
                yield length, state.digest()
