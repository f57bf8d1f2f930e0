"""Reads recorded steps, one at a time, whatever state their files are in: whole, in shards, or being joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np

from arpo_entropy_recorder.errors import printable
from arpo_entropy_recorder.step_files.decode import Columns, ReadError, concatenate, decode
from arpo_entropy_recorder.step_files.find import find_files, key_of, list_step_files, missing, read_bytes
from arpo_entropy_recorder.step_files.names import Shard, StepKey, Version, newest_by_rank, parse_name
from arpo_entropy_recorder.step_files.run_log import read_run_logs

__all__ = ["ReadError", "Step", "find_files", "read_steps"]


@dataclass
class Step:
    """The records of one step as columns by schema key (see `decode` for their dtypes).

    `stale` tells that a later run went back to an earlier step and has not recorded this one again yet, by the
    training steps alone or, for a validation, by the validations alone;
    `missing_ranks` are the data-parallel ranks that have recorded nothing of it.
    """

    global_step: int
    validate: bool
    columns: Columns
    path: Path | None = None
    stale: bool = False
    missing_ranks: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.columns["entropy"])

    @cached_property
    def trajectories(self) -> tuple[np.ndarray, np.ndarray]:
        """Each record's trajectory as a number, int64[n], and where each trajectory's first record is.

        A trajectory is known by its call, data-parallel rank and sample_idx; numbers are in that order.
        """
        columns, none = self.columns, np.full(len(self), -1)
        key = np.zeros(len(self), np.int64)
        for name in ("call", "dp_rank", "sample_idx"):
            values, code = np.unique(columns.get(name, none), return_inverse=True)
            key = key * len(values) + code
        _, first, number = np.unique(key, return_index=True, return_inverse=True)
        return number, first

    @cached_property
    def starts(self) -> np.ndarray:
        """True, bool[n], for a trajectory's first record if it comes before any tool result.

        What goes on after a length limit is of round 0 and after no tool either, but starts nothing.
        """
        is_first = np.zeros(len(self), bool)
        is_first[self.trajectories[1]] = True
        return is_first & (self.columns["round"] == 0) & ~self.columns["is_after_tool_call"]


def read_steps(
    paths: Sequence[str | Path],
    *,
    validate: bool | None = None,
    progress: Callable[[Path], object] | None = None,
) -> Iterator[Step]:
    """The steps in the files that `paths` name (see `find_files`), by directory and in the order of training.

    Holds one step in memory at a time. `progress` is called with each file of `find_files` when it is done.
    Raises ReadError.
    """
    for _, in_directory in groupby(find_files(paths, validate=validate), key=lambda file: file.parent):
        # A validation alone, as of an older checkpoint, records no training step again, nor the other way round.
        highest: dict[bool, dict[int, int]] = {False: {}, True: {}}
        steps = [list(of_step) for _, of_step in groupby(in_directory, key=_group)]
        named = {key_of(files[0]): files[0] for files in steps if parse_name(files[0].name)}
        for files in steps:
            for step in _read(files):
                if parse_name(files[0].name):
                    step.stale = _is_stale(step.columns, highest[step.validate])
                elif "global_step" in step.columns and (
                    twin := named.get(StepKey(step.global_step, step.validate))
                ):
                    raise ReadError(
                        f"{printable(files[0])}: step {step.global_step} is in {printable(twin.name)}, too; "
                        "leave one of them out"
                    )
                yield step
            for file in files:
                if progress is not None:
                    progress(file)


def _group(file: Path) -> tuple[StepKey, str]:
    """Files with the same value hold the same step."""
    return key_of(file), "" if parse_name(file.name) else file.name


def _read(files: list[Path]) -> Iterator[Step]:
    if parse_name(files[0].name) is None:
        yield from _read_renamed(files[0])
        return
    key = key_of(files[0])
    path = files[0].parent / key.file_name
    for _ in range(20):
        try:
            columns, missing_ranks = _join_shards(files)
        except FileNotFoundError as error:
            # Shards were joined since the files were listed: what the step has now holds the same records.
            gone = Path(error.filename)
            files = [file for file in list_step_files(path.parent) if key_of(file) == key]
            if not files or not isinstance(parse_name(gone.name), Shard):
                raise missing(gone) from None
        else:
            yield Step(key.global_step, key.validate, columns, path, missing_ranks=missing_ranks)
            return
    raise ReadError(f"{path}: its shards keep changing; read it again when the job is done with the step")


def _read_renamed(file: Path) -> Iterator[Step]:
    """The steps of a file whose name tells none: by the records' own `global_step`, or 0 without."""
    try:
        columns = decode(read_bytes(file), file)
    except FileNotFoundError:
        raise missing(file) from None
    validate = key_of(file).validate
    if "global_step" not in columns or not len(columns["global_step"]):
        yield Step(0, validate, columns, file)
        return
    for global_step in np.unique(columns["global_step"]):
        rows = columns["global_step"] == global_step
        yield Step(int(global_step), validate, {k: c[rows] for k, c in columns.items()}, file)


def _join_shards(files: list[Path]) -> tuple[Columns, tuple[int, ...]]:
    """The newest records of each rank, by rank, and the ranks that are missing.

    Raises FileNotFoundError if a file is gone.
    """
    directory = files[0].parent
    shards = [shard for file in files if isinstance(shard := parse_name(file.name), Shard)]
    whole = next((file for file in files if isinstance(parse_name(file.name), StepKey)), None)
    columns = decode(read_bytes(whole), whole) if whole else concatenate([])
    versions = _versions(columns)
    # A rank that the whole file does not know belongs to the step unless an earlier run recorded it.
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
            file = directory / newest[rank].file_name
            parts.append(decode(read_bytes(file), file))
        else:
            rows = _ranks(columns) == rank
            parts.append({name: column[rows] for name, column in columns.items()})
    return concatenate(parts), tuple(sorted(set(range(dp_size)) - present))


def _current(
    versions: dict[int, Version], directory: Path, key: StepKey, newest_run: int, dp_size: int
) -> set[int]:
    """The ranks whose version of a step is not one that a resumed job is yet to replace."""
    if all(version.run == newest_run for version in versions.values()):
        return set(versions)
    try:
        runs_by_rank = read_run_logs(directory)
    except OSError:
        runs_by_rank = {}
    # In a whole file that holds ranks beyond the world's size, those of an earlier run are of another world.
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


def _is_stale(columns: Columns, highest: dict[int, int]) -> bool:
    """True if a rank's run is below its `highest` of the steps before, which is brought up to date."""
    stale = False
    for rank, version in _versions(columns).items():
        stale |= version.run < highest.get(rank, version.run)
        highest[rank] = max(version.run, highest.get(rank, version.run))
    return stale
