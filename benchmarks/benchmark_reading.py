#!/usr/bin/env python3
"""How fast recorded runs are plotted and summarised: seconds, records/s and peak memory, at growing sizes.

    python benchmarks/benchmark_reading.py                 # 1,000 files of 8,192 records, and a quarter of them
    python benchmarks/benchmark_reading.py --files 40      # a quick look
    python benchmarks/benchmark_reading.py --commands report plot

Each command runs in a process of its own, whose peak resident memory the kernel tells.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that a clone works before it is installed

ROUNDS = 4
COMMANDS = {
    "stats --json": ["stats", "--json", "{run}"],
    **{
        f"plot -f {figure}": ["plot", "-f", figure, "{run}", "-o", f"{{out}}/{figure}.png"]
        for figure in ("effect", "rounds", "steps", "heatmap")
    },
    "compare": ["compare", "a={run}", "b={other}"],
    "export": ["export", "{run}", "-o", "{out}/run.parquet"],
    "report": ["report", "{run}", "-o", "{out}/run.html"],
}


def step_text(records: int, seed: int) -> str:
    """A step file's text with every key that a recording always has; `@` stands for the global step."""
    random = np.random.default_rng(seed)
    rounds = np.arange(records) % (ROUNDS + 1)
    entropy = random.beta(np.where(rounds == 0, 3, 6), np.where(rounds == 0, 6, 4))
    lines = [
        f'{{"global_step":@,"sample_idx":{i // (ROUNDS + 1)},"prompt_idx":{i // 40},"parent_idx":null,"round":{r},'
        f'"tool":{"null" if r == 0 else ("python", "search")[i // 7 % 2].join(chr(34) * 2)},'
        f'"is_after_tool_call":{"true" if r else "false"},"token_id":{i * 7919 % 151_936},"entropy":{e:.9g},'
        f'"call":0,"run":0}}'
        for i, (r, e) in enumerate(zip(rounds.tolist(), entropy.tolist(), strict=True))
    ]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def measure(words: list[str]) -> tuple[float, float, float]:
    """Run `arpo-entropy` with `words`; returns seconds, seconds of CPU time, and peak resident GB."""
    started = time.perf_counter()
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "arpo_entropy_recorder", *words],
        {**os.environ, "PYTHONPATH": sys.path[0]},
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"arpo-entropy {' '.join(words)} failed")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1000, help="step files (default: %(default)s)")
    parser.add_argument("--records", type=int, default=8192, help="records a file (default: %(default)s)")
    parser.add_argument("--commands", nargs="+", metavar="NAME", help="those that begin so (default: all)")
    args = parser.parse_args()
    commands = {
        name: words for name, words in COMMANDS.items() if any(map(name.startswith, args.commands or [""]))
    }

    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    print(
        f"{'command':<22}{'files':>7}{'records':>12}{'seconds':>10}{'CPU s':>8}{'records/s':>12}{'peak GB':>9}"
    )
    with tempfile.TemporaryDirectory() as directory:
        run, other = Path(directory, "run"), Path(directory, "other")
        for made in (run, other):
            made.mkdir()
        texts = [step_text(args.records, seed) for seed in range(5)]
        written = 0
        for files in (max(args.files // 4, 1), args.files):
            for step in range(written, files):
                text = texts[step % len(texts)].replace("@", str(step))
                file = Path(run, f"entropy_step_{step}.json")
                file.write_text(text, encoding="utf-8")
                Path(other, file.name).hardlink_to(file)  # comparing reads it twice
            written = files
            for name, words in commands.items():
                seconds, cpu, peak = measure(
                    [word.format(run=run, other=other, out=directory) for word in words]
                )
                total = files * args.records * sum("{run}" in word or "{other}" in word for word in words)
                speed = total / seconds
                numbers = f"{seconds:>10.1f}{cpu:>8.1f}{speed:>12,.0f}{peak:>9.2f}"
                print(f"{name:<22}{total // args.records:>7,}{total:>12,}{numbers}", flush=True)


if __name__ == "__main__":
    main()
