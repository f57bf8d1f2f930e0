"""In an engine's worker: the thread that sends entropies to the job's collector. The engine never waits for it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.util import Finalize
from typing import Any, Protocol

import msgspec

from arpo_entropy_recorder.live.job import Job
from arpo_entropy_recorder.live.messages import MAX_VALUES, Hello, Lost, Place, encode_report, encode_values
from arpo_entropy_recorder.recorder.guard import warn

logger = logging.getLogger(__name__)

MAX_STEPS_WAITING = 1024
# Messages that may wait for a collector that does not read: at most 16 MiB.
MAX_MESSAGES_WAITING = 256
# How long the sender's thread then waits for room, while the next steps gather to one message.
SEND_TIMEOUT_MS = 500
# How long the values of a step wait for those of the next ones, to go with them: they are read when a trajectory or a
# step has ended, and a message costs both processes more than what is in it.
GATHER_S = 0.2
# A worker says hello at its start and then this often, so that a collector that comes late learns of it.
HELLO_SECONDS = 10.0
LINGER_MS = 1000
# How long a process that ends waits for what still gathers.
EXIT_S = 2.0


class Entropies(Protocol):
    """Entropies on their way to the host."""

    def wait(self) -> list[float]:
        """Wait until they are there; nats, NaN where there is none."""


class _Nothing:
    def wait(self) -> list[float]:
        return []


class Sender:
    """Sends from a thread of its own. What does not fit into its bounded queues is dropped and counted."""

    def __init__(self, job: Job, hello: Hello, counters: Callable[[], dict[str, float]] = dict) -> None:
        self._job, self._hello, self._tap_counters = job, hello, counters
        # Of the queues the one that costs the engine least; `put` keeps it bounded.
        self._queue: queue.SimpleQueue[tuple[list[Place], Entropies] | None] = queue.SimpleQueue()
        self._lost: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.sent = self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="arpo-entropy-sender", daemon=True)
        self._thread.start()
        # Not atexit, which a process that was forked by multiprocessing passes by.
        self._exit = Finalize(None, self.close, (EXIT_S,), exitpriority=10)

    def put(self, places: list[Place], entropies: Entropies) -> None:
        """Send the entropies of a step. Returns at once."""
        if self._queue.qsize() < MAX_STEPS_WAITING:
            self._queue.put((places, entropies))
        else:
            self.lose(len(places), "the sender's queue was full")

    def lose(self, count: int, reason: str) -> None:
        """Report `count` lost values (0: unknown), as soon as a message gets through."""
        with self._lock:
            self.dropped += count
            self._lost[reason] += count
        # Wakes the thread, since there may be no values any more; a full queue does so, too.
        if self._queue.qsize() < MAX_STEPS_WAITING:
            self._queue.put(([], _Nothing()))

    def close(self, timeout_s: float = 5.0) -> None:
        """Send what waits, and end the thread."""
        self._exit.cancel()
        self._queue.put(None)
        self._thread.join(timeout_s)

    def counters(self) -> dict[str, float]:
        """The tap's counters and the sender's."""
        return {**self._tap_counters(), "values_sent": self.sent, "values_dropped": self.dropped}

    def _run(self) -> None:
        try:
            with _socket(self._job.address) as socket:
                self._serve(socket)
            # Until what was handed to it has left, LINGER_MS at most.
            socket.context.term()
        except Exception:
            warn(logger, "the sender stopped; entropies are lost", exc_info=True)

    def _serve(self, socket: Any) -> None:
        next_hello, closing, is_behind = 0.0, False, False
        while not closing:
            now = time.monotonic()
            if now >= next_hello:
                self._say_hello(socket)
                self._report_lost(socket)
                next_hello = now + HELLO_SECONDS
            try:
                item = self._queue.get(timeout=next_hello - now)
            except queue.Empty:
                continue
            # What one message could not hold has waited long enough.
            if item is not None and not is_behind:
                time.sleep(GATHER_S)
            places: list[Place] = []
            nats: list[float] = []
            # With a step's values go those of the steps behind it, as far as one message holds them.
            while item is not None:
                self._arrive(*item, places, nats)
                if len(places) >= MAX_VALUES or self._queue.empty():
                    break
                item = self._queue.get()
            closing, is_behind = item is None, len(places) >= MAX_VALUES
            self._send_values(socket, places, nats)
            self._report_lost(socket)
        self._say_hello(socket, ended=True)

    def _arrive(
        self, step: list[Place], entropies: Entropies, places: list[Place], nats: list[float]
    ) -> None:
        """Append a step's places and nats, once these are on the host."""
        try:
            nats += entropies.wait()
            places += step
        except Exception as error:
            self.lose(len(step), f"no copy to the host: {type(error).__name__}")

    def _send_values(self, socket: Any, places: list[Place], nats: list[float]) -> None:
        first = 0
        for frame in encode_values(self._job.token, places, nats):
            count = min(MAX_VALUES, len(places) - first)
            first += count
            if _sent(socket, frame):
                self.sent += count
            else:
                self.lose(count, "the collector did not read")

    def _report_lost(self, socket: Any) -> None:
        with self._lock:
            lost, self._lost = self._lost, Counter()
        for reason, count in lost.items():
            if not self._report(socket, Lost(count, reason)):
                with self._lock:
                    self._lost[reason] += count

    def _say_hello(self, socket: Any, ended: bool = False) -> None:
        self._report(socket, msgspec.structs.replace(self._hello, counters=self.counters(), ended=ended))

    def _report(self, socket: Any, report: Hello | Lost) -> bool:
        return _sent(socket, encode_report(self._job.token, report))


def _socket(address: str) -> Any:
    """A PUSH socket: it connects in the background, and again after its collector was restarted."""
    import zmq

    socket = zmq.Context().socket(zmq.PUSH)
    socket.setsockopt(zmq.SNDHWM, MAX_MESSAGES_WAITING)
    socket.setsockopt(zmq.SNDTIMEO, SEND_TIMEOUT_MS)
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.IPV6, int("[" in address))
    socket.connect(address)
    return socket


def _sent(socket: Any, frame: bytes) -> bool:
    import zmq

    try:
        socket.send(frame)
    except zmq.Again:
        return False
    return True
