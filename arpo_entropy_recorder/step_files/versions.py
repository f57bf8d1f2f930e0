"""Which of a step's records are current, where several runs and ranks have recorded it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from arpo_entropy_recorder.step_files.decode import Columns, concatenate
from arpo_entropy_recorder.step_files.find import in_both, key_of
from arpo_entropy_recorder.step_files.names import Shard, StepKey, Version, newest_by_rank, parse_name
from arpo_entropy_recorder.step_files.run_log import read_run_logs


def assemble(files: Sequence[Path], columns_of: Callable[[Path], Columns]) -> tuple[Columns, tuple[int, ...]]:
    """The newest records of each rank, by rank, and the ranks that are missing, of one step's `files`.

    `columns_of` decodes a file. Raises what it raises: ReadError, or FileNotFoundError if a file is gone. Raises
    ReadError for two whole files, as entropy_step_1.json and entropy_step_01.json: nothing tells which is the newer.
    """
    directory = files[0].parent
    parsed = [(file, parse_name(file.name)) for file in files]
    shards = [name for _, name in parsed if isinstance(name, Shard)]
    whole = [file for file, name in parsed if isinstance(name, StepKey)]
    if len(whole) > 1:
        raise in_both(whole[1], whole[0], key_of(whole[0]).global_step)
    columns = columns_of(whole[0]) if whole else concatenate([])
    versions = _versions(columns)
    # A rank that is not in the whole file belongs to the step, unless its shard is of an earlier run.
    oldest = Version(min((version.run for version in versions.values()), default=-1), -1)
    newer = [shard for shard in shards if shard.version > versions.get(shard.rank, oldest)]
    if not newer:
        return columns, ()
    newest_run, dp_size = max((shard.version.run, shard.size) for shard in newer)
    newest = newest_by_rank(shard for shard in newer if shard.size == dp_size)
    versions |= {rank: shard.version for rank, shard in newest.items()}
    present = _current(versions, directory, newer[0].key, newest_run, dp_size)
    parts = []
    for rank in sorted(present):
        if rank in newest:
            parts.append(columns_of(directory / newest[rank].file_name))
        else:
            rows = _ranks(columns) == rank
            parts.append({name: column[rows] for name, column in columns.items()})
    return concatenate(parts), tuple(sorted(set(range(dp_size)) - present))


def is_stale(columns: Columns, highest: dict[int, int]) -> bool:
    """True if a rank's run is below its highest of the steps before. Updates `highest`, by rank."""
    stale = False
    for rank, version in _versions(columns).items():
        stale |= version.run < highest.get(rank, version.run)
        highest[rank] = max(version.run, highest.get(rank, version.run))
    return stale


def _current(
    versions: dict[int, Version], directory: Path, key: StepKey, newest_run: int, dp_size: int
) -> set[int]:
    """The ranks whose version of a step is current; a resumed job is going to replace the others."""
    if all(version.run == newest_run for version in versions.values()):
        return set(versions)
    try:
        runs_by_rank = read_run_logs(directory)
    except OSError:
        runs_by_rank = {}
    # Ranks beyond the world size tell that the whole file is of a job of another size.
    resized = max(versions) >= dp_size
    return {
        rank
        for rank, version in versions.items()
        if version.run == newest_run
        or not (
            resized or (rank in runs_by_rank and not runs_by_rank[rank].covers(key, version.run, dp_size))
        )
    }


def _ranks(columns: Columns) -> np.ndarray:
    return columns.get("dp_rank", np.zeros(len(columns["entropy"]), np.int64))


def _versions(columns: Columns) -> dict[int, Version]:
    """How new each rank's records are."""
    ranks = _ranks(columns)
    zeros = np.zeros(len(ranks), np.int64)
    run, call = columns.get("run", zeros), columns.get("call", zeros)
    versions = {}
    for rank in np.unique(ranks):
        newest_run = run[ranks == rank].max()
        newest_call = call[(ranks == rank) & (run == newest_run)].max()
        versions[int(rank)] = Version(int(newest_run), int(newest_call))
    return versions
