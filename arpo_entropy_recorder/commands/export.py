"""Write all records as one table, one row each, for pandas, Polars, DuckDB or Spark.

Columns are the keys of a record (null where it lacks one), `validate`, and `stale`: recorded before a resume went
back to an earlier step, and not recorded again yet. All records are included, unless options choose among them:
filter padding, greedy, validation and stale ones by `padding`, `do_sample`, `validate` and `stale`. With --tool those
before any tool result stay; --over mean puts the window's mean into `entropy`. Needs pyarrow. CSV leaves `window`,
`tokens` and `tools` out.

examples:
  arpo-entropy export checkpoints -o entropies.parquet
  duckdb -c "select round, avg(entropy) from 'entropies.parquet' where not stale group by round"
"""

from __future__ import annotations

import argparse

from arpo_entropy_recorder.atomic import OutputError, check_output
from arpo_entropy_recorder.commands.arguments import add_step_files, naming, output_path


def configure(parser: argparse.ArgumentParser) -> None:
    add_step_files(parser)
    parser.add_argument(
        "-o", "--output", required=True, type=output_path, metavar="PATH", help="a .parquet or .csv file"
    )


def run(args: argparse.Namespace) -> int:
    from arpo_entropy_recorder.analysis.export import KINDS, export
    from arpo_entropy_recorder.commands.reading import chosen_steps, selection_of, the_run
    from arpo_entropy_recorder.errors import printable

    with naming("--output", OutputError):
        output = check_output(args.output, KINDS)
        run = the_run(args)
        selection = selection_of(args, run)
        chosen = map(selection.without_others, selection.of(chosen_steps(args, run, selection)))
        rows = export(chosen, output)
    print(printable(f"{output}: {rows:,} records"))
    return 0
