"""Joins the shards of a step into its one file, as soon as some rank finds all of them present.

No rank waits for another: each looks after its own flush, and whoever gets the lock joins. A join can die
anywhere: the joined file appears by one rename, and only then are the shards in it removed, by names that are
never used again. Until then, and if a removal was missed, a reader prefers the newer version of each rank.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import orjson

from arpo_entropy_recorder.atomic import write_file
from arpo_entropy_recorder.errors import printable
from arpo_entropy_recorder.step_files.encode import body, file_parts
from arpo_entropy_recorder.step_files.names import (
    Shard,
    StepKey,
    Version,
    list_shards,
    newest_by_rank,
    temporary_name,
)
from arpo_entropy_recorder.step_files.run_log import RunLog, read_run_logs

logger = logging.getLogger(__name__)


def remove_shards(directory: Path, shards: Iterable[Shard]) -> None:
    """Removes shards whose records are in a newer file. Raises OSError."""
    for shard in shards:
        (directory / shard.file_name).unlink(missing_ok=True)


def consolidate(directory: Path, rank: int, dp_size: int, now: StepKey | None) -> None:
    """Joins every step of which all shards are present, unless another rank is at it.

    `now` is the step that the ranks are recording: it waits until all ranks have made equally many calls; at
    None, no further call is to come. Raises OSError.
    """
    tried: set[Shard] = set()
    last_error: OSError | None = None
    while not tried.issuperset(_candidates(directory, dp_size, now)):
        with _lock(directory) as locked:
            if not locked:
                return
            candidates = _candidates(directory, dp_size, now)
            runs_by_rank = read_run_logs(directory)
            for key in sorted({shard.key for shard in candidates}):
                try:
                    _join(directory, [s for s in candidates if s.key == key], rank, dp_size, runs_by_rank)
                except OSError as error:  # one step's name may be taken
                    last_error = error
            tried.update(candidates)
        # Who found the lock taken has gone and left its step to us: look again.
    if last_error is not None:
        raise last_error


def _candidates(directory: Path, dp_size: int, now: StepKey | None) -> set[Shard]:
    """The shards of the steps that may be whole, as far as names tell."""
    candidates: set[Shard] = set()
    for key, shards in list_shards(directory).items():
        own = newest_by_rank(shard for shard in shards if shard.size == dp_size)
        if len(own) == dp_size:
            settled = key != now or len({shard.version.call for shard in own.values()}) == 1
        else:
            settled = bool(own) and key != now and (directory / key.file_name).exists()
        if settled:
            candidates.update(shards)
    return candidates


@contextlib.contextmanager
def _lock(directory: Path) -> Iterator[bool]:
    """Whether this process got to be the one that joins."""
    fd = os.open(directory / ".entropy_recorder.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # taken, or a file system without locks, where shards stay shards
            yield False
        else:
            yield True
    finally:
        os.close(fd)


def _join(
    directory: Path, shards: list[Shard], rank: int, dp_size: int, runs_by_rank: Mapping[int, RunLog]
) -> None:
    """Joins the newest version of each rank's records of a step, if no rank is missing or out of date."""
    key = shards[0].key
    newest = newest_by_rank(shard for shard in shards if shard.size == dp_size)
    versions = {r: shard.version for r, shard in newest.items()}
    path = directory / key.file_name
    joined: dict[int, list[bytes]] = {}
    if len(newest) < dp_size:
        try:
            joined, joined_versions = _split_by_rank(path)
        except FileNotFoundError:
            return
        except (ValueError, TypeError, AttributeError) as error:
            _warn_changed(path, error)
            return
        for r, version in joined_versions.items():
            versions[r] = max(version, versions.get(r, version))
            if version == versions[r]:
                newest.pop(r, None)
    for r in range(dp_size):
        if r not in versions:
            return
        if r in runs_by_rank and not runs_by_rank[r].covers(key, versions[r].run, dp_size):
            return

    def texts() -> Iterator[bytes]:
        for r in range(dp_size):
            if r in newest:
                yield body((directory / newest[r].file_name).read_bytes())
            else:
                yield b",\n".join(joined[r])

    try:
        write_file(path, file_parts(texts()), temporary_name(path.name, rank))
    except FileNotFoundError:
        return  # a rank replaced its shard by a newer one meanwhile, and looks after it itself
    except ValueError as error:
        _warn_changed(path, error)
        return
    # What is not newest first: a removal cut short must not leave a set of shards that is whole and old.
    remove_shards(directory, sorted(shards, key=lambda shard: newest.get(shard.rank) == shard))


def _warn_changed(path: Path, error: Exception) -> None:
    logger.warning(
        "entropy recorder: %s or a shard of it was changed by someone and is left as it is: %s",
        printable(path), printable(error),
    )  # fmt: skip


def _split_by_rank(path: Path) -> tuple[dict[int, list[bytes]], dict[int, Version]]:
    """The records of a joined file as JSON, and how new they are, by rank."""
    records: dict[int, list[bytes]] = {}
    versions: dict[int, Version] = {}
    for record in orjson.loads(path.read_bytes()):
        rank = record.get("dp_rank", 0)
        version = Version(record.get("run", 0), record.get("call", 0))
        records.setdefault(rank, []).append(orjson.dumps(record))
        versions[rank] = max(version, versions.get(rank, version))
    return records, versions
