"""In an API server's process: the thread that tells the recorder of turns, and the way to ask it something.

The server waits for nothing: long messages are parsed and hashed in the thread, and what does not fit into its queue
is dropped and counted.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.live.job import COLLECTOR, Job
from arpo_entropy_recorder.live.serve.turns import Ask, FrontReport, Told, Turn, seal
from arpo_entropy_recorder.recorder.guard import is_failure, warn

logger = logging.getLogger(__name__)

MAX_TURNS_WAITING = 4096
# What may wait, by `OpenTurn.size`; a prompt that many turns share counts each time.
MAX_BYTES_WAITING = 160_000_000
SEND_TIMEOUT_MS = 1000
HELLO_SECONDS = 10.0
ANSWER_TIMEOUT_MS = 30_000
# How long a question waits for the turns that are to be told before it.
DRAIN_S = {"flush": 30.0, "status": 2.0}

Work = Callable[[], Turn | None]


def local_addresses(job: Job) -> tuple[str, str]:
    """Where the recorder hears of turns, and where it answers: sockets in the folder of the job's collector.

    Raises UserError where the collector has none.
    """
    if not job.address.startswith("ipc://"):
        raise UserError(
            f"{COLLECTOR}={job.address}: an API server is recorded on its own machine; use ipc://"
        )
    folder = Path(job.address.removeprefix("ipc://")).parent
    return f"ipc://{folder}/turns", f"ipc://{folder}/asks"


class Channel:
    """To the recorder. `report` is what is told of this process with each turn and every few seconds."""

    def __init__(self, job: Job, report: FrontReport) -> None:
        self._token = job.token
        self._turns_at, self._asks_at = local_addresses(job)
        self.report = report
        self.passed: Counter[str] = Counter()
        self._queue: queue.Queue[tuple[Work, int] | threading.Event | None] = queue.Queue(MAX_TURNS_WAITING)
        self._waiting = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="arpo-entropy-front", daemon=True)
        self._thread.start()

    def put(self, work: Work, size: int) -> None:
        """Have the thread make a turn, of this many bytes, and send it. Returns at once."""
        with self._lock:
            if self._waiting + size <= MAX_BYTES_WAITING:
                try:
                    self._queue.put_nowait((work, size))
                except queue.Full:
                    pass
                else:
                    self._waiting += size
                    return
        self._drop()

    def ask(self, question: Ask) -> dict[str, Any]:
        """The recorder's answer, once it has been told what waits here. Blocks.

        Raises TimeoutError, also where turns still wait that belong into what a flush writes.
        """
        import zmq

        if not self._drain(DRAIN_S[question.what]) and question.what == "flush":
            raise TimeoutError("turns still wait to be told; flush again")
        with _socket(zmq.REQ) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.SNDTIMEO, SEND_TIMEOUT_MS)
            socket.setsockopt(zmq.RCVTIMEO, ANSWER_TIMEOUT_MS)
            socket.connect(self._asks_at)
            try:
                socket.send(seal(self._token, question))
                return msgspec.json.decode(socket.recv())
            except zmq.Again:
                raise TimeoutError("the recorder does not answer") from None

    def _drain(self, timeout_s: float) -> bool:
        """Wait until what is in the queue has been sent; whether it has."""
        told = threading.Event()
        try:
            self._queue.put(told, timeout=timeout_s)
        except queue.Full:
            return False
        return told.wait(timeout_s)

    def close(self, timeout_s: float = 3.0) -> None:
        """Send what waits, and end the thread."""
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    def _run(self) -> None:
        import zmq

        try:
            with _socket(zmq.PUSH) as socket:
                socket.setsockopt(zmq.SNDTIMEO, SEND_TIMEOUT_MS)
                socket.setsockopt(zmq.LINGER, SEND_TIMEOUT_MS)
                socket.connect(self._turns_at)
                self._serve(socket)
        except Exception:
            warn(logger, "an API server's turns are no longer recorded", exc_info=True)

    def _serve(self, socket: Any) -> None:
        next_hello = 0.0
        while True:
            now = time.monotonic()
            if now >= next_hello:
                self._send(socket, None)
                next_hello = now + HELLO_SECONDS
            try:
                item = self._queue.get(timeout=next_hello - now)
            except queue.Empty:
                continue
            if item is None:
                self._send(socket, None)
                return
            if isinstance(item, threading.Event):
                self._send(socket, None)
                item.set()
                continue
            work, size = item
            self._make(socket, work)
            with self._lock:
                self._waiting -= size

    def _make(self, socket: Any, work: Work) -> None:
        try:
            if (turn := work()) is not None:
                self._send(socket, turn)
        except BaseException as error:
            if not is_failure(error):
                raise
            self.fail("a turn could not be told")

    def _send(self, socket: Any, turn: Turn | None) -> None:
        import zmq

        self.report.passed = dict(self.passed)
        try:
            socket.send(seal(self._token, Told(self.report, turn)))
        except zmq.Again:
            if turn is not None:
                self._drop()

    def _drop(self) -> None:
        with self._lock:
            self.report.dropped += 1
            is_first = self.report.dropped == 1
        if is_first:
            warn(logger, "turns are dropped, as too many wait to be told; said once, counted in the status")

    def fail(self, what: str) -> None:
        """Count a failure; the first one is logged with its traceback."""
        self.report.failures += 1
        if self.report.failures == 1:
            warn(logger, "%s; requests are served, and this is said once", what, exc_info=True)


def _socket(kind: int) -> Any:
    import zmq

    # Not the process's own context, which vLLM ends at its will.
    return zmq.Context().socket(kind)


def new_report() -> FrontReport:
    """Of this process."""
    return FrontReport(os.getpid())
