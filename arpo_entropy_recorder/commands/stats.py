"""Print how uncertain the policy is after each tool result, and whether that is more than at its start.

The table has a row for each round; round 0 (start) holds the trajectories' first records. It gives the number of
records, mean, standard deviation (n - 1), the mean's 95 % interval (bootstrap up to 200 records, normal above) and
the share above 0.6. These intervals take records as independent; rollouts of one prompt are not, so they are too
narrow.

The line below the table compares each trajectory's mean after-tool entropy with its own initial one. The changes are
averaged over the trajectories of a prompt (without prompt_idx each trajectory counts by itself) and tested over the
prompts: mean change with its 95 % interval (Student's t), effect size d_z (mean / sd of the changes) and Wilcoxon's
signed-rank test. It says Yes or No only where interval and test agree. --json and --csv give the numbers of every
figure.

A prompt that is asked in two steps counts once for each step. A branch's first record is drawn from the same context
as its parent's, so a context where the policy branched counts once for each branch.

examples:
  arpo-entropy stats checkpoints
  arpo-entropy stats 'checkpoints/entropy_step_*.json' --csv > rounds.csv
  arpo-entropy stats checkpoints --json | jq .answer
"""

from __future__ import annotations

import argparse
import sys

from arpo_entropy_recorder.commands.arguments import add_step_files


def configure(parser: argparse.ArgumentParser) -> None:
    add_step_files(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV, one line for each group of records")


def run(args: argparse.Namespace) -> int:
    from arpo_entropy_recorder.analysis.analysis import analyse
    from arpo_entropy_recorder.analysis.notes import notes
    from arpo_entropy_recorder.analysis.summary import summarise, write_csv
    from arpo_entropy_recorder.commands.progress import say, watched_steps

    analysis = analyse(watched_steps(args.paths, args.skip_bad))
    if args.json:
        import json

        print(json.dumps(summarise(analysis), indent=2, allow_nan=False))
    elif args.csv:
        write_csv(analysis, sys.stdout)
        for line in notes(analysis):
            say(line)
    else:
        from rich.console import Console

        from arpo_entropy_recorder.analysis.table import round_table

        console = Console()
        console.print(round_table(analysis, console.width))
        print(analysis.pairs.test().answer)
        for line in notes(analysis):
            print(line)
    return 0
