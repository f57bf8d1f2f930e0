"""Decodes a step file's text into columns and checks it against the schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, Union

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType

from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.step_files import schema
from arpo_entropy_recorder.step_files.schema import MAX_FLOAT, MAX_INT, MIN_FLOAT, NULL, Field

Columns = dict[str, np.ndarray]

# A file with one record a line is parsed in pieces of this size, so that a large file needs little memory.
CHUNK_BYTES = 1 << 18
# Stands for null or a missing key in an int column. No id or count is negative.
_NO_INT = -1
_INT: Any = Annotated[int, Meta(ge=0, le=MAX_INT)]
# msgspec's message for a number that fails these checks, and the one shown.
_OUT_OF_RANGE = (
    (re.compile(r"Expected float <= (?!1\.0)"), "the number is too large"),
    (
        re.compile(r"Expected float <"),
        f"the number is outside [{MIN_FLOAT:g}, {MAX_FLOAT:g}] (nats, perhaps: divide them by ln(vocabulary size))",
    ),
    (re.compile(r"Expected float >"), f"the number is outside its range: it is below {MIN_FLOAT:g}"),
    (re.compile(r"Expected int >"), "the number is negative"),
    (re.compile(r"Expected int <|Integer value out of range"), "the number has more than 64 bits"),
)


@cache
def _decoder(fields: tuple[Field, ...], closed: bool = False) -> msgspec.json.Decoder:
    """Of lists of records with these fields; a `closed` one takes no other keys."""

    def union(types: Sequence[type], highest: float) -> Any:
        # A float may be written as an int; msgspec converts and checks it as a float.
        kinds = [kind for kind in types if not (kind is int and float in types)]
        checked = {float: Annotated[float, Meta(ge=MIN_FLOAT, le=highest)], int: _INT, NULL: None}
        return Union[tuple(checked.get(kind, kind) for kind in kinds)]  # noqa: UP007

    members: list[Any] = []
    for field in fields:
        known = union(field.items or field.types, field.highest)
        known = list[known] if field.items else known  # type: ignore[valid-type]
        members.append((field.name, known) if field.required else (field.name, known | UnsetType, UNSET))
    record = msgspec.defstruct("Record", members, kw_only=True, gc=False, forbid_unknown_fields=closed)
    return msgspec.json.Decoder(list[record])  # type: ignore[valid-type]


_WHERE = re.compile(r" - at `\$\[(\d+)\](?:\.(\w+))?.*`$")
_MISSING = re.compile(r"Object missing required field `(\w+)`")
# A string, in which these words are text, or one of the words.
_LITERAL = re.compile(rb'"(?:[^"\\]|\\.)*"|NaN|-?Infinity', re.DOTALL)


class ReadError(UserError):
    """A file that cannot be read as a step file. One line: the file, the entry and key, what to do."""


def decode(data: bytes, path: object) -> Columns:
    """The columns of a step file's records, by schema key; keys that no record has are absent.

    Ints are int64, with -1 for null; flags are bool; `entropy` is float64 `[n]` and `window` float64 `[n, k]`,
    with NaN for null and for values that are not there; `tool`, `source`, `tools` and `tokens` are object arrays
    of str, None, lists of these and int64 arrays. Raises ReadError, naming `path`.
    """
    return concatenate(list(_pieces(data, path)))


def _pieces(data: bytes, path: object) -> Iterator[Columns]:
    """The records' columns, a piece of the file at a time where each is on a line of its own."""
    if len(data) <= CHUNK_BYTES or not (data.startswith(b"[\n{") and data.endswith(b"}\n]\n")):
        yield _columns(_parse(data, path))
        return
    every = decoder = _decoder(schema.FIELDS)
    first, start, end = 0, 2, len(data) - 3
    while start < end:
        cut = data.find(b"},\n{", start + CHUNK_BYTES)
        stop = end if cut < 0 else cut + 1
        try:
            try:
                records = decoder.decode(b"[%b]" % data[start:stop])
            except msgspec.ValidationError:
                decoder = every
                records = decoder.decode(b"[%b]" % data[start:stop])
        except (msgspec.DecodeError, RecursionError, ValueError):
            # The file is invalid, or this cut went through a record of another layout. Parse it whole to find out.
            yield _columns(_parse(data, path)[first:])
            return
        columns = _columns(records)
        yield columns
        if not first:
            # Half of the keys are of settings that are seldom on: looking for them takes a fifth of the time.
            decoder = _decoder(tuple(field for field in schema.FIELDS if field.name in columns), True)
        first += len(records)
        start = stop + 2


def _parse(data: bytes, path: object) -> list[Any]:
    if not data.strip():
        raise ReadError(f"{printable(path)}: the file is empty; record the step again or leave the file out")
    try:
        return _decoder(schema.FIELDS).decode(data)
    except msgspec.ValidationError as error:
        raise _wrong(str(error), path) from None
    except RecursionError:
        problem = "nested too deeply"
    except (msgspec.DecodeError, ValueError, OverflowError) as error:
        records = _with_literals(data, path)
        if records is not None:
            return records
        problem = printable(error)
    raise ReadError(f"{printable(path)}: not JSON: {problem}; record the step again or leave the file out")


def _with_literals(data: bytes, path: object) -> list[Any] | None:
    """The records of a file with NaN or Infinity, which JSON does not have and Python's `json.dump` writes.

    NaN is null. Infinity raises ReadError with the entry and key, unless it stands in a key that is not read. None
    where the file is not JSON otherwise.
    """
    if b"NaN" not in data and b"Infinity" not in data:
        return None
    literals = {match[0] for match in _LITERAL.finditer(data) if not match[0].startswith(b'"')}
    if not literals:
        return None

    def replaced(infinity: bytes) -> bytes:
        values = {b"NaN": b"null", b"Infinity": infinity, b"-Infinity": infinity}
        return _LITERAL.sub(lambda match: values.get(match[0], match[0]), data)

    decoder = _decoder(schema.FIELDS)
    try:
        records = decoder.decode(replaced(b"null"))
    except msgspec.ValidationError as error:
        raise _wrong(str(error), path) from None
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None
    if literals == {b"NaN"}:
        return records
    try:
        return decoder.decode(replaced(b"{}"))  # no key that is read may hold an object
    except msgspec.ValidationError as error:
        infinity = "-Infinity" if b"Infinity" not in literals else "Infinity"
        raise _wrong(str(error).replace("got `object`", f"got {infinity}"), path) from None


def _wrong(message: str, path: object) -> ReadError:
    """The error for msgspec's message."""
    where = _WHERE.search(message)
    problem = printable(_WHERE.sub("", message)).replace("`", "")
    if where is None:
        return ReadError(f"{printable(path)}: {problem}; a step file is a JSON list of records")
    key = f" {where[2]!r}" if where[2] else ""
    if missing_key := _MISSING.match(message):
        key, problem = f" {missing_key[1]!r}", "this required key is missing"
    problem = next((ours for theirs, ours in _OUT_OF_RANGE if theirs.match(problem)), problem)
    return ReadError(f"{printable(path)}: entry {where[1]}{key}: {problem}; correct it or leave the file out")


def _columns(records: list[Any]) -> Columns:
    columns: Columns = {}
    for field in schema.FIELDS:
        if records and not hasattr(records[0], field.name):
            continue
        values = list(map(attrgetter(field.name), records))
        if not field.required:
            absent = values.count(UNSET) if UNSET in values else 0
            if absent == len(values):
                continue
            if absent:
                values = [_absent(field) if value is UNSET else value for value in values]
        columns[field.name] = _column(field, values)
    return columns


def _absent(field: Field) -> Any:
    return [] if field.items else field.absent


def _column(field: Field, values: list[Any]) -> np.ndarray:
    if field.items and field.kind is float:
        return _padded(values)
    if field.items and field.kind is int:
        return _objects([np.array(value, np.int64) for value in values])
    if field.items:
        return _objects(values)
    if field.kind is str:
        kept: dict[str, str] = {}
        texts = np.empty(len(values), dtype=object)
        texts[:] = list(map(kept.setdefault, values, values))
        return texts
    if field.kind is int and None in values:
        values = [_NO_INT if value is None else value for value in values]
    return np.array(values, dtype={bool: np.bool_, int: np.int64, float: np.float64}[field.kind])


def _padded(rows: Sequence[Sequence[float | None]]) -> np.ndarray:
    width = max(map(len, rows), default=0)
    return np.array([[*row, *[None] * (width - len(row))] for row in rows], dtype=np.float64).reshape(
        len(rows), width
    )


def _objects(values: list[Any]) -> np.ndarray:
    column = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        column[index] = value
    return column


def concatenate(parts: list[Columns]) -> Columns:
    """The columns of all parts, one after the other; without parts, empty ones."""
    parts = parts or [_columns([])]
    return {
        field.name: _join(field, parts)
        for field in schema.FIELDS
        if field.required or any(field.name in part for part in parts)
    }


def _join(field: Field, parts: list[Columns]) -> np.ndarray:
    columns = [part.get(field.name) for part in parts]
    width = max((c.shape[1] for c in columns if c is not None and c.ndim == 2), default=0)
    filled = []
    for part, column in zip(parts, columns, strict=True):
        if column is None:
            column = _column(field, [_absent(field)] * len(part["entropy"]))
        if column.ndim == 2:
            column = np.pad(column, ((0, 0), (0, width - column.shape[1])), constant_values=np.nan)
        filled.append(column)
    return filled[0] if len(filled) == 1 else np.concatenate(filled)
