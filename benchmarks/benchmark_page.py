"""The page of a long run: its size, how long it takes to build, to be ready, and to answer a choice.

    PYTHONPATH=.:tests/helpers python benchmarks/benchmark_page.py [STEPS [RECORDS]]

The run is made up: STEPS steps (300) with RECORDS records (200,000) in all, and 100 trajectories of 20 segments to
read, with their text. `build`, without text (loading a tokenizer takes longer), is compared with `stats`, both as
processes; `ready` with an empty page opened in the same headless Chromium; `choice` is the median of 20 choices of
steps in script time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from benchmark_reading import measure
from browser import start

SEGMENTS, PROMPTS, TRAJECTORIES = 20, 16, 100
REPEATS = 3


def write_steps(directory: Path, steps: int, records: int) -> None:
    """Step files whose trajectories have SEGMENTS segments each, of bytes as token ids."""
    random = np.random.default_rng(0)
    trajectories = max(1, records // steps // SEGMENTS)
    text = list(b" <think> what a policy writes in a segment, more or less </think> <search>so</search>")
    for step in range(1, steps + 1):
        entries = []
        for sample in range(trajectories):
            values = random.lognormal(-4 - step / steps, 1, (SEGMENTS, 20)).clip(0, 0.99).round(6)
            entries += [
                {
                    "global_step": step,
                    "sample_idx": sample,
                    "prompt_idx": sample % PROMPTS,
                    "parent_idx": None,
                    "round": number,
                    "tool": ("search", "python")[number % 2] if number else None,
                    "is_after_tool_call": number > 0,
                    "token_id": text[0],
                    "entropy": values[number, 0],
                    "window": values[number].tolist(),
                    "tokens": text,
                }
                for number in range(SEGMENTS)
            ]
        (directory / f"entropy_step_{step}.json").write_text(json.dumps(entries))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("steps", type=int, nargs="?", default=300, metavar="STEPS")
    parser.add_argument("records", type=int, nargs="?", default=200_000, metavar="RECORDS")
    args = parser.parse_args()
    steps, records = args.steps, args.records
    with TemporaryDirectory() as name:
        directory = Path(name)
        write_steps(directory, steps, records)
        page, empty = directory / "report.html", directory / "empty.html"
        empty.write_text("<!doctype html><title>empty</title>")
        words = ["report", name, "-o", str(page), "--trajectories", str(TRAJECTORIES)]
        # The least processor time of some runs of each.
        stats, report = (min(measure(w)[1] for _ in range(REPEATS)) for w in (["stats", name], words))
        measure([*words, "--model", "toy"])
        print(f"size: {page.stat().st_size / 1e6:.2f} MB")
        print(f"build: {report:.1f} s of processor time, stats {stats:.1f} s: {report / stats:.2f}x")
        driver = start(directory / "profile")
        try:
            ready = [opened(driver, page) - opened(driver, empty) for _ in range(5)]
            opened(driver, page)
            print(f"ready: {statistics.median(ready):.2f} s after an empty page (median of {len(ready)})")
            choices = driver.execute_script(
                "const found = [];"
                "for (let i = 0; i < 20; i += 1) {"
                "  const begin = performance.now(); choose({first: 1 + 7 * i, last: 150 + 7 * i});"
                "  found.push(performance.now() - begin);"
                "} return found;"
            )
            print(f"choice: {statistics.median(choices):.0f} ms of script (median of {len(choices)})")
        finally:
            driver.quit()


def opened(driver, path: Path) -> float:
    """Seconds until a page is there, and ready if it has a script."""
    begin = time.perf_counter()
    driver.get(path.as_uri())
    while not driver.execute_script(
        "return document.title === 'empty' || document.documentElement.dataset.ready"
    ):
        time.sleep(0.005)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
