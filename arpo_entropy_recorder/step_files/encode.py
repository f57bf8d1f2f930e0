"""Encodes columns of records as the text of a step file: a JSON list of flat objects, one record a line.

Each column is turned into JSON as a whole, by orjson, and cut at its commas; a template then sets the pieces
of a row side by side. A dict a record would cost three times as much.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from arpo_entropy_recorder.step_files import schema
from arpo_entropy_recorder.step_files.schema import Field

Columns = Mapping[str, "np.ndarray | Sequence[Any]"]

# Rows encoded at a time, so that the pieces take little memory and stay in the CPU's cache.
CHUNK = 8192


def encode_records(columns: Columns, constants: Mapping[str, int]) -> list[bytes]:
    """The records as JSON text, `,\\n` between records and between the returned pieces.

    `columns` maps schema keys to equally long columns: arrays of numbers or bools (`[n]`, for `window` also
    `[n, k]`), or lists with None for null. None for a key that cannot be null leaves the key out of that
    record. A float32 is written as the shortest text that reads back as the same float32; NaN as null.
    `constants` are keys with one value for all records. Raises ValueError for an unknown key or columns of
    unequal length.
    """
    if unknown := (columns.keys() | constants.keys()) - {field.name for field in schema.FIELDS}:
        raise ValueError(f"no such key in the schema: {', '.join(sorted(unknown))}")
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise ValueError(f"columns of unequal length: { ({k: len(c) for k, c in columns.items()}) }")
    template, varying = b"", []
    for field in schema.FIELDS:
        name = field.name
        if name in constants:
            template += b',"%b":%d' % (name.encode(), constants[name])
        elif name in columns:
            sparse = _is_sparse(field, columns[name])
            template += b"%b" if sparse else b',"%b":%%b' % name.encode()
            varying.append((field, columns[name], sparse))
    # The first key, `global_step` or `sample_idx`, is never left out, so the template starts with its comma.
    template = b"{" + template[1:] + b"}"

    def rows(part: slice) -> Iterator[tuple[bytes, ...]]:
        return zip(
            *(_sparse_texts(field, c[part]) if sparse else _texts(c[part]) for field, c, sparse in varying),
            strict=True,
        )

    count = lengths.pop() if lengths else 0
    parts = [slice(start, start + CHUNK) for start in range(0, count, CHUNK)]
    return [b",\n".join(map(template.__mod__, rows(part))) for part in parts]


def file_parts(texts: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of the file that holds the records of `texts`, in pieces. Empty texts hold no record."""
    before = b"[\n"
    for text in texts:
        if text:
            yield before
            yield text
            before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


def body(data: bytes) -> bytes:
    """The records' text of a file made of `file_parts`. Raises ValueError if `data` is not such a file."""
    if data == b"[]\n":
        return b""
    if not (data.startswith(b"[\n{") and data.endswith(b"}\n]\n")):
        raise ValueError("not a file written by this recorder")
    return data[2:-3]


def _texts(column: np.ndarray | Sequence[Any]) -> list[bytes]:
    """Each value of a column of numbers, flags, texts or lists of numbers as JSON."""
    if isinstance(column, np.ndarray):
        if column.dtype == object or column.dtype.kind in "US":
            return _texts(column.tolist())
        if column.dtype == np.float16:
            column = column.astype(np.float32)
        column = np.ascontiguousarray(column)
    elif any(isinstance(value, str) for value in column):
        text_of = {value: orjson.dumps(value) for value in set(column)}
        return [text_of[value] for value in column]
    text = orjson.dumps(column, option=orjson.OPT_SERIALIZE_NUMPY)
    if text.startswith(b"[["):
        return [b"[%b]" % row for row in text[2:-2].split(b"],[")]
    return text[1:-1].split(b",")


def _is_sparse(field: Field, column: np.ndarray | Sequence[Any]) -> bool:
    if field.absent is not None or str in field.items:
        # The text of a list of texts is not cut at its commas.
        return True
    return not field.nullable and isinstance(column, list) and any(v is None for v in column)


def _sparse_texts(field: Field, column: np.ndarray | Sequence[Any]) -> list[bytes]:
    """Each value with its key and a leading comma, or nothing where the record leaves the key out."""
    values = column.tolist() if isinstance(column, np.ndarray) else column
    return [
        b""
        if value is None or value is field.absent
        else b',"%b":%b' % (field.name.encode(), orjson.dumps(value))
        for value in values
    ]
