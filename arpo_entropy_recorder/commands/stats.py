"""Print how uncertain the policy is after each tool result, and whether that is more than at its start.

A row a round: number of records, mean, standard deviation (n - 1), the mean's 95 % interval (bootstrap up to 200
records, normal above) and the share above 0.6. The line below compares each trajectory's mean after-tool entropy
with its own initial one: mean change with its interval, effect size d_z (mean / sd of the changes) and Wilcoxon's
signed-rank test. --json and --csv give the numbers of every figure.

examples:
  arpo-entropy stats checkpoints
  arpo-entropy stats 'checkpoints/entropy_step_*.json' --csv > rounds.csv
  arpo-entropy stats checkpoints --json | jq .answer
"""

from __future__ import annotations

import argparse
import sys


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="step files, a quoted glob of them, or a directory"
    )
    parser.add_argument(
        "--skip_bad", action="store_true", help="name files that cannot be read and go on without"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV, a line for each group of records")


def run(args: argparse.Namespace) -> int:
    from arpo_entropy_recorder.analysis.summary import round_table, summarise, write_csv
    from arpo_entropy_recorder.figures.gallery import analyse
    from arpo_entropy_recorder.progress import watched_steps

    analysis, left_out = analyse(watched_steps(args.paths, args.skip_bad))
    if args.json:
        import json

        print(json.dumps(summarise(analysis, left_out), indent=2, allow_nan=False))
    elif args.csv:
        write_csv(analysis, sys.stdout)
    else:
        from rich.console import Console

        Console().print(round_table(analysis))
        print(analysis.pairs.test().answer)
        if analysis.kind != "sampled":
            print(f"Only {analysis.kind} records: there are no others.")
        if left_out:
            print(
                "Left out: " + ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items()))
            )
    return 0
