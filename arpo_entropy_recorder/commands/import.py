"""Turn exact entropies that another trainer recorded into step files, for all figures and tables.

formats:
  prime-rl   the token exports of a run with enable_token_export = true: PATH is the run's output directory,
             its token_exports, or one step of them. Entropies are those of the trainer's forward pass, over the
             model's whole vocabulary and after temperature.

The exports hold nats: --model or --vocab-size says what they are divided by. Their mask tells the policy's tokens
from others, not which tool answered: every text between two segments of the policy counts as a result, and "tool" is
null.
Records say "source": "imported".

examples:
  arpo-entropy import prime-rl outputs --vocab-size 151936 -o entropies
  arpo-entropy import prime-rl outputs/token_exports --model Qwen/Qwen3-4B --window 20 -o entropies
"""

from __future__ import annotations

import argparse
from pathlib import Path

from arpo_entropy_recorder.commands.arguments import (
    naming,
    non_empty,
    output_path,
    positive,
    require,
    window_size,
)
from arpo_entropy_recorder.errors import UserError

FORMATS = ("prime-rl",)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("format", choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("path", type=non_empty, metavar="PATH", help="what the trainer wrote")
    parser.add_argument("-o", "--output", required=True, type=output_path, metavar="DIR",
                        help="where the step files go")  # fmt: skip
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--model", type=non_empty, metavar="PATH",
                      help="the model or tokenizer, whose vocabulary counts")  # fmt: skip
    size.add_argument("--vocab-size", type=positive, metavar="N", help="number of tokens in the vocabulary")
    parser.add_argument("--window", type=window_size, default=1, metavar="K",
                        help="keep the first K tokens' entropies of each segment (default: %(default)s)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from arpo_entropy_recorder.commands.progress import say
    from arpo_entropy_recorder.errors import printable
    from arpo_entropy_recorder.rescore.importing import import_steps

    vocab_size = args.vocab_size or _vocab_size(args.model)
    if vocab_size < 2:
        raise UserError(f"--vocab-size {vocab_size}: has no logarithm to divide by; give the model's")
    model = Path(args.model).name if args.model else None
    steps, records = import_steps(
        args.format, Path(args.path), args.output, vocab_size, args.window, model, say
    )
    print(printable(f"{args.output}: {steps} steps, {records:,} records"))
    return 0


def _vocab_size(model: str) -> int:
    require("--model", "transformers")
    from arpo_entropy_recorder.rescore.tokenizer import load_tokenizer

    with naming("--model"):
        return len(load_tokenizer(model).get_vocab())
