"""Print how uncertain the policy is after each tool result: n, mean, standard deviation and share above 0.6.

examples:
  arpo-entropy stats checkpoints
  arpo-entropy stats 'checkpoints/entropy_step_*.json'
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="step files, a quoted glob of them, or a directory"
    )


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from ..progress import watched_steps
    from ..statistics import Rounds, accumulate, left_out_line
    from ..table import round_table

    rounds, left_out = accumulate(watched_steps(args.paths), Rounds)
    Console().print(round_table(rounds))
    if left_out:
        print(f"left out: {left_out_line(left_out)}")
    return 0
