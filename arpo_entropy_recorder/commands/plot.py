"""Draw the entropy-increase figure: how uncertain the policy is right after each tool result.

x is the tool-call round, y the normalised entropy (0 to 1) of the first token that the policy writes. Every
record is a point; the marks are means and the bars one standard deviation. Give exactly one source:
--entropy_file, --log_file, --rollout_dir or --simulate.

examples:
  arpo-entropy plot --entropy_file checkpoints/entropy_step_100.json
  arpo-entropy plot --entropy_file 'checkpoints/entropy_step_*.json' --output run.pdf
  arpo-entropy plot --simulate --num_rounds 5 --num_samples 100 --output demo.png
"""

from __future__ import annotations

import argparse

from ..schema import UserError


def configure(parser: argparse.ArgumentParser) -> None:
    source = parser.add_argument_group("source (exactly one)")
    source.add_argument("--entropy_file", nargs="+", metavar="PATH",
                        help="step files, a quoted glob of them, or a directory")  # fmt: skip
    source.add_argument("--log_file", metavar="PATH", help="console log of a training run")
    source.add_argument("--rollout_dir", metavar="DIR", help="trajectories that verl dumped")
    source.add_argument(
        "--simulate", action="store_true", help="made-up data, marked SIMULATED in the picture"
    )
    parser.add_argument("--output", default="entropy_increase.png", metavar="PATH",
                        help="the picture, as .png, .pdf or .svg (default: %(default)s)")  # fmt: skip
    parser.add_argument("--num_rounds", type=int, default=5, metavar="N",
                        help="tool-call rounds, with --simulate (default: %(default)s)")  # fmt: skip
    parser.add_argument("--num_samples", type=int, default=100, metavar="N",
                        help="records a round, with --simulate (default: %(default)s)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    _one_source(args)
    from ..plot import plot_rounds
    from ..progress import watched_steps
    from ..simulate import simulate_steps
    from ..statistics import Rounds, accumulate
    from ..style import picture_path, save

    path = picture_path(args.output)
    steps = (
        simulate_steps(args.num_rounds, args.num_samples)
        if args.simulate
        else watched_steps(args.entropy_file)
    )
    rounds, left_out = accumulate(steps, Rounds)
    save(plot_rounds(rounds, left_out, args.simulate), path)
    print(f"{path}: {rounds.after_tool.n:,} records after a tool call, {len(rounds.by_round)} rounds")
    return 0


def _one_source(args: argparse.Namespace) -> None:
    given = [name for name in ("entropy_file", "log_file", "rollout_dir", "simulate") if getattr(args, name)]
    if len(given) != 1:
        found = " and ".join(f"--{name}" for name in given) or "none"
        raise UserError(
            f"give one source, --entropy_file, --log_file, --rollout_dir or --simulate; given: {found}"
        )
    if args.log_file:
        raise UserError(
            "--log_file: a training log holds entropies only as metrics that the recorder adds to it; "
            "record with entropy_save_dir set and plot the step files with --entropy_file"
        )
    if args.rollout_dir:
        raise UserError(
            "--rollout_dir: dumped trajectories hold no entropies; they take a model to run over them again; "
            "record step files while training and plot them with --entropy_file"
        )
