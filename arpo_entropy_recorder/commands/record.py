"""Run a model with tools under vLLM and record the entropy of the first token it writes after each tool result.

Needs no training framework: any Hugging Face causal language model that vLLM serves. Each step answers a batch
of prompts and writes DIR/entropy_step_<step>.json. A model calls a tool by writing <search>query</search> or
<python>code</python> and then reads <result>...</result>.

The python tool runs code that the model wrote on this machine, under limits of time, memory, file size and
processes but not in a jail: it is off unless named. search gives a command of yours the query on stdin, without
a shell, and takes what it prints; with a .json file it looks the query up in that object.

examples:
  arpo-entropy record --model toy --steps 3 --out demo
  arpo-entropy record --model Qwen/Qwen2.5-3B-Instruct --prompts train.parquet \\
      --tools python,search=search_cache.json --steps 5 --batch-size 16 --n 8 --out entropies
  arpo-entropy record --model ./checkpoint --prompts questions.txt --tools 'search=sh -c "lookup | head -5"'
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from arpo_entropy_recorder.commands.arguments import fraction, non_empty, non_negative, positive, seconds
from arpo_entropy_recorder.schema import UserError
from arpo_entropy_recorder.step_files.layout import printable

TOY = "toy"
TOY_TOOLS = "python,search=cat"
TOY_ENGINE = {"dtype": "float32", "max_model_len": 2048, "enforce_eager": True, "max_num_seqs": 64}
SYSTEM = (
    "Answer the question. Think between <think> and </think>. You may call a tool, as often as you need, by "
    "writing {calls}; its result follows between <result> and </result>. "
    "Write the final answer between <answer> and </answer>."
)
CALLS = {"search": "a query between <search> and </search>", "python": "code between <python> and </python>"}


def configure(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model and data")
    model.add_argument("--model", required=True, type=non_empty, metavar="PATH",
                       help="directory or hub name of a model; 'toy' builds a tiny agent on the spot")  # fmt: skip
    model.add_argument("--prompts", type=non_empty, metavar="FILE",
                       help=".parquet or .jsonl with 'prompt' (chat messages or text), or .txt with one a line; "
                            "only the toy has its own")  # fmt: skip
    model.add_argument("--tools", metavar="LIST",
                       help="python, search=COMMAND or search=FILE.json, comma-separated "
                            f"(default: none; for the toy {TOY_TOOLS})")  # fmt: skip
    model.add_argument("--system", metavar="TEXT",
                       help="system message for plain-text prompts (default: names the tools' tags)")  # fmt: skip
    model.add_argument("--engine", action="append", default=[], metavar="KEY=VALUE",
                       help="argument for vLLM's LLM, as max_model_len=8192; may be repeated")  # fmt: skip
    rollout = parser.add_argument_group("rollout")
    for option, kind, default, meaning in (
        ("--steps", positive, 1, "steps, a file each"),
        ("--batch-size", positive, 8, "prompts a step"),
        ("--n", positive, 4, "trajectories a prompt"),
        ("--temperature", non_negative, 1.0, "sampling temperature"),
        ("--top-p", fraction, 1.0, "nucleus sampling; the entropy is taken before it"),
        ("--max-tool-calls", positive, 5, "tool calls a trajectory"),
        ("--tool-timeout", seconds, 30.0, "seconds a tool call"),
        ("--response-length", positive, 1024, "tokens a response, tool results included"),
        ("--seed", int, 0, "seed of the sampling"),
    ):
        rollout.add_argument(option, type=kind, default=default, metavar="N",
                             help=f"{meaning} (default: %(default)s)")  # fmt: skip
    recording = parser.add_argument_group("recording")
    recording.add_argument("--window", type=positive, default=1, metavar="K",
                           help="record the first K tokens of each segment (default: %(default)s)")  # fmt: skip
    recording.add_argument("--record-tokens", action="store_true", help="keep each segment's token ids")
    recording.add_argument("--out", type=non_empty, default=os.environ.get("ARPO_ENTROPY_DIR") or ".", metavar="DIR",
                           help="where the step files go (default: $ARPO_ENTROPY_DIR, else .)")  # fmt: skip
    recording.add_argument("--verbose", action="store_true", help="show what vLLM logs")


def run(args: argparse.Namespace) -> int:
    from arpo_entropy_recorder.rollout.engine import load_engine
    from arpo_entropy_recorder.rollout.prompts import TOY_PROMPTS, load_prompts
    from arpo_entropy_recorder.rollout.tools import load_tools

    is_toy = args.model == TOY
    if args.prompts is None and not is_toy:
        raise UserError("--prompts: a model needs prompts; give a .parquet, .jsonl or .txt file")
    prompts = list(TOY_PROMPTS) if args.prompts is None else load_prompts(args.prompts)
    tools = load_tools(
        TOY_TOOLS if is_toy and args.tools is None else args.tools or "", timeout=args.tool_timeout
    )
    options = _engine_options(args.engine)
    out = Path(args.out)
    is_new = not out.exists()
    _check_writable(out)
    os.environ.pop("ARPO_ENTROPY_DIR", None)  # meant for training; here what was typed wins
    if args.system is None:
        named = [CALLS[tag] for tag in tools]
        args.system = SYSTEM.format(calls=" or ".join(named)) if named and not is_toy else ""
    try:
        with tempfile.TemporaryDirectory(prefix="toy-agent-") as directory:
            if is_toy:
                _needs("safetensors", "tokenizers")
                from arpo_entropy_recorder.toy_agent import build_toy_agent

                os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
                args.model = str(build_toy_agent(directory))
                options = TOY_ENGINE | options
            engine = load_engine(args.model, options | {"seed": args.seed}, args.verbose)
            if args.steps * args.batch_size > len(prompts):
                _say(
                    f"{len(prompts)} prompts for {args.steps} x {args.batch_size}: they are used again in turn"
                )
            _record(args, engine, prompts, tools, out)
    finally:
        if is_new:  # if nothing was recorded in it
            with suppress(OSError):
                out.rmdir()
    return _list_files(out, args.steps)


def _needs(*modules: str) -> None:
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UserError(
            f"record needs vLLM, and {', '.join(missing)} is missing: "
            "pip install 'arpo-entropy-recorder[record]', or run it in the environment that has your vLLM"
        )


def _record(
    args: argparse.Namespace, engine: Any, prompts: list[Any], tools: dict[str, Any], out: Path
) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from arpo_entropy_recorder.mixin import record_entropy
    from arpo_entropy_recorder.rollout.loop import Prompts, ToolRollout
    from arpo_entropy_recorder.rollout.prompts import encode_prompts, pad_left

    tokenizer = engine.get_tokenizer()
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = tokenizer.eos_token_id
    encoded = encode_prompts(prompts, tokenizer, args.system)
    config = {
        "n": args.n,
        "temperature": args.temperature,
        "top_p": args.top_p,
        "max_tool_calls": args.max_tool_calls,
        "response_length": args.response_length,
        "seed": args.seed,
        "entropy_save_dir": str(out),
        "entropy_window": args.window,
        "record_tokens": args.record_tokens,
    }
    columns = (
        TextColumn("step {task.fields[step]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("prompts, {task.fields[calls]} tool calls, {task.fields[rounds]} rounds"),
        TimeElapsedColumn(),
    )
    total = args.steps * args.batch_size
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("record", total=total, step=1, calls=0, rounds=0)
        before = {"done": 0, "calls": 0, "rounds": 0}

        def progress(done: int, calls: int, rounds: int) -> None:
            bar.update(
                task,
                completed=before["done"] + done,
                calls=before["calls"] + calls,
                rounds=before["rounds"] + rounds,
            )

        rollout = record_entropy(ToolRollout)(engine, tokenizer, config, tools, progress)
        stream = itertools.cycle(encoded)
        for step in range(1, args.steps + 1):
            bar.update(task, step=step)
            rows = pad_left(list(itertools.islice(stream, args.batch_size)), tokenizer.pad_token_id)
            rollout.generate_sequences(Prompts({"input_ids": rows}, {"global_steps": step}))
            before["done"] += args.batch_size
            before["calls"] += rollout.metrics["tools/total_calls"]
            before["rounds"] += rollout.metrics["tools/rounds"]


def _engine_options(items: list[str]) -> dict[str, Any]:
    options = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not (equals and key.isidentifier()):
            raise UserError(f"--engine {item}: write KEY=VALUE, as max_model_len=8192")
        try:
            options[key] = orjson.loads(value)
        except orjson.JSONDecodeError:
            options[key] = value
    return options


def _check_writable(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: cannot make the directory: {error.strerror}") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise UserError(f"--out {out}: no permission to write there; choose another directory")


def _list_files(out: Path, steps: int) -> int:
    paths = [out / f"entropy_step_{step}.json" for step in range(1, steps + 1)]
    for path in filter(Path.exists, paths):
        print(printable(path))
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        _say(f"{out}: not written: {', '.join(missing)}")
    return 1 if missing else 0


def _say(line: str) -> None:
    print(printable(f"arpo-entropy record: {line}"), file=sys.stderr)
