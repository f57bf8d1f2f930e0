"""All records as one table, for people who go on in pandas, Polars, DuckDB or Spark."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from arpo_entropy_recorder.atomic import written_whole
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.step_files.read import Step
from arpo_entropy_recorder.step_files.schema import FIELDS, NULL

KINDS = (".parquet", ".csv")
LISTS = {"window": "float64", "tokens": "int64"}


def export(steps: Iterable[Step], path: Path) -> int:
    """Write every record of `steps`, one row each, to a .parquet or .csv file; returns the number of rows.

    The columns are the schema's keys, `validate`, and `stale` (recorded before a resume that went back to an
    earlier step, and not again yet); null where a record has no such key. CSV has no lists, so `window` and
    `tokens` are left out of it. Holds one step at a time and renames the file into place.
    Raises UserError where pyarrow is missing or the file cannot be written.
    """
    try:
        import pyarrow as pa
        from pyarrow import csv, parquet
    except ImportError:
        raise UserError("export needs pyarrow: pip install pyarrow") from None
    is_parquet = path.suffix.lower() == ".parquet"
    schema = pa.schema([pa.field(name, pa.type_for_alias(kind)) for name, kind in _scalars().items()])
    if is_parquet:
        schema = pa.schema(
            [*schema, *(pa.field(name, pa.list_(pa.type_for_alias(of))) for name, of in LISTS.items())]
        )
    open_writer, rows = parquet.ParquetWriter if is_parquet else csv.CSVWriter, 0
    # Opened here: pyarrow takes no name that is not UTF-8, and its errors are lines of its own.
    with written_whole(path) as beside, open(beside, "wb") as file, open_writer(file, schema) as writer:
        for step in steps:
            writer.write_table(pa.table([_array(pa, step, field) for field in schema], schema=schema))
            rows += len(step)
    return rows


def _scalars() -> dict[str, str]:
    kinds = {bool: "bool", int: "int64", str: "string", float: "float64"}
    fields = {
        field.name: kinds[next(t for t in field.types if t is not NULL)]
        for field in FIELDS
        if field.name not in LISTS
    }
    return {"validate": "bool", "stale": "bool", **fields}


def _array(pa: Any, step: Step, field: Any) -> Any:
    """The column of `field`, with the nulls that the step's arrays stand in for."""
    name, n = field.name, len(step)
    if name in ("validate", "stale", "global_step"):
        return pa.array(np.full(n, getattr(step, name)), field.type)
    column = step.columns.get(name)
    if column is None:
        return pa.nulls(n, field.type)
    if name == "window":
        return pa.array([[None if np.isnan(x) else x for x in row] for row in column.tolist()], field.type)
    if column.dtype.kind == "i":
        return pa.array(column, field.type, mask=column < 0)
    if column.dtype.kind == "f":
        return pa.array(column, field.type, mask=np.isnan(column))
    return pa.array(column.tolist() if column.dtype == object else column, field.type)
