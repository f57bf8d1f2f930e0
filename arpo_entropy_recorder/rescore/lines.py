"""From the entries of a dump to lines: prompt and response apart, with the response's mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rescore.keys import Names, names_of, score_of
from arpo_entropy_recorder.rescore.line import Line, Prompt, is_messages
from arpo_entropy_recorder.rescore.readings import Apart, Entry, Reading, apart, of_response, reading_of
from arpo_entropy_recorder.rescore.skipping import Skip, usable
from arpo_entropy_recorder.step_files.json_text import json_list
from arpo_entropy_recorder.step_files.schema import MAX_INT


def lines_of(entries: Sequence[Entry], file: str, skip: Skip | None) -> Iterator[tuple[Entry, Reading, Line]]:
    """The usable lines of a file, in order. `skip` takes the error of each other; without it, the first is raised.

    Raises SettingError where the content does not tell which sequence is which.
    """
    checked = list(usable(entries, _checked, skip))
    groups: dict[Names, list[Entry]] = {}
    for entry in checked:
        groups.setdefault(entry.names, []).append(entry)
    readings = {names: reading_of(names, of_names, file) for names, of_names in groups.items()}

    def read(entry: Entry) -> tuple[Entry, Reading, Line]:
        reading = readings[entry.names]
        return entry, reading, replace(_line(entry, reading), score=score_of(entry.values))

    yield from usable(checked, read, skip)


def parse_entry(values: Any, given: Mapping[str, str], step: int, where: str) -> Entry:
    """An entry with the keys that hold its prompt and response. Raises UserError."""
    return Entry(where, step, values, names_of(values, given, where))


def _checked(entry: Entry) -> Entry:
    """The entry itself. Raises UserError where its keys hold neither texts nor token ids."""
    names = entry.names
    for name in filter(None, (names.prompt, names.response, names.whole)):
        value = entry.values[name]
        if isinstance(value, str):
            if _holds_messages(value):
                raise UserError(
                    f"{entry.where} {name!r}: messages as JSON text; write a prompt as the list itself, "
                    "a response as the text or token ids that were generated"
                )
            continue
        if is_messages(value) and name == names.prompt:
            _check_messages(value, f"{entry.where} {name!r}")
        elif is_messages(value):
            raise UserError(
                f"{entry.where} {name!r}: not a text but messages, which only a prompt may be; dump the response as "
                "the text or token ids that were generated"
            )
        elif isinstance(entry.values[names.response or name], str) or not isinstance(value, list):
            raise UserError(f"{entry.where} {name!r}: not a text; write it as a JSON string")
        elif not all(type(i) is int and 0 <= i <= MAX_INT for i in value):
            raise UserError(
                f"{entry.where} {name!r}: not a list of token ids; write whole numbers from 0 to 2**63 - 1"
            )
    kinds = {type(entry.values[n]) for n in (names.prompt, names.response, names.whole) if n}
    if len(kinds) > 1 and not (names.prompt and is_messages(entry.values[names.prompt])):
        raise UserError(
            f"{entry.where}: prompt and response are not both texts or both token ids; name other keys"
        )
    return entry


def _holds_messages(text: str) -> bool:
    """Whether a text is a JSON list of chat messages."""
    found = json_list(text)
    return bool(found) and all(isinstance(message, dict) and "role" in message for message in found)


def _check_messages(messages: list[Any], where: str) -> None:
    fields = ("role", "content")
    if not all(isinstance(m, dict) and all(isinstance(m.get(f), str) for f in fields) for m in messages):
        raise UserError(f"{where}: not a list of messages with role and content as texts")
    if messages[-1]["role"] == "assistant":
        raise UserError(
            f"{where}: its last message is the assistant's, so that it is not the prompt; leave that out"
        )


def _line(entry: Entry, reading: Reading) -> Line:
    parts = apart(entry, reading)
    prompt, response, _ = parts
    if isinstance(response, str):
        return Line(entry.where, prompt, response)
    mask = of_response(entry, reading, parts, reading.mask) if reading.mask else None
    if (attention := entry.names.attention) is not None:
        prompt, response, mask = _attended(entry, reading, parts, attention, mask)
    texts = None
    if entry.names.texts:
        pair = [entry.values[name] for name in entry.names.texts]
        texts = (pair[0], pair[1]) if all(isinstance(text, str) for text in pair) else None
    return Line(entry.where, prompt, response, mask, texts, is_unpadded=attention is not None)


def _attended(
    entry: Entry, reading: Reading, parts: Apart, name: str, mask: list[bool] | None
) -> tuple[Prompt, list[int], list[bool] | None]:
    """Prompt, response and mask without the tokens that the attention mask leaves out: padding."""
    prompt, response, start = parts
    values = entry.values[name]
    if len(values) == len(response) and len(values) != len(prompt) + len(response):
        seen_prompt, seen = [1] * len(prompt), values
    else:
        seen_prompt, seen = values[:start], of_response(entry, reading, parts, name)
    kept = [index for index, is_seen in enumerate(seen) if is_seen]
    return (
        [token for token, is_seen in zip(prompt, seen_prompt, strict=True) if is_seen],
        [response[index] for index in kept],
        None if mask is None else [mask[index] for index in kept],
    )
