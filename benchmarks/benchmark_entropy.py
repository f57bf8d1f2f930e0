"""Exact entropy of rows of logits: this project's path against the usual formula, and against the bytes.

    python benchmarks/benchmark_entropy.py

On CUDA: all rows of [8192, 151936] bf16 and 1 to 64 rows of it, with CUDA events, each against verl's formula
`logsumexp(x) - sum(softmax(x) * x)` (on as many rows at a time as memory allows), torch.compile of it, and a
large device copy in the same run. On a CPU: sizes that fit it, and the GPU rows are "not measured".

Prediction, written before anything was measured
    GPU. The kernel reads each logit once: 8192 * 151936 * 2 B = 2.49 GB, 0.74 ms at an H100's nominal
    3.35 TB/s; a copy reaches about 90 % of that, so 0.83 ms. Its inner loop is 90 instructions for 8 bf16
    logits (counted in the sm_90 machine code): 1.24 G * 90 / 8 / 32 = 0.44 G warp instructions, at
    132 * 4 * 1.7 GHz 0.49 ms, so it is bound by memory, not by far. 16 rows are 4.9 MB, 1.5 us of traffic: the
    time is a launch, two trips to memory and one to the slices' meeting point, 5 to 8 us on the device.
    verl's formula in bf16 reads or writes a full-size array about 8 times: some 8 times slower.
    CPU. 13 torch operations of 1 to 2 us for [1, 300]: 20 us. Per logit one exp (about 0.5 ns a core) and six
    cheap passes over a cached block (0.1 ns each): 1 ns, so 2.4 ms a core for [16, 151936]; verl's formula has
    three passes with an exp, out of cache: 2 to 3 times slower.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from arpo_entropy_recorder.ops.entropy import entropy_into

VOCAB_SIZE = 151936


def verl_formula(logits: Tensor) -> Tensor:
    """Entropy as verl's `entropy_from_logits` writes it, in the logits' dtype: [rows] from [rows, vocab]."""
    return torch.logsumexp(logits, -1) - (torch.softmax(logits, -1) * logits).sum(-1)


def cuda_times(call: Callable[[], object], repeats: int = 50) -> list[float]:
    """Microseconds on the device, a call each, the caches flushed before it."""
    flush = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    for _ in range(3):
        call()
    pairs = [
        (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)
    ]
    for start, end in pairs:
        flush.zero_()  # also keeps the device busy until the call is queued: the host's time is hidden
        start.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return [1e3 * start.elapsed_time(end) for start, end in pairs]


def cpu_times(call: Callable[[], object], repeats: int = 50) -> list[float]:
    """Microseconds of wall clock, a call each, in batches of at least 2 ms."""
    call()
    start = time.perf_counter()
    call()
    batch = max(1, round(0.002 / (time.perf_counter() - start)))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(batch):
            call()
        times.append(1e6 * (time.perf_counter() - start) / batch)
    return times


def print_row(what: str, shape: str, times: list[float], read: int) -> float:
    """A row of the table: median, the middle half, and bytes of logits read once over the median. Returns GB/s."""
    low, median, high = statistics.quantiles(times, n=4)
    speed = read / median / 1e3
    print(f"| {what} | {shape} | {median:,.1f} | {low:,.1f} to {high:,.1f} | {speed:,.1f} |", flush=True)
    return speed


def ours(logits: Tensor, num_rows: int) -> Callable[[], None]:
    """The recorder's call for the first rows of `logits`."""
    rows = torch.arange(num_rows, device=logits.device)
    history = torch.zeros(num_rows, device=logits.device)
    return lambda: entropy_into(history, rows, logits, rows)


def in_parts(formula: Callable[[Tensor], Tensor], logits: Tensor, part: int) -> Callable[[], None]:
    """`formula` over `part` rows at a time, since its temporaries are as large as its input."""

    def call() -> None:
        for start in range(0, len(logits), part):
            formula(logits[start : start + part])

    return call


def on_cpu() -> None:
    for num_rows, vocab_size, dtype in (
        (1, 300, torch.float32),
        (16, 300, torch.float32),
        (128, 300, torch.float32),
        (1, VOCAB_SIZE, torch.bfloat16),
        (16, VOCAB_SIZE, torch.bfloat16),
        (16, VOCAB_SIZE, torch.float32),
    ):
        logits = torch.randn(num_rows, vocab_size).mul_(3).to(dtype)
        shape, size = f"[{num_rows}, {vocab_size}] {str(dtype)[6:]}", logits.numel() * logits.element_size()
        print_row("this project (torch)", shape, cpu_times(ours(logits, num_rows)), size)
        print_row("verl's formula", shape, cpu_times(partial(verl_formula, logits)), size)
        print_row("copy (read + write)", shape, cpu_times(logits.clone), 2 * size)
    print(
        "\nGPU rows: not measured (no CUDA device here); python benchmarks/benchmark_entropy.py prints them on one"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    torch.manual_seed(0)
    cuda = torch.cuda.is_available()
    print(
        f"Date: {datetime.date.today()}; torch {torch.__version__}, Python {platform.python_version()}",
        end="",
    )
    if cuda:
        import triton

        print(f", triton {triton.__version__}, CUDA {torch.version.cuda}; {torch.cuda.get_device_name()}")
    else:
        print(f"; CPU {cpu_name()}, {torch.get_num_threads()} threads")
    print("\n| what | logits | median us | middle half us | GB/s, logits read once |\n|---|---|---|---|---|")
    with torch.inference_mode():
        if cuda:
            from gpu import bandwidth, few_rows

            bandwidth()
            few_rows()
        else:
            on_cpu()


def cpu_name() -> str:
    """The processor's own name, where Linux tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


if __name__ == "__main__":
    main()
