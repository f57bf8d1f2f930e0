"""Records whose origin can be told from them, and processes that write them as data-parallel ranks."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np

from arpo_entropy_recorder.step_files.read import read_steps
from arpo_entropy_recorder.step_files.write import StepWriter

RECORDS = 40  # a call


def token_ids(step: int, rank: int, call: int = 0, records: int = RECORDS) -> list[int]:
    """Which records a call of a step has: each has its own `token_id`."""
    return [((step * 100 + rank) * 10 + call) * 100_000 + i for i in range(records)]


def columns(step: int, rank: int = 0, call: int = 0, records: int = RECORDS) -> dict[str, object]:
    ids = token_ids(step, rank, call, records)
    rng = np.random.default_rng(ids[0] if ids else 0)
    return {
        "sample_idx": np.arange(records),
        "round": np.arange(records) % 4,
        "is_after_tool_call": np.arange(records) % 4 > 0,
        "tool": [["python", None][i % 2] for i in range(records)],
        "parent_idx": [None if i % 3 else i // 3 for i in range(records)],
        "token_id": ids,
        "entropy": rng.random(records, dtype=np.float32),
    }


class RankProcess:
    """A forked process that records steps `first` to `last` as one rank, and tells each flushed step."""

    def __init__(
        self,
        directory: Path,
        rank: int,
        size: int,
        first: int,
        last: int,
        delay: float = 0.0,
        records: int = RECORDS,
    ):
        self.rank, self.flushed = rank, first - 1
        self._pipe, told = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(told)
            return
        status = 1
        try:
            rng = random.Random(rank + 1000 * first)
            writer = StepWriter(directory, dp_rank=rank, dp_size=size)
            for step in range(first, last + 1):
                time.sleep(rng.random() * delay)
                writer.add(step, False, columns(step, rank, records=records))
                writer.flush()
                if writer.pending_steps:
                    os._exit(3)
                os.write(told, step.to_bytes(4, "big"))
            writer.close()
            status = 0
        finally:
            os._exit(status)

    def collect(self) -> None:
        """Brings `flushed`, the last step that the process said to be in a file, up to date."""
        while select.select([self._pipe], [], [], 0)[0] and (word := os.read(self._pipe, 4)):
            self.flushed = int.from_bytes(word, "big")

    def kill(self) -> bool:
        """SIGKILL; False if the process had ended by itself."""
        os.kill(self.pid, signal.SIGKILL)
        return not self.wait(accept_death=True)

    def wait(self, accept_death: bool = False) -> bool:
        """True if the process ended well."""
        _, status = os.waitpid(self.pid, 0)
        self.collect()
        with contextlib.suppress(OSError):
            os.close(self._pipe)
        assert accept_death or status == 0, f"rank {self.rank} ended with status {status}"
        return status == 0


def found(directory: Path) -> dict[int, Counter[int]]:
    """How often each record is in what the reader reads, by step."""
    if not list(directory.glob("entropy_*step_*.json")):
        return {}
    return {step.global_step: Counter(step.columns["token_id"].tolist()) for step in read_steps([directory])}


def whole_files(directory: Path) -> list[Path]:
    return [p for p in directory.glob("entropy_*step_*.json") if ".dp" not in p.name]


def shard_files(directory: Path) -> list[Path]:
    return list(directory.glob("entropy_*.dp*.json"))


def temporary_files(directory: Path) -> list[Path]:
    return list(directory.glob(".*.tmp"))
