"""The job's one collector: receives from the workers of all engines, and hands values out by request key."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.live.job import COLLECTOR, Job
from arpo_entropy_recorder.live.messages import MAX_FRAME, BadMessage, Hello, Lost, decode
from arpo_entropy_recorder.live.values import MAX_KEYS, MAX_POSITIONS, ValueTable
from arpo_entropy_recorder.recorder.guard import warn

logger = logging.getLogger(__name__)

# How long the receiving thread may take to see that it shall end.
POLL_MS = 200
# Those who wait for values look again at most this often.
LOOK_AGAIN_S = 0.02
MAX_WORKERS, MAX_REASONS = 10_000, 100


class Collector:
    """Listens at the job's address from the moment it is made; `address` says where, if the job left the port open.

    Its methods may be called from several threads. Raises UserError if it cannot listen there.
    """

    def __init__(self, job: Job, max_keys: int = MAX_KEYS, max_positions: int = MAX_POSITIONS) -> None:
        self._token = job.token
        self._table = ValueTable(max_keys, max_positions)
        self._changed = threading.Condition()
        self._workers: dict[tuple[str, int], tuple[Hello, float]] = {}
        self._lost: Counter[str] = Counter()
        self._bad = self._messages = 0
        self._closing = threading.Event()
        self._socket = _listen(job.address)
        self.address: str = self._socket.last_endpoint.decode()
        self._thread = threading.Thread(target=self._run, name="arpo-entropy-collector", daemon=True)
        self._thread.start()

    def take(self, wanted: Mapping[str, int], timeout_s: float) -> dict[str, list[float | None]]:
        """The nats of each request key's first positions, waiting at most `timeout_s` for those that are missing.

        wanted: for each key the number of its positions; 0 only forgets the key. Returns a list of that length for
        each, None where no value came or where there is no entropy. What is taken is forgotten.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            missing = self._table.missing_of(wanted)
            while missing and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
                missing = self._table.missing_of(missing)
                if missing:
                    # Messages come by the thousand: let some gather.
                    self._changed.wait(min(LOOK_AGAIN_S, max(0.0, deadline - time.monotonic())))
                    # The last ones may just have come; nothing would tell of them again.
                    missing = self._table.missing_of(missing)
            return self._table.take(wanted)

    def status(self) -> dict[str, Any]:
        """Counters, losses that workers reported, and the workers with the seconds since their last hello."""
        with self._changed:
            now = time.monotonic()
            return {
                **self._table.counters(),
                "messages": self._messages,
                "messages_refused": self._bad,
                "lost": dict(self._lost),
                "workers": [
                    {**msgspec.structs.asdict(hello), "seconds_ago": now - seen}
                    for hello, seen in self._workers.values()
                ],
            }

    def close(self) -> None:
        """Stop listening. What is there can still be taken."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        import zmq

        with self._socket as socket:
            while not self._closing.is_set():
                try:
                    frame = socket.recv()
                except zmq.Again:
                    continue
                try:
                    self._enter(frame)
                except Exception:
                    warn(logger, "a message could not be entered", exc_info=True)

    def _enter(self, frame: bytes) -> None:
        with self._changed:
            self._messages += 1
            try:
                content = decode(self._token, frame)
            except BadMessage:
                self._bad += 1
                return
            if isinstance(content, Hello):
                place = (content.host, content.pid)
                if place in self._workers or len(self._workers) < MAX_WORKERS:
                    self._workers[place] = (content, time.monotonic())
            elif isinstance(content, Lost):
                if content.reason in self._lost or len(self._lost) < MAX_REASONS:
                    self._lost[content.reason] += content.count
            else:
                self._table.add(content)
                self._changed.notify_all()


def _listen(address: str) -> Any:
    import zmq

    if address.startswith("ipc://"):
        _check_folder(Path(address.removeprefix("ipc://")).parent)
    socket = zmq.Context().socket(zmq.PULL)
    try:
        socket.setsockopt(zmq.RCVTIMEO, POLL_MS)
        # ZeroMQ closes the connection of whoever sends more.
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME)
        socket.setsockopt(zmq.IPV6, int("[" in address))
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close()
        raise UserError(
            f"{COLLECTOR}={address}: cannot listen there: {error}; name another address"
        ) from error
    return socket


def _check_folder(folder: Path) -> None:
    """Raise UserError unless nobody else can enter the folder of a socket."""
    try:
        mode = folder.stat().st_mode
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; make it first, with the mode 0700") from error
    if mode & 0o077:
        raise UserError(f"{folder}: others can enter it; give it the mode 0700")
