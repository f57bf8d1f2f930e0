"""All records as one table, for people who go on in pandas, Polars, DuckDB or Spark."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from arpo_entropy_recorder.atomic import written_whole
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.step_files import schema
from arpo_entropy_recorder.step_files.read import Step

KINDS = (".parquet", ".csv")
_ALIASES = {bool: "bool", int: "int64", float: "float64", str: "string"}


def export(steps: Iterable[Step], path: Path) -> int:
    """Write every record of `steps`, one row each, to a .parquet or .csv file; returns the number of rows.

    The columns are the schema's keys, `validate`, and `stale` (recorded before a resume that went back to an
    earlier step, and not again yet); null where a record has no such key. CSV has no lists, so `window`,
    `tokens` and `tools` are left out of it. Holds one step at a time and renames the file into place.
    Raises UserError where pyarrow is missing or the file cannot be written.
    """
    try:
        import pyarrow as pa
        from pyarrow import csv, parquet
    except ImportError:
        raise UserError("export needs pyarrow: pip install pyarrow") from None
    is_parquet = path.suffix.lower() == ".parquet"
    columns = _columns(pa, with_lists=is_parquet)
    open_writer, rows = parquet.ParquetWriter if is_parquet else csv.CSVWriter, 0
    # Open the file ourselves: pyarrow rejects names that are not UTF-8, and words its own errors.
    with written_whole(path) as tmp_path, open(tmp_path, "wb") as file, open_writer(file, columns) as writer:
        for step in steps:
            writer.write_table(pa.table([_array(pa, step, field) for field in columns], schema=columns))
            rows += len(step)
    return rows


def arrow_table(columns: dict[str, np.ndarray]) -> Any:
    """Columns of records as a pyarrow Table with nulls, without `validate` and `stale`. Raises UserError."""
    try:
        import pyarrow as pa
    except ImportError:
        raise UserError("a table needs pyarrow: pip install pyarrow") from None
    fields = [field for field in _columns(pa, with_lists=True) if field.name in columns]
    return pa.table([_values(pa, columns[field.name], field) for field in fields], schema=pa.schema(fields))


def _columns(pa: Any, with_lists: bool) -> Any:
    """The table's schema: lists come last."""
    kinds: dict[str, Any] = {"validate": pa.bool_(), "stale": pa.bool_()}
    lists: dict[str, Any] = {}
    for field in schema.FIELDS:
        kind = pa.type_for_alias(_ALIASES[field.kind])
        if field.items:
            lists[field.name] = pa.list_(kind)
        else:
            kinds[field.name] = kind
    return pa.schema({**kinds, **(lists if with_lists else {})})


def _array(pa: Any, step: Step, field: Any) -> Any:
    """The column of `field`, with the nulls that the step's arrays stand in for."""
    name, n = field.name, len(step)
    if name in ("validate", "stale", "global_step"):
        return pa.array(np.full(n, getattr(step, name)), field.type)
    column = step.columns.get(name)
    return pa.nulls(n, field.type) if column is None else _values(pa, column, field)


def _values(pa: Any, column: np.ndarray, field: Any) -> Any:
    if column.ndim == 2:
        return pa.array([[None if np.isnan(x) else x for x in row] for row in column.tolist()], field.type)
    if column.dtype.kind == "i":
        return pa.array(column, field.type, mask=column < 0)
    if column.dtype.kind == "f":
        return pa.array(column, field.type, mask=np.isnan(column))
    return pa.array(column.tolist() if column.dtype == object else column, field.type)
