"""A rank's lock on a recording directory, and its log of the runs that recorded there.

Each rank keeps one hidden file in the directory. A lock on it keeps two jobs from recording into one directory; the
lock ends with the process. Its lines say that a recorder was started (`run`) and which step that run recorded
first. From that step on, records of earlier runs are out of date.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import socket
import weakref
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.step_files.names import Shard, StepKey, is_temporary_of, parse_name

logger = logging.getLogger(__name__)

_NAME = re.compile(r"\.entropy_recorder\.dp(\d+)", re.ASCII)
_RUN = re.compile(rb'"run":\s*(\d{1,9})\b')
# `run` is among a record's last keys.
TAIL_BYTES = 4096
# A run has up to nine digits in a shard's name.
MAX_RUN = 10**9 - 1
# The file system has no locks (some NFS and Lustre mounts).
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM}


@dataclass
class RunLog:
    """One rank's log: its last start, and the first step that each run recorded."""

    run: int = -1
    dp_size: int = 0
    holder: str = "another process"
    first: dict[int, StepKey] = field(default_factory=dict)

    def is_current(self, key: StepKey, run: int) -> bool:
        """True if no later run has recorded `key` again, and the last run is not about to."""
        later = [first for r, first in self.first.items() if run < r <= self.run]
        return all(key < first for first in later) and (self.run <= run or self.run in self.first)

    def covers(self, key: StepKey, run: int, dp_size: int) -> bool:
        """True if `run` recorded `key` as a part of the current job, of `dp_size` ranks."""
        return self.dp_size == dp_size and self.is_current(key, run)


def parse_run_log(text: bytes) -> RunLog:
    """The runs in a log. Lines cut short, by a killed job or a full disk, are skipped."""
    runs = RunLog()
    for line in text.splitlines():
        try:
            entry = orjson.loads(line)
            run = int(entry["run"])
            if not 0 <= run < MAX_RUN:
                continue
            if "first" in entry:
                runs.first[run] = StepKey(*entry["first"])
            else:
                runs.run, runs.dp_size = run, int(entry["dp_size"])
                runs.holder = f"process {int(entry['pid'])} on {entry['host']}"
        except (ValueError, KeyError, TypeError):
            continue
    return runs


def read_run_logs(directory: Path) -> dict[int, RunLog]:
    """The runs of every rank that ever recorded in `directory`. Raises OSError."""
    names = [match for match in map(_NAME.fullmatch, os.listdir(directory)) if match]
    return {int(match[1]): parse_run_log((directory / match[0]).read_bytes()) for match in names}


def highest_run(directory: Path) -> int:
    """The highest run of the step files in `directory`, by names and last records; -1 without any. Raises OSError."""
    runs = [-1]
    for name in os.listdir(directory):
        parsed, path = parse_name(name), directory / name
        if isinstance(parsed, Shard):
            runs.append(parsed.version.run)
        elif parsed is not None and path.is_file():
            # A record without the key is of run 0. A file that cannot be read is skipped.
            runs.append(0)
            with contextlib.suppress(OSError), open(path, "rb") as file:
                file.seek(max(os.fstat(file.fileno()).st_size - TAIL_BYTES, 0))
                runs += map(int, _RUN.findall(file.read()))
    return max(runs)


class RankLock:
    """This process's lock on `directory` as data-parallel rank `rank` of `dp_size`, until `release`.

    `run` is how often a recorder had been started in the directory before. A rank without a log takes the other
    ranks' run; without any log it is above the runs in the step files. `run` is never below `at_least`.
    Raises UserError if another process holds the lock, and OSError.
    """

    def __init__(self, directory: Path, rank: int, dp_size: int, at_least: int = 0) -> None:
        self.rank = rank
        self._path = directory / f".entropy_recorder.dp{rank}"
        self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._lock(directory)
            self._start(directory, dp_size, at_least)
        except BaseException:
            self.release()
            raise
        _RANK_LOCKS.add(self)

    def _lock(self, directory: Path) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            mine = next((lock for lock in _RANK_LOCKS if lock.is_valid() and self._same_file(lock)), None)
            if mine is None:
                holder = parse_run_log(os.pread(self._fd, 1 << 20, 0)).holder
                raise UserError(
                    f"{printable(directory)}: {printable(holder)} is recording there as data-parallel rank "
                    f"{self.rank}; choose another entropy_save_dir or end that job"
                ) from None
            # A second recorder in this process shares the lock by a duplicate of its descriptor.
            os.close(self._fd)
            self._fd = os.dup(mine._fd)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            logger.warning(
                "entropy recorder: %s has no file locks: two jobs there are not kept apart, and shards not joined",
                printable(directory),
            )

    def _start(self, directory: Path, dp_size: int, at_least: int) -> None:
        runs_by_rank = read_run_logs(directory)
        own = runs_by_rank.get(self.rank, RunLog())
        # Ranks of one job agree without communicating: logs of the same world size belong to this job's run,
        # logs of another one to an earlier job.
        seen = [
            h.run + (h.dp_size != dp_size) for r, h in runs_by_rank.items() if r != self.rank and h.run >= 0
        ]
        if own.run < 0 and not seen:
            # There may be step files without their logs, which `cp DIR/*` leaves behind.
            seen = [highest_run(directory) + 1]
        self.run = max([at_least, own.run + 1, *seen])
        self.append({"run": self.run, "dp_size": dp_size, "host": socket.gethostname(), "pid": os.getpid()})
        for name in os.listdir(directory):
            if is_temporary_of(name, self.rank):
                (directory / name).unlink(missing_ok=True)

    def first_step(self, key: StepKey) -> None:
        """Log that this run recorded `key` first. Raises OSError."""
        self.append({"run": self.run, "first": list(key)})

    def append(self, entry: dict[str, object]) -> None:
        # The leading newline ends a line that was cut short.
        line = b"\n" + orjson.dumps(entry) + b"\n"
        if os.write(self._fd, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        os.fsync(self._fd)

    def is_valid(self) -> bool:
        """False once released, or if the log was removed, with its directory perhaps."""
        try:
            return self._fd >= 0 and os.path.samestat(os.fstat(self._fd), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _same_file(self, other: RankLock) -> bool:
        return os.path.samestat(os.fstat(self._fd), os.fstat(other._fd))

    def remove_log(self) -> None:
        """Remove this rank's log, as if it had never recorded here. Raises OSError."""
        self._path.unlink()

    def release(self) -> None:
        """Release the lock. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


_RANK_LOCKS: weakref.WeakSet[RankLock] = weakref.WeakSet()


def _release_in_child() -> None:
    # A forked child would hold the lock after its parent's death.
    for lock in list(_RANK_LOCKS):
        lock.release()


os.register_at_fork(after_in_child=_release_in_child)
