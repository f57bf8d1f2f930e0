"""A rank's hold on a recording directory, and the journal of the runs that recorded there.

Each rank keeps one hidden file in the directory. A lock on it, which ends with the process however it ends,
keeps two jobs from recording into one directory. Its lines say when a recorder was started (`run`) and which
step that run recorded first; from that step on, what earlier runs recorded is out of date.
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
# RunLog have up to nine digits in a shard's name.
MAX_RUN = 10**9 - 1
# The file system has no locks (some NFS and Lustre mounts).
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM}


@dataclass
class RunLog:
    """What one rank's journal says: its last start, and the first step that each run recorded."""

    run: int = -1
    dp_size: int = 0
    holder: str = "another process"
    first: dict[int, StepKey] = field(default_factory=dict)

    def is_current(self, key: StepKey, run: int) -> bool:
        """True if no later run has recorded `key` anew, nor may the last one be about to."""
        later = [first for r, first in self.first.items() if run < r <= self.run]
        return all(key < first for first in later) and (self.run <= run or self.run in self.first)

    def covers(self, key: StepKey, run: int, dp_size: int) -> bool:
        """True if what `run` recorded of `key` goes with what a job of `dp_size` ranks has recorded of it."""
        return self.dp_size == dp_size and self.is_current(key, run)


def parse_run_log(text: bytes) -> RunLog:
    """A journal's runs. A line cut short by a death or a full disk is passed over."""
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
            # A record without the key is of run 0, and a file that cannot be read is in nobody's way.
            runs.append(0)
            with contextlib.suppress(OSError), open(path, "rb") as file:
                file.seek(max(os.fstat(file.fileno()).st_size - TAIL_BYTES, 0))
                runs += map(int, _RUN.findall(file.read()))
    return max(runs)


class RankLock:
    """This process's hold on `directory` as data-parallel rank `rank` of `dp_size`, until `release`.

    `run` tells how often a recorder had been started in the directory before; a rank that is new to it goes
    by the other ranks, the first by the step files that are there; `run` is never below `at_least`.
    Raises UserError if another process holds the rank's place, and OSError.
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
            # A second recorder in one process shares the lock: a duplicated descriptor keeps it held.
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
        # Ranks of one job agree without asking: of the same world size, they start the same run; of another
        # world size, they belong to a job before.
        seen = [
            h.run + (h.dp_size != dp_size) for r, h in runs_by_rank.items() if r != self.rank and h.run >= 0
        ]
        if own.run < 0 and not seen:
            # Perhaps step files whose journals stayed behind, as with `cp DIR/*`.
            seen = [highest_run(directory) + 1]
        self.run = max([at_least, own.run + 1, *seen])
        self.append({"run": self.run, "dp_size": dp_size, "host": socket.gethostname(), "pid": os.getpid()})
        for name in os.listdir(directory):
            if is_temporary_of(name, self.rank):
                (directory / name).unlink(missing_ok=True)

    def first_step(self, key: StepKey) -> None:
        """Notes that this run recorded `key` first. Raises OSError."""
        self.append({"run": self.run, "first": list(key)})

    def append(self, entry: dict[str, object]) -> None:
        # The leading newline ends a line that was cut short.
        line = b"\n" + orjson.dumps(entry) + b"\n"
        if os.write(self._fd, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        os.fsync(self._fd)

    def is_valid(self) -> bool:
        """False once released, or when the journal was removed, as with its directory."""
        try:
            return self._fd >= 0 and os.path.samestat(os.fstat(self._fd), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _same_file(self, other: RankLock) -> bool:
        return os.path.samestat(os.fstat(self._fd), os.fstat(other._fd))

    def release(self) -> None:
        """Gives the place up. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


_RANK_LOCKS: weakref.WeakSet[RankLock] = weakref.WeakSet()


def _release_in_child() -> None:
    # A forked child would keep the lock alive after its parent's death.
    for lock in list(_RANK_LOCKS):
        lock.release()


os.register_at_fork(after_in_child=_release_in_child)
