"""What the keys of a file's entries hold: by their names, and where these leave it open by content.

Content is judged for a whole file at once: a sequence that ends with its response in every entry holds the prompt and
the response.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rescore.keys import LENGTH, Names
from arpo_entropy_recorder.rescore.line import is_messages
from arpo_entropy_recorder.rescore.masks import owned_runs
from arpo_entropy_recorder.rescore.settings import SettingError
from arpo_entropy_recorder.rescore.whole import is_cut, is_sure, prompt_end, response_start


@dataclass(frozen=True)
class Entry:
    """A line of a file as parsed, and the keys that were found in it."""

    where: str
    step: int
    values: Mapping[str, Any]
    names: Names


class Apart(NamedTuple):
    """Prompt and response of an entry, texts or token ids, and where the response starts in the entry's sequences."""

    prompt: Any
    response: Any
    start: int


@dataclass(frozen=True)
class Reading:
    """What the keys of a file's entries are: `names`, whose `prompt` or `whole` is now certain, and the mask's."""

    names: Names
    mask: str | None = None
    response_is_whole: bool = False

    def __str__(self) -> str:
        names = self.names
        if names.response and names.whole and not names.prompt:
            parts = [f"prompt = {names.whole} up to the response", f"response = {names.response}"]
        elif names.whole and not names.response:
            parts = [f"prompt = {names.prompt or f'{names.whole} without the last {LENGTH}'}"]
            parts += [f"response = the rest of {names.whole}"]
        else:
            rest = " after the prompt" if self.response_is_whole else ""
            parts = [f"prompt = {names.prompt}", f"response = {names.response}{rest}"]
        return ", ".join([*parts, *([f"mask = {self.mask}"] if self.mask else [])])


def reading_of(names: Names, entries: Sequence[Entry], file: str) -> Reading:
    """What `names` hold, by the content of all entries that have them."""
    response_is_whole = False
    if names.response and not names.sure:
        response_key = names.response
        key = str(names.prompt or names.whole)
        pairs = [(e.values[key], e.values[names.response]) for e in entries]
        pairs = [(first, response) for first, response in pairs if response and type(first) is type(response)]
        if pairs and not is_messages(pairs[0][0]):
            if _is_whole(pairs, key, response_key, file):
                names = names._replace(prompt=None, whole=key)
            else:
                names = names._replace(prompt=key, whole=names.whole if names.whole != key else None)
                response_is_whole = _holds_prompt(pairs, key, response_key, file)
    reading = Reading(names, None, response_is_whole)
    return replace(reading, mask=_mask(reading, entries, file))


def _is_whole(pairs: Sequence[tuple[Any, Any]], key: str, response_key: str, file: str) -> bool:
    """Whether the first of each pair ends with the second, its response. Raises SettingError where that is open."""
    ends = [response_start(first, response) is not None for first, response in pairs]
    sure = [is_end and is_sure(response) for is_end, (_, response) in zip(ends, pairs, strict=True)]
    cut = [
        not is_end and prompt_end(response, first) is None and is_cut(first, response)
        for is_end, (first, response) in zip(ends, pairs, strict=True)
    ]
    if all(ends) and any(sure):
        return True
    if not any(sure) and not any(cut) and not all(ends):
        return False
    count = sum(ends) + sum(cut)
    raise SettingError(
        "keys",
        f"{file}: {key!r} ends with what {response_key!r} begins with in {count} of {len(pairs)} lines, so that "
        f"it may be the prompt or the whole sequence; say prompt={key} or whole={key}",
    )


def _holds_prompt(pairs: Sequence[tuple[Any, Any]], key: str, response_key: str, file: str) -> bool:
    """Whether every response begins with its prompt. Raises SettingError where that may be chance."""
    begins = [prompt_end(response, first) is not None for first, response in pairs]
    if not all(begins):
        return False
    if any(is_sure(first) for first, _ in pairs):
        return True
    raise SettingError(
        "keys",
        f"{file}: {response_key!r} begins with {key!r} in all of {len(pairs)} lines; say whole={response_key} if it "
        f"is the whole sequence, or prompt={key} if the policy wrote that",
    )


def _mask(reading: Reading, entries: Sequence[Entry], file: str) -> str | None:
    """The mask that tells the policy's tokens from a tool's: the first with a 0 between two 1, else the first."""
    masks = reading.names.masks
    if len(masks) < 2:
        return next(iter(masks), None)
    usable = [_usable_masks(entry, reading) for entry in entries]
    telling = []
    for name in masks:
        found = [of_entry[name] for of_entry in usable if name in of_entry]
        if any(len(owned_runs(mask)) > 1 for mask in found):
            telling.append((name, found))
    if any(found != telling[0][1] for _, found in telling):
        which = " and ".join(name for name, _ in telling)
        raise SettingError(
            "keys", f"{file}: the masks {which} differ; say mask=KEY for the policy's own tokens"
        )
    return telling[0][0] if telling else masks[0]


def _usable_masks(entry: Entry, reading: Reading) -> dict[str, list[bool]]:
    """An entry's masks by name, without those that are wrong: these are raised again, for this line alone."""
    found: dict[str, list[bool]] = {}
    with suppress(UserError):
        parts = apart(entry, reading)
        for name in reading.names.masks:
            with suppress(UserError):
                found[name] = of_response(entry, reading, parts, name)
    return found


def apart(entry: Entry, reading: Reading) -> Apart:
    """An entry's prompt and response. Raises UserError."""
    names, values = reading.names, entry.values
    if names.response is None:
        whole = values[str(names.whole)]
        if names.prompt is not None:
            start = prompt_end(whole, values[names.prompt])
            if start is None:
                raise UserError(
                    f"{entry.where}: {names.whole!r} does not begin with {names.prompt!r}; name other keys"
                )
        else:
            length = values.get(LENGTH)
            if type(length) is not int:
                raise UserError(
                    f"{entry.where}: nothing tells the response in {names.whole!r}; name its prompt"
                )
            start = len(whole) - length
            if not 0 <= start < len(whole):
                raise UserError(f"{entry.where} {LENGTH!r}: not within {names.whole!r}; correct it")
        return Apart(whole[:start], whole[start:], start)
    response = values[names.response]
    if names.prompt is None:
        whole = values[str(names.whole)]
        start = response_start(whole, response)
        if start is None:
            raise UserError(
                f"{entry.where}: {names.whole!r} does not end with {names.response!r}; name other keys"
            )
        return Apart(whole[:start], response, start)
    prompt = values[names.prompt]
    if reading.response_is_whole:
        response = response[len(prompt) :]
    return Apart(prompt, response, len(prompt))


def of_response(entry: Entry, reading: Reading, parts: Apart, name: str) -> list[bool]:
    """A mask's values for the tokens of the response in `parts`. Raises UserError."""
    prompt, response, start = parts
    mask = entry.values[name]
    if not isinstance(mask, list) or not all(value in (0, 1) for value in mask):
        raise UserError(f"{entry.where} {name!r}: not a list of 0 and 1; correct it or name another mask")
    if len(mask) != len(response):
        sizes = {len(prompt) + len(response)}
        if reading.names.whole:
            sizes.add(len(entry.values[reading.names.whole]))
        if len(mask) not in sizes:
            raise UserError(
                f"{entry.where} {name!r}: {len(mask)} values for {len(response)} tokens of the response "
                f"and {len(prompt)} of the prompt; correct it or name another mask"
            )
        mask = mask[start:]
    mask = [bool(value) for value in mask[: len(response)]]
    return mask + [False] * (len(response) - len(mask))
