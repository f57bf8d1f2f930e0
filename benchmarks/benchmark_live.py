#!/usr/bin/env python3
"""What the tap that stays costs an engine: the same requests with and without marks on one engine, in alternation.

    python benchmarks/benchmark_live.py                # entropies of a request's first token
    python benchmarks/benchmark_live.py --window 1 20  # of the first 20 as well, one after the other
    ... --shape 7b --graphs                            # on a GPU

The model is the toy agent, so small that any overhead shows, or one of the shape of a real model with made-up
weights in bfloat16; requests queue, as many run at once as the engine takes. A pair is one `generate` call of each
kind in changing order, and both must generate the same. Printed are the ratios of their CPU times (engine, sender,
and the collector in a process of its own, as in a job) and of their wall clock, the medians with a 95 % interval, and
the share of the engine's steps that is spent in the tap, by its own counter.

Predictions, written before the first measurement
    A step of 64 toy sequences takes 5 ms or more. One with a first token costs 30 us + 1 us a row for the
    entropy and 20 us for the lookups, the queue and the sender's share; most steps of a wave have no row and cost
    a comparison. Window 1: below 0.3 %. Window 20: a fifth of the steps have up to 64 rows, 100 to 150 us: 0.6 %.
    In CPU time 1.005 and 1.02, since the sender packs and the collector unpacks 64 values a step, 2 us each.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # so that a clone works before it is installed
_collector: Any = None  # of a CollectorProcess
# From the configurations of Qwen2.5-0.5B and Qwen2.5-7B.
SHAPES = {
    "0.5b": {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "7b": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--window", type=int, default=[1], nargs="+", metavar="K")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--tokens", type=int, default=60)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--shape", choices=SHAPES, help="in place of the toy agent")
    parser.add_argument("--graphs", action="store_true", help="leave CUDA graphs on")
    args = parser.parse_args()
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")

    from arpo_entropy_recorder.live.job import Job, new_local_address, new_token
    from arpo_entropy_recorder.live.plugin import register
    from arpo_entropy_recorder.rollout.toy_agent import build_toy_agent

    with tempfile.TemporaryDirectory() as agent:
        job = Job(new_token(), new_local_address(), max(args.window))
        os.environ.update(job.environ())
        collector = CollectorProcess(job)
        register()
        llm = _engine(_of_shape(args.shape, Path(agent)) if args.shape else build_toy_agent(agent), args)
        print(f"| {platform.machine()}, load {os.getloadavg()[0]:.1f}, vLLM {_version()}, {args}")
        step_seconds = _time_steps(llm)
        for window in args.window:
            _measure(llm, job, collector, window, args, step_seconds)
        collector.close()


class CollectorProcess:
    """A Collector elsewhere, so that its thread does not take the engine's interpreter."""

    def __init__(self, job: Any) -> None:
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _listen, (job,))
        self.ask("status")  # starts it

    def ask(self, name: str, *args: Any) -> tuple[Any, float]:
        """What the collector's method `name` returns, and the CPU seconds of its process so far."""
        return self._pool.submit(_ask, name, *args).result()

    def close(self) -> None:
        """End the process."""
        self.ask("close")
        self._pool.shutdown()


def _listen(job: Any) -> None:
    global _collector
    from arpo_entropy_recorder.live.collector import Collector

    _collector = Collector(job)


def _ask(name: str, *args: Any) -> tuple[Any, float]:
    return getattr(_collector, name)(*args), time.process_time()


def _of_shape(name: str, folder: Path) -> Path:
    """A model's directory without weights and tokenizer."""
    config = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "max_position_embeddings": 4096}
    (folder / "config.json").write_text(json.dumps(config | SHAPES[name]))
    return folder


def _engine(model: Path, args: argparse.Namespace) -> Any:
    from vllm import LLM

    made_up = {"dtype": "bfloat16", "load_format": "dummy", "skip_tokenizer_init": True}
    return LLM(
        model=str(model),
        **(made_up if args.shape else {"dtype": "float32"}),
        enforce_eager=not args.graphs,
        max_model_len=512,
        max_num_seqs=args.at_once,
        enable_prefix_caching=False,
        gpu_memory_utilization=0.4 if args.shape else 0.1,
        seed=0,
    )


def _measure(
    llm: Any, job: Any, collector: Any, window: int, args: argparse.Namespace, step_seconds: list[float]
) -> None:
    from arpo_entropy_recorder.taps.resident import ATTRIBUTE

    (tap,) = llm.collective_rpc(lambda worker: getattr(worker.model_runner, ATTRIBUTE))
    tap.window = window
    for marked in (True, False):
        _run(llm, job, collector, window, args, marked)
    before, step_seconds[0] = tap.counters(), 0.0
    taken_before, _ = collector.ask("status")
    cpu_ratios, wall_ratios, share_of_steps = [], [], []
    for pair in range(args.pairs):
        seconds, tokens = {}, {}
        for marked in (True, False) if pair % 2 else (False, True):
            start, in_tap = step_seconds[0], tap.counters()["tap_seconds"]
            seconds[marked], tokens[marked] = _run(llm, job, collector, window, args, marked)
            if marked:
                share_of_steps.append((tap.counters()["tap_seconds"] - in_tap) / (step_seconds[0] - start))
        if tokens[True] != tokens[False]:
            raise SystemExit("marked requests generated something else")
        for ratios, which in ((cpu_ratios, 0), (wall_ratios, 1)):
            ratios.append(seconds[True][which] / seconds[False][which])
    now = tap.counters()
    spent = {name: now[name] - before[name] for name in now}
    marked_steps = spent["steps"] / 2
    print(f"| window {window}, {type(tap).__name__}, load {os.getloadavg()[0]:.1f}")
    for what, ratios in (("CPU time", cpu_ratios), ("wall clock", wall_ratios)):
        low, high = interval_of_median(ratios)
        median = statistics.median(ratios)
        print(f"| marked / unmarked, {what}: {median:.3f} (95 % interval {low:.3f} to {high:.3f})")
    print(f"| in the tap: {100 * statistics.median(share_of_steps):.2f} % of the engine's step time, "
          f"{1e3 * step_seconds[0] / spent['steps']:.2f} ms a step")  # fmt: skip
    print(f"| steps with values: {spent['steps_with_values']:,.0f} of {marked_steps:,.0f}")
    if spent["steps_with_values"]:
        each = 1e6 * spent["tap_seconds"] / spent["steps_with_values"]
        print(f"| {spent['values']:,.0f} values, {each:.0f} us in the tap for each step with values")
    status, _ = collector.ask("status")
    taken, missing = (status[name] - taken_before[name] for name in ("values_taken", "values_missing"))
    print(f"| {taken:,} values taken, {missing:,} missing")


def _run(
    llm: Any, job: Any, collector: Any, window: int, args: argparse.Namespace, marked: bool
) -> tuple[tuple[float, float], Any]:
    """((CPU seconds, seconds of wall clock), tokens) of one `generate` call."""
    import torch
    from vllm import SamplingParams

    from arpo_entropy_recorder.live.mark import MARK, new_mark

    prompts = [
        {"prompt_token_ids": [97 + number % 26] * (8 + number % 24)} for number in range(args.requests)
    ]
    marks = [new_mark(job.token) for _ in prompts]
    params = [
        SamplingParams(
            temperature=1.0,
            ignore_eos=True,
            max_tokens=args.tokens - number % 24,
            extra_args={MARK: mark} if marked else None,
        )
        for number, (_, mark) in enumerate(marks)
    ]
    torch.manual_seed(0)
    _, elsewhere = collector.ask("status")
    cpu, wall = time.process_time(), time.perf_counter()
    outputs = llm.generate(prompts, params, use_tqdm=False)
    # Without marks as well, where there is nothing to wait for.
    _, now = collector.ask("take", {key: window for key, _ in marks} if marked else {}, 10.0)
    seconds = time.process_time() - cpu + now - elsewhere, time.perf_counter() - wall
    return seconds, [output.outputs[0].token_ids for output in outputs]


def _time_steps(llm: Any) -> list[float]:
    """A list of one number: the seconds in the engine's steps so far."""
    core, seconds = llm.llm_engine.engine_core, [0.0]
    original = core.get_output

    def get_output(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = original(*args, **kwargs)
        seconds[0] += time.perf_counter() - start
        return result

    core.get_output = get_output
    return seconds


def interval_of_median(values: list[float]) -> tuple[float, float]:
    """A 95 % interval of the median, from the order statistics (a binomial argument; no distribution is assumed)."""
    from scipy.stats import binom

    ordered = sorted(values)
    rank = int(binom.ppf(0.025, len(ordered), 0.5))
    return ordered[max(rank - 1, 0)], ordered[min(len(ordered) - rank, len(ordered) - 1)]


def _version() -> str:
    import vllm

    return vllm.__version__


if __name__ == "__main__":
    main()
