#!/usr/bin/env python3
"""How values come from an engine's worker to the collector: by messages, as they do, or through a spool file.

    python benchmarks/benchmark_transport.py               # values wait 0.2 s for those of the next steps
    python benchmarks/benchmark_transport.py --gather 0    # each step's values are sent at once

A made-up worker hands the values of a step every 5 ms to a thread that packs and sends them: as messages over a local
socket (live/sender.py, live/collector.py), or appended to a file, which the collector's process reads every 50 ms.
Frames and table are the same. Printed are bytes a value, the CPU time of a step in either process (threads included,
less that of a worker that sends nothing), and how long after its step a value can be taken: medians of rounds in
alternation.

Predictions, written before the first measurement
    24 bytes a value, 17 a message, 4 more for a spool's length. A message wakes three threads: 60 us in the worker
    and 50 us in the collector; an append is 25 us, and a file's reader takes ten steps at a time: 10 us a step.
    Packing and unpacking are 1 us a value each way, so that at 64 values a step the ratio falls from 3 to 1.5. A
    value can be taken after 1 ms, or after 25 ms. (With --gather 0; gathering came after the first measurement.)
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import queue
import statistics
import struct
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # so that a clone works before it is installed

from arpo_entropy_recorder.live import sender as sender_module  # noqa: E402
from arpo_entropy_recorder.live.collector import Collector  # noqa: E402
from arpo_entropy_recorder.live.job import Job, new_local_address, new_token  # noqa: E402
from arpo_entropy_recorder.live.messages import VALUE, Hello, decode, encode_values  # noqa: E402
from arpo_entropy_recorder.live.sealed import MAC_BYTES  # noqa: E402
from arpo_entropy_recorder.live.sender import Sender  # noqa: E402
from arpo_entropy_recorder.live.values import ValueTable  # noqa: E402

STEP_S, POLL_S = 0.005, 0.05
LENGTH = struct.Struct("<I")
WAYS = ("nothing", "messages", "spool file")


class Arrived:
    """Entropies that are on the host."""

    def __init__(self, count: int) -> None:
        self.nats = [0.5] * count

    def wait(self) -> list[float]:
        return self.nats


class Spool:
    """A worker's spool file: what Sender does, into a file."""

    def __init__(self, path: Path, token: bytes) -> None:
        self._path, self._token = path, token
        self._queue: queue.Queue[Any] = queue.Queue(1024)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def put(self, places: list[tuple[str, int]], entropies: Arrived) -> None:
        self._queue.put_nowait((places, entropies))

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        with open(self._path, "ab", buffering=0) as file:
            item = self._queue.get()
            while item is not None:
                time.sleep(sender_module.GATHER_S)
                places, nats = list(item[0]), item[1].wait()
                while not self._queue.empty() and (item := self._queue.get()) is not None:
                    places += item[0]
                    nats = nats + item[1].wait()
                for frame in encode_values(self._token, places, nats):
                    file.write(LENGTH.pack(len(frame)) + frame)
                item = item and self._queue.get()


class Nothing:
    def put(self, places: list[tuple[str, int]], entropies: Arrived) -> None:
        pass

    close = Spool.close


class SpoolReader:
    """The collector's side of a spool file."""

    def __init__(self, path: Path, token: bytes) -> None:
        self._file, self._token, self._rest, self.table = open(path, "rb"), token, b"", ValueTable()  # noqa: SIM115

    def read(self) -> None:
        content, at = self._rest + self._file.read(), 0
        while len(content) >= at + LENGTH.size:
            (length,) = LENGTH.unpack_from(content, at)
            if len(content) < at + LENGTH.size + length:
                break
            at += LENGTH.size + length
            values = decode(self._token, content[at - length : at])
            assert isinstance(values, list)
            self.table.add(values)
        self._rest = content[at:]


def collect(way: str, job: Job, path: Path, marks: list[str], count: int, pipe: Any) -> None:
    """The collector's process: takes the marked keys as they come, then all; sends delays and its CPU time."""
    collector = Collector(job) if way == "messages" else None
    reader = SpoolReader(path, job.token) if way == "spool file" else None
    pipe.send("ready")
    started, seen = time.process_time(), {}
    if collector is not None:
        for key in marks:
            collector.take({key: 1}, 60.0)
            seen[key] = time.monotonic()
        while collector.status()["values_received"] < count:
            time.sleep(POLL_S)
    elif reader is not None:
        while reader.table.received < count:
            reader.read()
            now = time.monotonic()
            for key in marks:
                if key not in seen and not reader.table.missing_of({key: 1}):
                    seen[key] = now
            time.sleep(POLL_S)
    pipe.send((time.process_time() - started, seen, collector.status()["messages"] if collector else 0))
    if collector is not None:
        collector.close()


def measure(way: str, steps: int, per_step: int) -> dict[str, float]:
    """One round: CPU seconds of either process, bytes, and the median delay in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spool"
        path.touch()
        job = Job(new_token(), new_local_address())
        keys = [f"{number:032x}" for number in range(steps * per_step)]
        # Of every hundredth step the last value is waited for.
        marks = [keys[(step + 1) * per_step - 1] for step in range(0, steps, 100)]
        here, there = multiprocessing.Pipe()
        count = 0 if way == "nothing" else steps * per_step
        child = multiprocessing.get_context("spawn").Process(
            target=collect, args=(way, job, path, marks, count, there)
        )
        child.start()
        here.recv()
        sender: Any = Nothing()
        if way == "messages":
            sender = Sender(job, Hello("node", 1, "0", "runner", "0"))
        elif way == "spool file":
            sender = Spool(path, job.token)
        put = {}
        started = time.process_time()
        for step in range(steps):
            some = keys[step * per_step : (step + 1) * per_step]
            put[some[-1]] = time.monotonic()
            sender.put([(key, 0) for key in some], Arrived(per_step))
            time.sleep(STEP_S)
        cpu = time.process_time() - started
        collector_cpu, seen, messages = here.recv()
        if way != "nothing":
            sender.close()
        child.join()
        size = path.stat().st_size
        if way == "messages":  # each with a code and its kind
            size = count * VALUE.size + messages * (MAC_BYTES + 1)
        delays = [seen[key] - put[key] for key in marks if key in seen]
        return {
            "worker": cpu,
            "collector": collector_cpu,
            "bytes": size / (steps * per_step),
            "delay": statistics.median(delays) if delays else 0.0,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--gather", type=float, default=sender_module.GATHER_S, metavar="SECONDS")
    args = parser.parse_args()
    sender_module.GATHER_S = args.gather
    import zmq  # so that no round pays for it

    versions = f"Python {platform.python_version()}, pyzmq {zmq.__version__}"
    print(f"{versions}, load {os.getloadavg()[0]:.1f}, {args.rounds} rounds of {args.steps} steps")
    print(
        "| values a step | way | bytes a value | worker, us a step | collector, us a step | can be taken after |"
    )
    print("|---|---|---|---|---|---|")
    for per_step in (1, 8, 64):
        rounds: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for number in range(args.rounds):
            for way in WAYS if number % 2 else reversed(WAYS):
                rounds[way].append(measure(way, args.steps, per_step))

        def median(way: str, name: str) -> float:
            return statistics.median(found[name] for found in rounds[way])  # noqa: B023

        for way in WAYS[1:]:
            worker = 1e6 * (median(way, "worker") - median("nothing", "worker")) / args.steps
            collector = 1e6 * median(way, "collector") / args.steps
            print(
                f"| {per_step} | {way} | {median(way, 'bytes'):.1f} | {worker:.0f} | {collector:.0f} | "
                f"{1e3 * median(way, 'delay'):.1f} ms |",
                flush=True,
            )


if __name__ == "__main__":
    main()
