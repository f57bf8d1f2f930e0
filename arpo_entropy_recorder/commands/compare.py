"""Compare runs: each one's answer, and whether after / start is higher in one than in another.

A run is NAME=DIR, or a directory, which has its own name. The same NAME= given twice means two seeds of one method;
seeds are never pooled. Each run is compared with the first one at the same steps: the last phase (as in `stats`)
before the shorter one ends; of less than 20 steps all that they have in common. The number is a ratio of ratios with
its 95 % interval: prompt by prompt where both runs have 20 prompts in common (as in validation), over each run's
prompts otherwise, and over seeds where each has at least two.

examples:
  arpo-entropy compare arpo=arpo/entropies grpo=grpo/entropies
  arpo-entropy compare arpo=seed0/entropies arpo=seed1/entropies grpo=grpo/entropies --validation
  arpo-entropy compare arpo=arpo/entropies grpo=grpo/entropies -o effect.pdf --for paper
  arpo-entropy compare arpo=part1,part2 grpo=grpo/entropies --steps 1-200 --json
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from arpo_entropy_recorder.commands.arguments import add_step_files
from arpo_entropy_recorder.commands.picture import add_picture_options, chosen_picture, chosen_words, draw_to
from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.figures.catalogue import RUN_FIGURES
from arpo_entropy_recorder.figures.media import MEDIA

if TYPE_CHECKING:
    from arpo_entropy_recorder.analysis.analysis import Analysis


def configure(parser: argparse.ArgumentParser) -> None:
    add_step_files(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("-f", "--figure", choices=RUN_FIGURES, default="effect", metavar="FIGURE",
                        help="with --output: effect, after / before over training, or rounds, "
                             "boxes by round (default: %(default)s)")  # fmt: skip
    add_picture_options(parser, "none")


def run(args: argparse.Namespace) -> int:
    from arpo_entropy_recorder.analysis.compare import differences, remarks
    from arpo_entropy_recorder.analysis.notes import notes
    from arpo_entropy_recorder.analysis.verdict import answer
    from arpo_entropy_recorder.commands.reading import a_run, analyse_run, refuse_one_name
    from arpo_entropy_recorder.commands.stats import OVER_MEAN
    from arpo_entropy_recorder.step_files.runs import named

    path = chosen_picture(args, args.figure) if args.output else None
    runs = [a_run(word, args) for word in args.paths]
    if len(runs) < 2:
        raise UserError("compare takes two runs or more, as NAME=DIR NAME=DIR; for one there is stats")
    taken = [directory.resolve() for run in runs for directory in run.directories]
    if len(set(taken)) < len(taken):
        raise UserError("a directory is given twice; give each run its own")
    # Directories that are called alike need not be seeds of one method.
    own = {run.name for word, run in zip(args.paths, runs, strict=True) if named(word)[0] is None}
    refuse_one_name([run.name for run in runs if run.name in own])
    analyses: dict[str, list[Analysis]] = {}
    infos: dict[str, list[Mapping[str, object]]] = {}
    for run in runs:
        analyses.setdefault(run.name, []).append(analyse_run(args, run, ("pairs", "first_tokens")))
        infos.setdefault(run.name, []).append(run.info)
    pairs = {name: [analysis.pairs for analysis in seeds] for name, seeds in analyses.items()}
    found, known = differences(pairs), remarks(analyses, infos)
    if path is not None:
        _draw(args, path, analyses)
    if args.json:
        import json

        from arpo_entropy_recorder.analysis.summary import plain, told

        everything = {
            "runs": [
                {"name": name, **told(analysis, OVER_MEAN)}
                for name, seeds in analyses.items()
                for analysis in seeds
            ],
            "differences": [{key: plain(value) for key, value in asdict(each).items()} for each in found],
            "notes": known,
        }
        print(json.dumps(everything, indent=2, allow_nan=False))
        return 0
    for name, seeds in analyses.items():
        for analysis in seeds:
            print(printable(f"{name}: {answer(analysis, OVER_MEAN)}"))
            for line in notes(analysis):
                print(f"  {line}")
    print()
    for each in found:
        print(printable(each.line))
    for line in known:
        print(printable(line))
    return 0


def _draw(args: argparse.Namespace, path: Path, analyses: dict[str, list[Analysis]]) -> None:
    """Draw the runs beside each other; says the path, and what is not in the picture, on stderr."""
    from arpo_entropy_recorder.commands.progress import say
    from arpo_entropy_recorder.figures.catalogue import draw_runs

    words, medium = chosen_words(args), MEDIA[args.medium]
    caption = draw_to(path, args.figure, medium, lambda: draw_runs(analyses, words, medium, args.figure))
    say(f"{path} drawn")
    if caption:
        say(caption)
