"""How values of a record are made: the entropy's scale, the prompt without padding and its digest, a tool's name."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence

import numpy as np

# What counts as a tool's name. Anything else that a model writes in its place is text, and not kept.
_TOOL_NAME = re.compile(r"[\w.:/-]{1,64}")


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


def tool_name(text: object) -> str | None:
    """`text` if it is a tool's name, as the key `tool` has it, else None."""
    return text if isinstance(text, str) and _TOOL_NAME.fullmatch(text) else None
