"""Joins the shards of a step into its one file, as soon as some rank finds that all are there.

No rank waits for another: each looks after its own flush, and the one that gets the lock joins. A join may die at
any point: the joined file appears by one rename, and its shards are removed only then. Their names are never used
again. Until they are removed, a reader takes the newest version of each rank.
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
    """Remove shards whose records are in a newer file. Raises OSError."""
    for shard in shards:
        (directory / shard.file_name).unlink(missing_ok=True)


def consolidate(directory: Path, rank: int, dp_size: int, now: StepKey | None) -> None:
    """Join every step whose shards are all there, unless another rank is joining.

    `now` is the step that the ranks are recording. It is joined only when all ranks have made equally many calls;
    None says that no further call will come. Raises OSError.
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
                except OSError as error:  # a directory may have this step's name
                    last_error = error
            tried.update(candidates)
        # A rank that found the lock taken has left its step to us, so look again.
    if last_error is not None:
        raise last_error


def _candidates(directory: Path, dp_size: int, now: StepKey | None) -> set[Shard]:
    """The shards of the steps that are complete by their files' names."""
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
    """Yields True if this process is the one that joins."""
    fd = os.open(directory / ".entropy_recorder.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # taken; or the file system has no locks, and shards are not joined
            yield False
        else:
            yield True
    finally:
        os.close(fd)


def _join(
    directory: Path, shards: list[Shard], rank: int, dp_size: int, runs_by_rank: Mapping[int, RunLog]
) -> None:
    """Join the newest version of each rank's records of a step, if no rank is missing or out of date."""
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
        return  # a rank has replaced its shard meanwhile, and joins the step itself
    except ValueError as error:
        _warn_changed(path, error)
        return
    # Delete superseded shards first: if we die half-way, the rest must not look like a complete old set.
    remove_shards(directory, sorted(shards, key=lambda shard: newest.get(shard.rank) == shard))


def _warn_changed(path: Path, error: Exception) -> None:
    logger.warning(
        "entropy recorder: %s or one of its shards was changed and is left as it is: %s",
        printable(path), printable(error),
    )  # fmt: skip


def _split_by_rank(path: Path) -> tuple[dict[int, list[bytes]], dict[int, Version]]:
    """The records of a joined file as JSON, and their version, by rank."""
    records: dict[int, list[bytes]] = {}
    versions: dict[int, Version] = {}
    for record in orjson.loads(path.read_bytes()):
        rank = record.get("dp_rank", 0)
        version = Version(record.get("run", 0), record.get("call", 0))
        records.setdefault(rank, []).append(orjson.dumps(record))
        versions[rank] = max(version, versions.get(rank, version))
    return records, versions
