#!/usr/bin/env python3
"""How long a flush takes: from columns to the renamed file, synced to disk, and the memory it needs.

    python benchmarks/benchmark_flush.py [--out DIR] [--repeat 9]

Beside it, in the same run, what a dict a record costs, with orjson and with the standard library's json, without
any file; and writing the same bytes and syncing them, which is the part that no program can avoid.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from arpo_entropy_recorder.step_files.write import StepWriter


def made_columns(records: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    number = np.arange(records)
    return {
        "sample_idx": number // 5,
        "prompt_idx": number // 80,
        "parent_idx": [None if i % 3 else i // 9 for i in range(records)],
        "round": number % 5,
        "tool": [None if i % 5 == 0 else "python" for i in range(records)],
        "is_after_tool_call": number % 5 > 0,
        "token_id": rng.integers(0, 151_000, records),
        "entropy": rng.random(records, dtype=np.float32),
    }


def as_dicts(columns: dict[str, Any]) -> list[dict[str, Any]]:
    lists = [c.tolist() if isinstance(c, np.ndarray) else c for c in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]


def timed(name: str, repeat: int, action: Callable[[int], object]) -> None:
    seconds = []
    for attempt in range(repeat):
        start = time.perf_counter()
        action(attempt)
        seconds.append(time.perf_counter() - start)
    print(f"{name:<46}{1e3 * statistics.median(seconds):9.1f} ms  (best {1e3 * min(seconds):.1f})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, help="a directory on the disk to measure (default: a temporary one)"
    )
    parser.add_argument("--repeat", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.out) as directory:
        writer = StepWriter(directory)
        step = iter(range(10**9))

        def flush(columns: dict[str, Any]) -> Path:
            number = next(step)
            writer.add(number, False, columns)
            writer.flush()
            return Path(directory) / f"entropy_step_{number}.json"

        for records in (25_000, 50_000, 100_000, 200_000, 400_000):
            columns = made_columns(records)
            timed(f"flush {records:,} records", arguments.repeat, lambda _, c=columns: flush(c))
        columns = made_columns(100_000)
        data = flush(columns).read_bytes()

        def write(_: int) -> None:
            with open(Path(directory) / "bytes", "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())

        timed(f"only writing and syncing its {len(data) / 1e6:.1f} MB", arguments.repeat, write)
        timed("a dict a record, orjson, 100,000", arguments.repeat, lambda _: orjson.dumps(as_dicts(columns)))
        timed("a dict a record, json, 100,000", 3, lambda _: json.dumps(as_dicts(columns)))
        tracemalloc.start()
        size = flush(columns).stat().st_size
        print(f"peak memory of a flush: {tracemalloc.get_traced_memory()[1] / size:.2f} x the file's size")
        writer.close()


if __name__ == "__main__":
    main()
