"""Draw how uncertain the policy is right after each tool result.

Give exactly one source: step files (PATH or --entropy-file, which is the same), --log-file, --rollout-dir or
--simulate. The guide's spelling works, too: --entropy_file, --log_file, --rollout_dir, --num_rounds,
--num_samples.

figures:
{figures}

Entropies are drawn on log axes; below their last power of ten a grey lane goes down to 0. Without --figure a run of
{least} steps and more is drawn as `effect`, a shorter one as `rounds`. Nats are on a second axis where
entropy_run.json beside the step files tells the vocabulary's size. For a paper or a slide, title and caption are
printed, not drawn.

examples:
  arpo-entropy plot checkpoints
  arpo-entropy plot checkpoints/entropy_step_100.json -o step_100.png
  arpo-entropy plot checkpoints --for paper -o effect.pdf
  arpo-entropy plot checkpoints --style guide
  arpo-entropy plot 'checkpoints/entropy_step_*.json' -f steps --format pdf
  arpo-entropy plot --log-file run.log
  arpo-entropy plot --rollout-dir rollouts --model checkpoints/actor
  arpo-entropy plot --simulate --num-rounds 5 --num-samples 100 -o demo.png
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

from arpo_entropy_recorder.analysis.choices import MIN_STEPS
from arpo_entropy_recorder.commands.arguments import add_selection, naming, non_empty
from arpo_entropy_recorder.commands.picture import add_picture_options, chosen_picture, chosen_words, draw_to
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.catalogue import FIGURES, GUIDE, LONG, SHORT, default_figure, draw, spec_of
from arpo_entropy_recorder.figures.media import MEDIA
from arpo_entropy_recorder.figures.words import counted

if TYPE_CHECKING:
    from arpo_entropy_recorder.step_files.read import Step

# What each source is called in an error.
SOURCES = {
    "paths": "step files",
    "log_file": "--log-file",
    "rollout_dir": "--rollout-dir",
    "simulate": "--simulate",
}
# Options that go with some sources only: with another they are refused, not ignored.
GOES_WITH = {
    "model": ("rollout_dir",),
    "skip_bad": ("paths", "rollout_dir"),
    **dict.fromkeys(("steps", "last", "tool", "validation", "over"), ("paths", "rollout_dir")),
    "num_rounds": ("simulate",),
    "num_samples": ("simulate",),
}
ROUNDS, SAMPLES = 5, 100  # the defaults of simulate_steps


def configure(parser: argparse.ArgumentParser) -> None:
    lines = (f"  {spec.name:9} {spec.help}" for spec in FIGURES.values())
    parser.description = str(__doc__).format(figures="\n".join(lines), least=MIN_STEPS)
    source = parser.add_argument_group("source (exactly one)")
    source.add_argument("paths", nargs="*", type=non_empty, metavar="PATH",
                        help="step files, a quoted glob of them, or a directory")  # fmt: skip
    source.add_argument("--entropy-file", nargs="+", type=non_empty, metavar="PATH",
                        help="the same as PATH, under the guide's name")  # fmt: skip
    source.add_argument(
        "--skip-bad",
        action="store_true",
        help="skip files, and lines of a dump, that cannot be read, and name them",
    )
    source.add_argument("--log-file", type=non_empty, metavar="PATH",
                        help="log of a training run that recorded: the console's, verl's file logger's, or a "
                             "CSV export of wandb or TensorBoard; may be gzipped")  # fmt: skip
    source.add_argument("--rollout-dir", type=non_empty, metavar="DIR",
                        help="trajectories that verl dumped; their entropies go to DIR/entropies "
                             "(options: arpo-entropy rescore --help)")  # fmt: skip
    source.add_argument("--model", type=non_empty, metavar="PATH",
                        help="with --rollout-dir: the checkpoint that wrote them")  # fmt: skip
    source.add_argument(
        "--simulate", action="store_true", help="made-up data, marked SIMULATED in the picture"
    )
    parser.add_argument(
        "-f",
        "--figure",
        choices=FIGURES,
        metavar="FIGURE",
        help=f"which figure (default: effect from {MIN_STEPS} steps on, else rounds; steps with --log-file)",
    )
    add_selection(parser)
    parser.add_argument("--style", choices=["guide"],
                        help="rounds as the guide describes it: points, mean and standard deviation, "
                             "from 0 to 1")  # fmt: skip
    add_picture_options(parser)
    parser.add_argument("--num-rounds", type=int, metavar="N",
                        help=f"tool-call rounds, with --simulate (default: {ROUNDS})")  # fmt: skip
    parser.add_argument("--num-samples", type=int, metavar="N",
                        help=f"records per round, with --simulate (default: {SAMPLES})")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    args.paths += args.entropy_file or ()
    _one_source(args)
    from arpo_entropy_recorder.errors import printable

    figure_name = _wanted(args)
    path = chosen_picture(args, figure_name or SHORT)
    words, medium = chosen_words(args), MEDIA[args.medium]
    if args.rollout_dir:
        from arpo_entropy_recorder.commands.rescoring import watched_rescore
        from arpo_entropy_recorder.rescore.run import default_output as default_directory
        from arpo_entropy_recorder.rescore.settings import RescoreSettings

        out = default_directory(args.rollout_dir)
        watched_rescore(out, RescoreSettings(args.model, args.rollout_dir), skip_bad=args.skip_bad)
        args.paths = [str(out)]
    if args.log_file:
        from arpo_entropy_recorder.analysis.logfile import analyse_log
        from arpo_entropy_recorder.analysis.notes import reasons_of
        from arpo_entropy_recorder.analysis.statistics import ANY_ROUND

        with naming("--log-file"):
            analysis = analyse_log(args.log_file)
        steps, rounds = len(analysis.rounds.steps), sum(number > 0 for number in analysis.steps.curves)
        shown = "all rounds in one" if ANY_ROUND in analysis.steps.curves else counted(rounds, "round")
        summary = f"{counted(steps, 'step')} from the log, {shown}"
        if analysis.left_out:
            summary += f"; left out: {reasons_of(analysis.left_out)}"
        if analysis.is_rounded:
            summary += "; the log has three decimals only, so that its means are known to 0.0005"
    else:
        from arpo_entropy_recorder.analysis.analysis import analyse
        from arpo_entropy_recorder.commands.reading import analyse_run, the_run

        parts = spec_of(figure_name or LONG).parts
        simulate = args.simulate
        analysis = analyse(_simulated(args), parts) if simulate else analyse_run(args, the_run(args), parts)
        rounds = len(analysis.rounds.by_round)
        summary = (
            f"{counted(analysis.rounds.after_tool.n, 'record')} after a tool call, {counted(rounds, 'round')}"
        )
        if not analysis.has_results:
            summary = f"{counted(analysis.rounds.initial.n, 'start')} alone, as no tool was called"
    with naming(f"{', '.join(args.paths)}:") if not analysis.has_results else nullcontext():
        name = figure_name or default_figure(analysis)
        caption = draw_to(path, name, medium, lambda: draw(name, analysis, words, medium))
    print(printable(f"{path}: {summary}"))
    if caption:
        print(printable(caption))
    return 0


def _wanted(args: argparse.Namespace) -> str | None:
    """The figure's name; None where it depends on how many steps there are."""
    if args.style:
        if args.log_file or args.figure not in (None, "rounds"):
            other = "--log-file" if args.log_file else f"--figure {args.figure}"
            raise UserError(f"--style guide draws records by round, not {other}; leave one of them out")
        return GUIDE.name
    figure: str | None = args.figure or ("steps" if args.log_file else None)
    return figure


def _simulated(args: argparse.Namespace) -> Iterator[Step]:
    from arpo_entropy_recorder.analysis.simulate import simulate_steps

    given = {name: getattr(args, name) for name in ("num_rounds", "num_samples")}
    try:
        return simulate_steps(**{name: value for name, value in given.items() if value is not None})
    except UserError as error:  # it begins with the parameter's name, which is the option's
        raise UserError(f"--{str(error).replace('_', '-', 1)}") from error


def _one_source(args: argparse.Namespace) -> None:
    given = [name for name in SOURCES if getattr(args, name)]
    if len(given) != 1:
        found = " and ".join(SOURCES[name] for name in given) or "none"
        raise UserError(
            f"give one source, step files, --log-file, --rollout-dir or --simulate; given: {found}"
        )
    if args.rollout_dir and not args.model:
        raise UserError(
            "--rollout-dir: dumped trajectories hold no entropies, a model has to run over them again; "
            "give the checkpoint that wrote them with --model PATH"
        )
    for option, sources in GOES_WITH.items():
        value = getattr(args, option)
        if value is not None and value is not False and given[0] not in sources:
            wanted = " or ".join(SOURCES[name] for name in sources)
            raise UserError(f"--{option.replace('_', '-')} goes with {wanted}; leave it out")
