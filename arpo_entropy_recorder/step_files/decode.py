"""The text of a step file to columns, checked against the schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.step_files.schema import FIELD, FIELDS, NULL

Columns = dict[str, np.ndarray]

# Text of one record a line is parsed in pieces of this size, so that a large file needs little memory.
CHUNK_BYTES = 1 << 18
_ITEMS: dict[str, Any] = {"window": list[float | None], "tokens": list[int]}
# What a column holds where a record has null or leaves the key out. No id or count is negative.
_NO_INT = -1
_ABSENT_FLAG = {"do_sample": True}


def _record_type() -> type:
    def annotation(types: Sequence[type], name: str) -> Any:
        if name in _ITEMS:
            return _ITEMS[name]
        union: Any = types[0]
        for other in types[1:]:
            union = union | (None if other is NULL else other)
        return float | None if float in types else union

    fields: list[Any] = []
    for f in FIELDS:
        known = annotation(f.types, f.name)
        fields.append((f.name, known) if f.required else (f.name, known | UnsetType, UNSET))
    return msgspec.defstruct("Record", fields, kw_only=True, gc=False)


_DECODER = msgspec.json.Decoder(list[_record_type()])  # type: ignore[misc]
_WHERE = re.compile(r" - at `\$\[(\d+)\](?:\.(\w+))?.*`$")
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_LITERAL = re.compile(rb"-?(?:NaN|Infinity)")


class ReadError(UserError):
    """A file that cannot be read as a step file. One line: the file, the entry and key, what to do."""


def decode(data: bytes, path: object) -> Columns:
    """The columns of a step file's records, by schema key; keys that no record has are absent.

    Ints are int64, with -1 for null; flags are bool; `entropy` is float64 `[n]` and `window` float64 `[n, k]`,
    with NaN for null and for values that are not there; `tool`, `source` and `tokens` are object arrays of
    str, None and int64 arrays. Raises ReadError, naming `path`.
    """
    parts: list[Columns] = []
    first = 0
    for records in _parsed(data, path):
        parts.append(_columns(records, path, first))
        first += len(records)
    return concatenate(parts)


def _parsed(data: bytes, path: object) -> Iterator[list[Any]]:
    """The records, a piece of the file at a time where each is on a line of its own."""
    if len(data) <= CHUNK_BYTES or not (data.startswith(b"[\n{") and data.endswith(b"}\n]\n")):
        yield _parse(data, path, 0)
        return
    first, start, end = 0, 2, len(data) - 3
    while start < end:
        cut = data.find(b"},\n{", start + CHUNK_BYTES)
        stop = end if cut < 0 else cut + 1
        try:
            records = _DECODER.decode(b"[%b]" % data[start:stop])
        except (msgspec.DecodeError, RecursionError, ValueError):
            # Either the file is at fault, or it was cut in the midst of a record of some other layout.
            yield _parse(data, path, 0)[first:]
            return
        yield records
        first += len(records)
        start = stop + 2


def _parse(data: bytes, path: object, first: int) -> list[Any]:
    if not data.strip():
        raise ReadError(f"{printable(path)}: the file is empty; record the step again or leave the file out")
    try:
        return _DECODER.decode(data)
    except msgspec.ValidationError as error:
        raise _wrong(str(error), path) from None
    except RecursionError:
        problem = "nested too deeply"
    except (msgspec.DecodeError, ValueError, OverflowError) as error:
        _refuse_literal(data, str(error), path)
        problem = printable(error)
    raise ReadError(f"{printable(path)}: not JSON: {problem}; record the step again or leave the file out")


def _refuse_literal(data: bytes, message: str, path: object) -> None:
    """Tells the entry and key if what is wrong is a NaN or Infinity, which is not JSON."""
    byte = re.search(r"\(byte (\d+)\)", message)
    at = int(byte[1]) if byte else 0
    literal = _LITERAL.match(data, max(at - 1, 0)) or _LITERAL.match(data, at)
    if literal is None:
        return
    try:
        # In quotes it is of the wrong type, and where that is the decoder can tell.
        _DECODER.decode(b'%b"%b"%b' % (data[: literal.start()], literal[0], data[literal.end() :]))
    except msgspec.ValidationError as error:
        raise _wrong(str(error).replace("got `str`", f"got {literal[0].decode()}"), path) from None
    except (msgspec.DecodeError, RecursionError, ValueError):
        return


def _wrong(message: str, path: object) -> ReadError:
    """msgspec's message in the reader's words."""
    where = _WHERE.search(message)
    problem = printable(_WHERE.sub("", message)).replace("`", "")
    if where is None:
        return ReadError(f"{printable(path)}: {problem}; a step file is a JSON list of records")
    key = f" {where[2]!r}" if where[2] else ""
    if missing_key := _MISSING.match(message):
        key, problem = f" {missing_key[1]!r}", "this required key is missing"
    return _entry_error(path, int(where[1]), key, problem)


def _entry_error(path: object, index: int, key: str, problem: str) -> ReadError:
    return ReadError(f"{printable(path)}: entry {index}{key}: {problem}; correct it or leave the file out")


def _columns(records: list[Any], path: object, first: int) -> Columns:
    columns: Columns = {}
    for field in FIELDS:
        name = field.name
        values = list(map(attrgetter(name), records))
        if not field.required:
            absent = values.count(UNSET) if UNSET in values else 0
            if absent == len(values):
                continue
            if absent:
                values = [_absent(name) if value is UNSET else value for value in values]
        columns[name] = _column(name, values, path, first)
    return columns


def _absent(name: str) -> Any:
    if bool in FIELD[name].types:
        return _ABSENT_FLAG.get(name, False)
    return [] if name in _ITEMS else None


def _column(name: str, values: list[Any], path: object, first: int) -> np.ndarray:
    types = FIELD[name].types
    if name == "window":
        return _unit(name, _padded(values), path, first)
    if name == "tokens" or str in types:
        return _objects(name, values, path, first)
    if float in types:
        return _unit(name, np.array(values, dtype=np.float64), path, first)
    if bool in types:
        return np.array(values, dtype=bool)
    try:
        column = np.array(
            [_NO_INT if v is None else v for v in values] if None in values else values, np.int64
        )
    except OverflowError:
        index = next(i for i, v in enumerate(values) if v is not None and not -(2**63) <= v < 2**63)
        raise _entry_error(path, first + index, f" {name!r}", "the number has more than 64 bits") from None
    if len(column) and column.min() < 0:
        for index in np.flatnonzero(column < 0):
            if values[index] is not None:
                raise _entry_error(path, first + int(index), f" {name!r}", f"{values[index]} is negative")
    return column


def _unit(name: str, column: np.ndarray, path: object, first: int) -> np.ndarray:
    """`column`, if what is not NaN lies in [0, 1]."""
    bad = (column < 0) | (column > 1)
    if bad.any():
        where = tuple(np.argwhere(bad)[0])
        problem = f"{column[where]:.6g} is outside [0, 1]"
        raise _entry_error(path, first + int(where[0]), f" {name!r}", problem)
    return column


def _padded(rows: Sequence[Sequence[float | None]]) -> np.ndarray:
    width = max(map(len, rows), default=0)
    return np.array([[*row, *[None] * (width - len(row))] for row in rows], dtype=np.float64).reshape(
        len(rows), width
    )


def _objects(name: str, values: list[Any], path: object, first: int) -> np.ndarray:
    """Texts, each distinct one kept once, or lists of ints as int64 arrays."""
    column = np.empty(len(values), dtype=object)
    kept: dict[str, str] = {}
    for index, value in enumerate(values):
        try:
            column[index] = np.array(value, np.int64) if name == "tokens" else kept.setdefault(value, value)
        except OverflowError:
            raise _entry_error(path, first + index, f" {name!r}", "a number has more than 64 bits") from None
    return column


def concatenate(parts: list[Columns]) -> Columns:
    """The columns of all parts, one after the other; without parts, empty ones."""
    parts = parts or [_columns([], "", 0)]
    return {f.name: _join(f.name, parts) for f in FIELDS if f.required or any(f.name in p for p in parts)}


def _join(name: str, parts: list[Columns]) -> np.ndarray:
    columns = [part.get(name) for part in parts]
    width = max((c.shape[1] for c in columns if c is not None and c.ndim == 2), default=0)
    filled = []
    for part, column in zip(parts, columns, strict=True):
        if column is None:
            column = _column(name, [_absent(name)] * len(part["entropy"]), "", 0)
        if name == "window":
            column = np.pad(column, ((0, 0), (0, width - column.shape[1])), constant_values=np.nan)
        filled.append(column)
    return filled[0] if len(filled) == 1 else np.concatenate(filled)
