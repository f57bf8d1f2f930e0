"""What a running job tells of itself: a small file beside its step files, which `arpo-entropy check` reads.

It names hosts, processes and engines and holds counts: no token, and nothing of prompts or completions.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from arpo_entropy_recorder.atomic import write_file
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.live.messages import Hello
from arpo_entropy_recorder.recorder.guard import warn
from arpo_entropy_recorder.step_files.names import STATUS_FILE

logger = logging.getLogger(__name__)

EVERY_S = 10.0
MAX_BYTES = 4_000_000
MAX_PROCESSES = 10_000


class Process(msgspec.Struct, frozen=True):
    """A process that has joined the job, and what it does in it."""

    host: str
    pid: int
    role: str


class Worker(Hello, frozen=True, kw_only=True):
    """An engine's worker, by what it said of itself `seconds_ago`."""

    seconds_ago: float


class Status(msgspec.Struct):
    """The job at the time `written`; times are in seconds since 1970.

    counts: of trajectories, records and nulls, see `LiveSteps.status`. values_received, messages, messages_refused:
    by the collector. cause: why entropies are null or an engine is not recorded; None where nothing is wrong.
    ended: the trainer has ended its log.
    """

    started: float
    written: float
    ended: bool
    host: str
    pid: int
    address: str
    processes: list[Process]
    workers: list[Worker]
    counts: dict[str, int]
    values_received: int
    messages: int
    messages_refused: int
    cause: str | None = None


class StatusFile:
    """Writes a job's status every EVERY_S seconds, from a thread of its own. An error is logged once."""

    def __init__(self, directory: Path, status: Callable[[], Status], every_s: float = EVERY_S) -> None:
        self._path, self._status = directory / STATUS_FILE, status
        self._every_s = every_s
        self._writing = threading.Lock()
        self._closing = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="arpo-entropy-status", daemon=True)
        self._thread.start()

    def write(self) -> None:
        """Write it now. Never raises."""
        with self._writing:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                content = msgspec.json.encode(self._status())
                write_file(self._path, [content], f".{STATUS_FILE}.{os.getpid()}.tmp")
            except Exception as error:
                if not self._failed:
                    warn(logger, "%s: not written: %s; records are", self._path, error)
                self._failed = True

    def close(self) -> None:
        """Write it once more, and end the thread."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(0.0):
            self.write()
            self._closing.wait(self._every_s)
        self.write()


def this_process(role: str) -> Process:
    """The process that calls this."""
    return Process(socket.gethostname(), os.getpid(), role)


def read_status(directory: Path) -> tuple[Status, float]:
    """The status of the job that records to `directory`, and its age in seconds by the file's time.

    Raises UserError where no job does.
    """
    path = directory / STATUS_FILE
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
            age = time.time() - os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        raise UserError(
            f"{directory}: no job records there (no {STATUS_FILE}); it appears once a process of the job has joined. "
            "Is this the job's ARPO_ENTROPY_DIR, and does its log say 'not recording'?"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; check the path") from error
    if len(content) > MAX_BYTES:
        raise UserError(
            f"{path}: longer than {MAX_BYTES:,} bytes, so it is no job's status; name the job's directory"
        )
    try:
        return msgspec.json.decode(content, type=Status), age
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not a job's status: {error}; name the job's directory") from error
