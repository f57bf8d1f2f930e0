"""Get the entropies of a finished run that recorded none, from the trajectories that it dumped.

Reads the <step>.jsonl that verl writes to trainer.rollout_data_dir, and what SkyRL, slime, OpenRLHF, TRL and others
dump: docs/rollouts.md lists the formats. The step is the key `step`, or else the number in the file's name. Tags tell
what the policy wrote from what tools answered; where the dump has token ids with a mask, the mask does.
The model runs once over each trajectory, and each record in entropy_step_<step>.json says "source": "rescored".
Finished steps are skipped: to resume an interrupted run, give the same command again.

What was understood of the dump is said before the model is loaded; --dry-run says it and ends. Where names and
content leave open what is what, nothing is scored: --keys and --result-tag say it.

Give the checkpoint that wrote the trajectories, since any other one has entropies of its own. If there are
several, rescore the files of each into the same --output.

What a dump cannot tell:
  - Text need not retokenize to the tokens that were sampled, and a byte that made no character is lost. Lines
    with token ids are exact.
  - verl leaves special tokens out of the text. The chat template's are put back where that gives the dumped text
    again; records of other prompts say "inexact", and are counted. The end-of-text token is lost.
  - Where a question has lines that read like turns ("user", "assistant"), it is read as one user's turn, and counted
    as ambiguous. --several-turns reads each such line as a turn, for prompts with worked examples.
  - Branches are found by their text: what two trajectories share up to the end of a tool result counts once.
  - `sample_idx` is the line's place in the dump, and a segment that went on after its length limit is one segment.

examples:
  arpo-entropy rescore rollouts --model checkpoints/actor -o entropies
  arpo-entropy rescore rollouts --model checkpoints/actor -o entropies --window 20 --temperature 0.7
  arpo-entropy rescore rollouts --model checkpoints/actor --keys prompt=question,response=answer --dry-run
  arpo-entropy rescore rollouts/200.jsonl --model checkpoints/global_step_200 -o entropies
"""

from __future__ import annotations

import argparse

from arpo_entropy_recorder.commands.arguments import (
    non_empty,
    non_negative,
    output_path,
    positive,
    window_size,
)
from arpo_entropy_recorder.errors import UserError

DTYPES = ("auto", "float32", "bfloat16", "float16")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "rollout_dir",
        type=non_empty,
        metavar="DIR",
        help="trajectories that verl dumped: <step>.jsonl, or one such file",
    )
    parser.add_argument(
        "--model",
        required=True,
        type=non_empty,
        metavar="PATH",
        help="the Hugging Face checkpoint that wrote them",
    )
    parser.add_argument("-o", "--output", type=output_path, metavar="DIR",
                        help="where the step files go (default: entropies in the dumps' directory)")  # fmt: skip
    parser.add_argument("--temperature", type=non_negative, default=1.0, metavar="T",
                        help="the rollout's sampling temperature (default: %(default)s)")  # fmt: skip
    parser.add_argument("--window", type=window_size, default=1, metavar="K",
                        help="score the first K tokens of each segment, at most 10,000 "
                             "(default: %(default)s)")  # fmt: skip
    parser.add_argument("--tools", default="search,python", metavar="TAGS",
                        help="tags of the policy's tools, comma-separated (default: %(default)s)")  # fmt: skip
    parser.add_argument("--result-tag", type=non_empty, metavar="TAGS",
                        help="tags of tool results, comma-separated, as information or ```output (default: result, "
                             "and those in the dump that surely are)")  # fmt: skip
    parser.add_argument("--keys", default="", metavar="PART=KEY,...",
                        help="the dump's keys of prompt, response, whole (prompt and response in one), mask (1: the "
                             "policy's token; mask= for none), step (default: by name and content)")  # fmt: skip
    parser.add_argument("--several-turns", action="store_true",
                        help="prompts are chats: each line that names a role starts a turn")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true",
                        help="say what is understood of the dump, and end without loading the model")  # fmt: skip
    parser.add_argument("--dtype", choices=DTYPES, default="auto",
                        help="precision of the model; auto: the checkpoint's (default: %(default)s)")  # fmt: skip
    parser.add_argument("--max-batch-tokens", type=positive, default=16384, metavar="N",
                        help="tokens run at once, which bounds the memory (default: %(default)s)")  # fmt: skip
    parser.add_argument(
        "--skip-bad", action="store_true", help="skip lines that cannot be used, and name them"
    )


def run(args: argparse.Namespace) -> int:
    from arpo_entropy_recorder.commands.progress import say
    from arpo_entropy_recorder.commands.rescoring import naming_options, watched_look, watched_rescore
    from arpo_entropy_recorder.errors import printable
    from arpo_entropy_recorder.rescore.keys import parse_keys
    from arpo_entropy_recorder.rescore.run import default_output
    from arpo_entropy_recorder.rescore.settings import RescoreSettings

    tools = _listed(args.tools)
    if not tools:
        raise UserError("--tools: name at least one tag, as search,python")
    tags = _listed(args.result_tag) if args.result_tag else None
    with naming_options():
        keys = tuple(parse_keys(args.keys).items())
    settings = RescoreSettings(
        args.model,
        args.rollout_dir,
        args.temperature,
        args.window,
        args.dtype,
        tools,
        tags,
        keys,
        args.several_turns,
    )
    if args.dry_run:
        for line in watched_look(settings, args.skip_bad):
            print(printable(line))
        return 0
    output = args.output or default_output(args.rollout_dir)
    summary = watched_rescore(output, settings, args.max_batch_tokens, args.skip_bad)
    if summary.done_before:
        say(f"{summary.done_before} steps were done before")
    print(printable(f"{output}: {summary.steps} steps, {summary.records:,} records"))
    return 0


def _listed(text: str) -> tuple[str, ...]:
    """Comma-separated names; a tag may be written with its brackets."""
    return tuple(filter(None, (name.strip().removeprefix("<").removesuffix(">") for name in text.split(","))))
