"""What finding trajectories in token lists costs, of this tree and of another in pairs.

python benchmarks/benchmark_lineage.py [--old PATH]

PATH is a checkout to compare with. 16 prompts of 200 tokens, 16 trajectories of each; for four rounds all of them go
on by 150 tokens and a result of 50, appended in place, and 100 branches are made that are copies of some, as ARPO
makes them: 256 to 556 trajectories of up to 1,000 tokens. Prints each round's CPU milliseconds.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace

PROMPTS, STARTS, BRANCHES, ROUNDS = 16, 16, 100, 4
END = 777


def new_tracker(rows):
    """A tracker of the tree that is on sys.path, for a batch of `rows`."""
    import numpy as np

    batch = SimpleNamespace(batch={"input_ids": np.array(rows)}, meta_info={})
    try:
        from arpo_entropy_recorder.recorder.results import ResultForm
    except ImportError:
        from arpo_entropy_recorder.batch import Batch
        from arpo_entropy_recorder.tracker import TrajectoryTracker

        return TrajectoryTracker(lambda tokens: tokens[-1] == END, Batch(batch).rows_of)
    from arpo_entropy_recorder.recorder.batch import Batch
    from arpo_entropy_recorder.recorder.lineage import TrajectoryTracker

    return TrajectoryTracker(ResultForm(lambda tokens: tokens[-1] == END), Batch(batch))


def measure():
    """CPU milliseconds of each round."""
    rng = random.Random(0)

    def tokens(n):
        return [1000 + rng.randrange(100_000) for _ in range(n)]

    rows = [tokens(200) for _ in range(PROMPTS)]
    tracker = new_tracker(rows)
    live = [row.copy() for row in rows for _ in range(STARTS)]
    times = []
    for _ in range(ROUNDS):
        written, results = [tokens(150) for _ in live], [[*tokens(49), END] for _ in live]
        started = time.process_time()
        tracker.begin(live)
        tracker.end(written, ["</search>"] * len(live))
        times.append(1000 * (time.process_time() - started))
        for trajectory, text, result in zip(live, written, results, strict=True):
            trajectory.extend(text + result)
        live += [rng.choice(live).copy() for _ in range(BRANCHES)]
    return times


def measured_in(tree):
    """The same in a process that imports the package from `tree`."""
    command = [sys.executable, str(Path(__file__).resolve()), "--here"]
    done = subprocess.run(
        command, cwd=tree, env={"PYTHONPATH": str(tree)}, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--old", type=Path)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measure()))
        return
    here = Path(__file__).resolve().parents[1]
    runs = []
    for _ in range(args.pairs):
        runs.append([measured_in(tree) for tree in (args.old, here) if tree is not None])
    for name, rounds in zip(["old", "new"] if args.old else ["new"], zip(*runs, strict=True), strict=True):
        print(name, *(f"{median(times):.1f}" for times in zip(*rounds, strict=True)), "ms a round")
    if args.old:
        print(f"new / old {median(sum(new) / sum(old) for old, new in runs):.2f}")


if __name__ == "__main__":
    main()
