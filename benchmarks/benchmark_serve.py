#!/usr/bin/env python3
"""What `arpo-entropy serve` costs a server: the same requests to it and to vLLM's own, both up, in alternation.

    PYTHONPATH=.:tests/helpers python benchmarks/benchmark_serve.py
    ... --window 20

The model is the toy agent, so small that any overhead shows. A pair is one burst of chat requests to each server, in
changing order. Printed are the ratios of the CPU times of all of a server's processes, the recorder's among them, and
of the time until the last reply, each with a 95 % interval of the median, and the tap's own counter.

Predictions, written before the first measurement
    A request of 60 tokens costs an API server some 12 ms and the toy's engine as much; the recorder 0.3 ms in the
    API server (1.4 us an output, and what it packs and hashes) and 0.3 ms in its own process: 1.02 to 1.03 in CPU
    time. Window 20: the values of 20 tokens are gathered and sent together: 1.03 to 1.04. The clock: within noise.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

import psutil
from benchmark_live import interval_of_median
from package_metadata import announce_recorder, announce_vllm
from served_agents import Server

OPTIONS = {"max-num-seqs": 32, "max-num-batched-tokens": 2048, "num-gpu-blocks-override": 512}
# The recorder places a turn a second after it ended.
SETTLE_S = 1.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--window", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=60)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cost-") as name:
        folder = Path(name)
        place = folder / "installed"
        announce_recorder(place)
        announce_vllm(place)
        recorded = Server(
            folder / "entropies", folder / "with", place, "--window", str(args.window), **OPTIONS
        )
        try:
            plain = Server(None, folder / "without", place, **OPTIONS)
            try:
                _measure(recorded, plain, args)
            finally:
                plain.end()
        finally:
            recorded.end()


def _measure(recorded: Server, plain: Server, args: argparse.Namespace) -> None:
    for server in (recorded, plain):
        _burst(server, args)
    cpu, clock, spent = [], [], []
    for pair in range(args.pairs):
        one = {}
        for server in (recorded, plain) if pair % 2 else (plain, recorded):
            one[server] = _burst(server, args)
        cpu.append(one[recorded][0] / one[plain][0])
        clock.append(one[recorded][1] / one[plain][1])
        spent.append(1000 * one[plain][0] / args.requests)
    status = recorded.ask("GET", "/v1/entropy/status")[1]
    counters = status["values"]["workers"][0]["counters"]
    print(f"load {os.getloadavg()[0]:.1f}, {args}")
    for what, ratios in (("CPU time", cpu), ("clock", clock)):
        low, high = interval_of_median(ratios)
        median = statistics.median(ratios)
        print(f"recorded / plain, {what}: {median:.3f} (95 % interval {low:.3f} to {high:.3f})")
    print(f"a request costs the plain server {statistics.median(spent):.1f} ms of CPU time")
    print(f"in the tap: {1e6 * counters['tap_seconds'] / counters['steps_with_values']:.0f} us a step with values, "
          f"{counters['steps_with_values']:,.0f} of {counters['steps']:,.0f}")  # fmt: skip
    print(f"{status['turns']:,} turns, {status['nulls']} nulls, {status['failures']} failures")


def _burst(server: Server, args: argparse.Namespace) -> tuple[float, float]:
    """(CPU seconds of the server's processes, seconds until the last reply) of the requests."""
    client = server.client()

    async def ask(number: int) -> None:
        await client.chat.completions.create(
            model="toy",
            messages=[{"role": "user", "content": f"{number}? " + "Why? " * (number % 20)}],
            max_tokens=args.tokens,
            extra_body={"ignore_eos": True},
        )

    async def run() -> float:
        start = time.monotonic()
        await asyncio.gather(*(ask(number) for number in range(args.requests)))
        seconds = time.monotonic() - start
        await client.close()
        return seconds

    before = _cpu_seconds(server)
    seconds = asyncio.run(run())
    time.sleep(SETTLE_S)
    return _cpu_seconds(server) - before, seconds


def _cpu_seconds(server: Server) -> float:
    top = psutil.Process(server.process.pid)
    times = [process.cpu_times() for process in (top, *top.children(recursive=True))]
    return sum(of_one.user + of_one.system for of_one in times)


if __name__ == "__main__":
    main()
