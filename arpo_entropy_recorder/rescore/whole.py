"""Whether one sequence of a dumped line holds another one: told by what it holds, since names are used for both.

verl's `input_ids` are prompt and response, other trainers' are the prompt alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

S = TypeVar("S", str, list[int])

# Equal ends of at least this length are no chance: 8 tokens, 16 characters.
SURE = {list: 8, str: 16}


def response_start(whole: S, response: S) -> int | None:
    """Where `response` starts in `whole` if `whole` ends with it, padding and end-of-text tokens aside; else None."""
    for shorter in _without_padding(whole):
        for end in _without_padding(response):
            if end and len(end) <= len(shorter) and shorter[len(shorter) - len(end) :] == end:
                return len(shorter) - len(end)
    return None


def prompt_end(whole: S, prompt: S) -> int | None:
    """Where `prompt` ends in `whole` if `whole` begins with it; else None."""
    return len(prompt) if prompt and whole[: len(prompt)] == prompt else None


def is_sure(part: str | list[int]) -> bool:
    """True if `part` is so long that it is found at the end of another sequence by no chance."""
    return len(part) >= SURE[type(part)]


def is_cut(whole: S, response: S) -> bool:
    """True if `whole` ends within `response`: a whole sequence that was cut at a length limit."""
    least = SURE[type(whole)]
    # Where `response` begins with all of `whole`, `whole` is the prompt in it.
    tail = whole[max(len(whole) - len(response), 1) :]
    return any(
        tail[at] == response[0] and tail[at:] == response[: len(tail) - at]
        for at in range(len(tail) - least + 1)
    )


def _without_padding(sequence: S) -> Iterator[S]:
    """The sequence, and without the last and the last two runs of a token: padding, and what ends the text.

    A text without the white space at its end. Which token pads is not known before a tokenizer is loaded.
    """
    yield sequence
    if isinstance(sequence, str):
        yield sequence.rstrip()
        return
    stop = len(sequence)
    for _ in range(2):
        last = stop
        while stop and sequence[stop - 1] == sequence[last - 1]:
            stop -= 1
        if stop:
            yield sequence[:stop]
