"""Print how uncertain the policy is after each tool result, and whether that is more than at its start.

The table has a row for each round; round 0 (start) holds the trajectories' first records. It gives the number of
records, mean, standard deviation (n - 1), the mean's 95 % interval (bootstrap up to 200 records, normal above) and
the share above 0.6. These intervals take records as independent; rollouts of one prompt are not, so they are too
narrow.

What counts is a prompt at a step: of its trajectories that have both, the mean of their mean after-tool entropies
against the mean of their starts (a branch has its parent's). Without a prompt each trajectory counts by itself. A
prompt that is asked in two steps counts once for each. A branch's first record is drawn from the same context as its
parent's, so a context where the policy branched counts once for each branch.

From 20 steps on a second table and the line below it compare the first and the last tenth of the steps (five at
least, widened until each has 20 prompts): after / start as a ratio of sums, with the interval of the paired t test
(Fieller, 97.5 % each), and the level, after-tool entropy at the end over that at the beginning. No ratio is given
where the starts are not clearly above 0. "Holds" is said only if the last ratio is clearly above 1, the first not
clearly below ("Risen"), and the level may still be half. Where the last ratio is clearly below 1, the line says since
about which step, with a 95 % interval (bootstrap over prompts). Below 20 steps the changes are tested over the
prompts: mean change with its 95 % interval (Student's t), effect size d_z (mean / sd of the changes) and Wilcoxon's
signed-rank test; Yes or No is said only where interval and test agree. --json and --csv give the numbers of every
figure but `branching`.

examples:
  arpo-entropy stats checkpoints
  arpo-entropy stats 'checkpoints/entropy_step_*.json' --csv > rounds.csv
  arpo-entropy stats checkpoints --last 20 --tool search
  arpo-entropy stats arpo=part1,part2 --json | jq .trend
"""

from __future__ import annotations

import argparse
import sys

from arpo_entropy_recorder.commands.arguments import add_step_files

# What a reader may look at where nearly all segments begin with the same token.
OVER_MEAN = "--over mean"


def configure(parser: argparse.ArgumentParser) -> None:
    add_step_files(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV, one line for each group of records")


def run(args: argparse.Namespace) -> int:
    from arpo_entropy_recorder.analysis.notes import notes
    from arpo_entropy_recorder.analysis.summary import PARTS, summarise, write_csv
    from arpo_entropy_recorder.commands.progress import say
    from arpo_entropy_recorder.commands.reading import analyse_run, the_run

    parts = PARTS if args.json or args.csv else ("tools", "pairs", "first_tokens")
    analysis = analyse_run(args, the_run(args), parts)
    if args.json:
        import json

        print(json.dumps(summarise(analysis, OVER_MEAN), indent=2, allow_nan=False))
    elif args.csv:
        write_csv(analysis, sys.stdout)
        for line in notes(analysis):
            say(line)
    else:
        from rich.console import Console

        from arpo_entropy_recorder.analysis.phase_table import phase_table
        from arpo_entropy_recorder.analysis.table import round_table
        from arpo_entropy_recorder.analysis.verdict import answer

        console = Console()
        console.print(round_table(analysis, console.width))
        if (phases := phase_table(analysis.pairs, console.width, analysis.vocab_size)) is not None:
            console.print(phases)
        print(answer(analysis, OVER_MEAN))
        for line in notes(analysis):
            print(line)
    return 0
