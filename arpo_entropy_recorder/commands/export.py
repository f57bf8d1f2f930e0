"""Write all records as one table, a row each, for pandas, Polars, DuckDB or Spark.

Columns are the keys of a record, null where it has none, and `validate`. Padding, greedy and validation records
are all there: filter by `padding`, `do_sample` and `validate`. Needs pyarrow. CSV leaves the list columns out.

examples:
  arpo-entropy export checkpoints -o entropies.parquet
  duckdb -c "select round, avg(entropy) from 'entropies.parquet' where is_after_tool_call group by round"
"""

from __future__ import annotations

import argparse
from pathlib import Path

from arpo_entropy_recorder.schema import UserError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="step files, a quoted glob of them, or a directory"
    )
    parser.add_argument(
        "--skip_bad", action="store_true", help="name files that cannot be read and go on without"
    )
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="PATH", help="a .parquet or .csv file"
    )


def run(args: argparse.Namespace) -> int:
    from arpo_entropy_recorder.analysis.export import KINDS, export
    from arpo_entropy_recorder.progress import watched_steps
    from arpo_entropy_recorder.step_files.layout import printable

    if args.output.suffix not in KINDS:
        raise UserError(
            f"--output {args.output}: unknown kind of table; end the name in {' or '.join(KINDS)}"
        )
    if not args.output.parent.is_dir():
        raise UserError(f"--output {args.output}: there is no directory {args.output.parent}; make it first")
    rows = export(watched_steps(args.paths, args.skip_bad), args.output)
    print(printable(f"{args.output}: {rows:,} records"))
    return 0
