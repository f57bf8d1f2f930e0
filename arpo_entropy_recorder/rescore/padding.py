"""Padding around the token ids of a dump: the tokenizer's own, or another one's, which is refused."""

from __future__ import annotations

from typing import Any, NamedTuple

from arpo_entropy_recorder.errors import UserError

# At least as many equal tokens at an end, if they are not the tokenizer's padding, are another one's.
FOREIGN_PADDING = 3


class Padding(NamedTuple):
    """The token that pads, and the one that ends a text; they may be the same."""

    token: int | None
    eos: int | None

    @classmethod
    def of(cls, tokenizer: Any) -> Padding:
        """A tokenizer's. Trainers take the end-of-text token where it has no padding."""
        eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
        return cls(eos if pad is None else pad, eos)

    def unpadded(self, prompt: list[int], where: str) -> list[int]:
        """A prompt's tokens without padding on either side. Raises UserError for padding by an unknown token."""
        start, stop = 0, len(prompt)
        while start < stop and prompt[start] == self.token:
            start += 1
        while stop > start and prompt[stop - 1] == self.token:
            stop -= 1
        if self.token == self.eos and stop == len(prompt) - 1:
            stop += 1  # a single end-of-text token at the end is the prompt's own
        kept = prompt[start:stop]
        if len(kept) > FOREIGN_PADDING and len(set(kept[:FOREIGN_PADDING])) == 1:
            raise UserError(
                f"{where}: the prompt begins with token {kept[0]} several times, which is not the tokenizer's "
                "padding; add attention_mask, or leave the padding out"
            )
        return kept

    def trimmed(self, response: list[int]) -> list[int]:
        """A response's tokens without padding on either side."""
        start = 0
        while start < len(response) and response[start] == self.token:
            start += 1
        if start == len(response):  # nothing but padding, or an end-of-text token that was sampled
            return response[: int(bool(response) and self.token == self.eos)]
        last = len(response)
        while response[last - 1] == self.token:
            last -= 1
        # The padding token may also be the end-of-text token: then the first of a run of them was sampled.
        if self.token is not None and self.token == self.eos and last < len(response):
            last += 1
        return response[start:last]
