"""Run a model with tools under vLLM and record the entropy of the first token it writes after each tool result.

Needs no training framework: any Hugging Face causal language model that vLLM serves will do. Each step answers
a batch of prompts and writes DIR/entropy_step_<step>.json. The model calls a tool by writing
<search>query</search> or <python>code</python>, and then reads <result>...</result>.

Tools are off unless named with --tools:
  python            runs the model's code on this machine, with limits on time, memory, file size and processes,
                    but not in a jail
  search=COMMAND    gives your command the query on stdin, without a shell, and takes what it prints
  search=FILE.json  looks the query up in a JSON object of results

examples:
  arpo-entropy record --model toy --steps 3 -o demo
  arpo-entropy record --model Qwen/Qwen2.5-3B-Instruct --prompts train.parquet \\
      --tools python,search=search_cache.json --steps 5 --batch-size 16 --n 8 -o entropies
  arpo-entropy record --model ./checkpoint --prompts questions.txt --tools 'search=sh -c "lookup | head -5"'
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from arpo_entropy_recorder.commands.arguments import (
    TOY,
    add_recording_directory,
    check_writable,
    fraction,
    naming,
    non_empty,
    non_negative,
    positive,
    require,
    seconds,
    window_size,
)
from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.recorder.settings import Settings

if TYPE_CHECKING:
    from arpo_entropy_recorder.rollout.recording import FileVersions

TOY_TOOLS = "python,search=cat"


def configure(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model and data")
    model.add_argument("--model", required=True, type=non_empty, metavar="PATH",
                       help="directory or hub name of a model; 'toy' builds a tiny agent on the spot")  # fmt: skip
    model.add_argument("--prompts", type=non_empty, metavar="FILE",
                       help=".parquet or .jsonl with 'prompt' (text, or chat messages), or .txt with one per line; "
                            "optional for the toy")  # fmt: skip
    model.add_argument("--prompt-key", default="prompt", type=non_empty, metavar="KEY",
                       help="the file's column or key with the prompts (default: %(default)s)")  # fmt: skip
    model.add_argument("--tools", metavar="LIST",
                       help="python, search=COMMAND or search=FILE.json, comma-separated "
                            f"(default: none; for the toy {TOY_TOOLS})")  # fmt: skip
    model.add_argument("--system", metavar="TEXT",
                       help="system message for plain-text prompts (default: says how tools are called)")  # fmt: skip
    model.add_argument("--engine", action="append", default=[], metavar="KEY=VALUE",
                       help="argument of vLLM's LLM, such as max_model_len=8192; may be repeated. On a CPU vLLM's "
                            "cache takes 4 GiB unless gpu_memory_utilization=SHARE, kv_cache_memory_bytes=BYTES or "
                            "$VLLM_CPU_KVCACHE_SPACE says otherwise")  # fmt: skip
    rollout = parser.add_argument_group("rollout")
    for option, kind, default, meaning in (
        ("--steps", positive, 1, "steps to run; each writes one file"),
        ("--batch-size", positive, 8, "prompts per step"),
        ("--n", positive, 4, "trajectories per prompt"),
        ("--temperature", non_negative, 1.0, "sampling temperature"),
        ("--top-p", fraction, 1.0, "nucleus sampling; the entropy is taken before it"),
        ("--max-tool-calls", positive, 5, "tool calls per trajectory"),
        ("--tool-timeout", seconds, 30.0, "seconds per tool call"),
        ("--response-length", positive, 1024, "tokens per response, tool results included"),
        ("--seed", int, 0, "seed of the sampling"),
    ):
        rollout.add_argument(option, type=kind, default=default, metavar="N",
                             help=f"{meaning} (default: %(default)s)")  # fmt: skip
    recording = parser.add_argument_group("recording")
    recording.add_argument("--window", type=window_size, default=1, metavar="K",
                           help="record the first K tokens of each segment, at most 10,000 "
                                "(default: %(default)s)")  # fmt: skip
    recording.add_argument("--record-tokens", action="store_true", help="keep each segment's token ids")
    add_recording_directory(recording)
    recording.add_argument("--verbose", action="store_true", help="show vLLM's log")


def run(args: argparse.Namespace) -> int:
    from arpo_entropy_recorder.rollout.engine import EngineError, load_engine
    from arpo_entropy_recorder.rollout.interrupt import remembered_interrupt
    from arpo_entropy_recorder.rollout.prompt_files import load_prompts
    from arpo_entropy_recorder.rollout.prompts import encode_prompts, system_message
    from arpo_entropy_recorder.rollout.recording import file_versions, record_steps
    from arpo_entropy_recorder.rollout.tools.load import load_tools
    from arpo_entropy_recorder.rollout.toy_agent import TOY_ENGINE, TOY_PROMPTS, build_toy_agent

    is_toy = args.model == TOY
    if args.prompts is None and not is_toy:
        raise UserError("--prompts: a model needs prompts; give a .parquet, .jsonl or .txt file")
    prompts = load_prompts(args.prompts, args.prompt_key, _say) if args.prompts else list(TOY_PROMPTS)
    with naming("--tools"):
        tools = load_tools(
            TOY_TOOLS if is_toy and args.tools is None else args.tools or "", timeout=args.tool_timeout
        )
    options = _engine_options(args.engine)
    is_new = not args.output.exists()
    check_writable(args.output)
    before = file_versions(args.output, args.steps)
    # The recorder's environment variables are for training; here what was typed holds.
    settings = Settings(save_dir=args.output.absolute(), window=args.window, record_tokens=args.record_tokens)
    if args.system is None:
        args.system = "" if is_toy else system_message(tools)
    try:
        with remembered_interrupt() as check, tempfile.TemporaryDirectory(prefix="toy-agent-") as directory:
            if is_toy:
                require("the toy", "safetensors", "tokenizers")
                args.model = str(build_toy_agent(directory))
                options = TOY_ENGINE | options
                os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
            try:
                engine, tokenizer = load_engine(args.model, options | {"seed": args.seed}, args.verbose)
            except EngineError as error:
                raise UserError(f"{error} (--verbose shows its log)") from error
            needed = args.steps * args.batch_size
            if needed > len(prompts):
                _say(f"{len(prompts)} prompts, {needed} needed: starting again from the first")
            encoded = encode_prompts(prompts, tokenizer, args.system)
            record_steps(
                engine, tokenizer, _config(args), settings, tools, encoded, args.steps, args.batch_size, check
            )
    finally:
        if is_new:  # if nothing was recorded in it
            with suppress(OSError):
                args.output.rmdir()
    return _list_files(before, file_versions(args.output, args.steps))


def _config(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "n": args.n,
        "temperature": args.temperature,
        "top_p": args.top_p,
        "max_tool_calls": args.max_tool_calls,
        "response_length": args.response_length,
        "seed": args.seed,
    }


def _engine_options(items: list[str]) -> dict[str, Any]:
    options = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not (equals and key.isidentifier()):
            raise UserError(f"--engine {item}: write KEY=VALUE, as max_model_len=8192")
        if key in ("model", "seed"):
            raise UserError(f"--engine {item}: give --{key} instead")
        try:
            options[key] = orjson.loads(value)
        except orjson.JSONDecodeError:
            options[key] = value
    if options.get("skip_tokenizer_init"):
        raise UserError("--engine skip_tokenizer_init: prompts and tools are text; leave it out")
    return options


def _list_files(before: FileVersions, now: FileVersions) -> int:
    """Print the files that this run wrote; returns the exit status, 1 if one is missing or of an earlier run."""
    missing = []
    for path, version in now.items():
        if version is None or version == before[path]:
            missing.append(path)
        else:
            print(printable(path))
    if missing:
        names = ", ".join(path.name for path in missing)
        old = [path.name for path in missing if now[path] is not None]
        earlier = f" ({', '.join(old)}: of an earlier run)" if old else ""
        _say(f"{missing[0].parent}: not written: {names}{earlier}")
    return 1 if missing else 0


def _say(line: str) -> None:
    print(printable(f"arpo-entropy record: {line}"), file=sys.stderr)
