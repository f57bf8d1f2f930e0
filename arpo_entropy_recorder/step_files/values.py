"""How values of a record are computed: the entropy's scale, and the prompt without padding and its digest."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np


def normalised(nats: np.ndarray, vocab_size: int) -> np.ndarray:
    """Entropies as a record has them, float32 in [0, 1] in the shape of `nats`: nats over ln(vocab_size).

    NaN stays NaN: a token that was not recorded, or a row that is no number.
    """
    # Above 1 only by rounding, or where nothing keeps the policy from ids that the tokenizer does not have.
    return np.minimum(nats / np.float32(math.log(vocab_size)), np.float32(1.0))


def unpadded(token_ids: Sequence[int] | np.ndarray, pad_token_id: int | None) -> np.ndarray:
    """Token ids padded on the left, [length], from the first on that is not padding: int64 [up to length]."""
    ids = np.asarray(token_ids, dtype=np.int64)
    where = np.flatnonzero(ids != (-1 if pad_token_id is None else pad_token_id))
    return ids[where[0] :] if len(where) else ids[:0]


def prompt_digest(token_ids: Sequence[int] | np.ndarray) -> str:
    """The value of the key `prompt`: 16 hex digits for a prompt's token ids, [length], without padding.

    BLAKE2b with a digest of 8 bytes, of the ids as little-endian int64. Equal ids give equal digests in any run.
    """
    return hashlib.blake2b(np.asarray(token_ids, dtype="<i8").tobytes(), digest_size=8).hexdigest()
