"""Reads recorded steps, one at a time, whatever state their files are in: whole, in shards, or being joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np

from arpo_entropy_recorder.errors import printable
from arpo_entropy_recorder.step_files.decode import Columns, ReadError
from arpo_entropy_recorder.step_files.file_decoder import FileDecoder, OnBad
from arpo_entropy_recorder.step_files.find import (
    find_files,
    in_both,
    is_renamed,
    key_of,
    list_step_files,
    missing,
)
from arpo_entropy_recorder.step_files.names import Shard, StepKey, parse_name
from arpo_entropy_recorder.step_files.rows import number_rows
from arpo_entropy_recorder.step_files.versions import assemble, is_stale


@dataclass
class Step:
    """The records of one step as columns by schema key (see `decode` for their dtypes).

    `stale` says that a later run went back to an earlier step and has not recorded this one again yet. Training
    steps are compared with training steps, validations with validations.
    `missing_ranks` are the data-parallel ranks that have recorded nothing of it. `rounds_from_one` tells that the
    files count rounds from 1, as the guide does; the column counts from 0.
    """

    global_step: int
    validate: bool
    columns: Columns
    path: Path | None = None
    stale: bool = False
    missing_ranks: tuple[int, ...] = ()
    rounds_from_one: bool = False

    def __len__(self) -> int:
        return len(self.columns["entropy"])

    @property
    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Call and data-parallel rank of each record, int64[n], within which sample_idx counts; -1 where not told.

        With the key `trajectory` sample_idx counts within the step: a trajectory's records may come by several calls.
        """
        none = np.full(len(self), -1)
        call = none if "trajectory" in self.columns else self.columns.get("call", none)
        return call, self.columns.get("dp_rank", none)

    @cached_property
    def trajectories(self) -> tuple[np.ndarray, np.ndarray]:
        """Each record's trajectory as a number, int64[n], and where each trajectory's first record is.

        A trajectory has one call, data-parallel rank and sample_idx; they are numbered in that order. Its first
        record is that of the lowest round, of equals the one that comes first.
        """
        first, number = number_rows((*self.batch, self.columns["sample_idx"]))
        rounds = self.columns["round"]
        if (rounds < rounds[first][number]).any():
            # Another program has changed the records' order.
            order = np.lexsort((rounds, number))
            first = order[np.unique(number[order], return_index=True)[1]]
        return number, first

    @cached_property
    def tools(self) -> tuple[list[str | None], np.ndarray]:
        """The tools that records name, and the place of each record's among them, int64[n]; needs the column."""
        recorded = self.columns["tool"].tolist()
        places = {tool: place for place, tool in enumerate(dict.fromkeys(recorded))}
        return list(places), np.array(list(map(places.__getitem__, recorded)), int)

    @cached_property
    def starts(self) -> np.ndarray:
        """True, bool[n], for a trajectory's first record if it comes before any tool result.

        A segment that continues after a length limit is also of round 0 and after no tool, but not a start.
        Nor is what begins amid a response: a branch, or a trajectory whose beginning was written elsewhere.
        """
        is_first = np.zeros(len(self), bool)
        is_first[self.trajectories[1]] = True
        if "parent_idx" in self.columns:
            is_first &= self.columns["parent_idx"] < 0
        if "mid_start" in self.columns:
            is_first &= ~self.columns["mid_start"]
        return is_first & (self.columns["round"] == 0) & ~self.columns["is_after_tool_call"]


def read_steps(
    paths: Sequence[str | Path],
    *,
    validate: bool | None = None,
    progress: Callable[[Path], object] | None = None,
    on_bad: OnBad | None = None,
) -> Iterator[Step]:
    """The steps in the files that `paths` name: `read_files` of what `find_files` finds. Raises ReadError."""
    yield from read_files(find_files(paths, validate=validate), progress=progress, on_bad=on_bad)


def read_files(
    files: Sequence[Path],
    *,
    progress: Callable[[Path], object] | None = None,
    on_bad: OnBad | None = None,
) -> Iterator[Step]:
    """The steps in `files`, as `find_files` lists them: by directory and in the order of training.

    Holds one step in memory at a time and decodes each file once. A directory whose first step seems to count rounds
    from 1 is decoded once more, up to the first step that does not. `progress` is called with each file when it is
    done. With `on_bad` a file that cannot be read is left out and its error handed over; without, the first such
    error is raised. Raises ReadError.
    """
    for _, group in groupby(files, key=lambda file: file.parent):
        in_directory = list(group)
        from_one: bool | None = None
        for step in _read_directory(in_directory, progress, on_bad):
            if from_one is None and len(step):
                # Only then are the files read twice.
                from_one = _starts_at_one(step) and all(
                    map(_starts_at_one, _read_directory(in_directory, None, lambda error: None))
                )
            if from_one:
                step.columns["round"] = step.columns["round"] - 1
                step.rounds_from_one = True
            yield step


def _starts_at_one(step: Step) -> bool:
    """True if there is no round 0, and each trajectory's first record is of round 1 and before any result."""
    rounds, first = step.columns["round"], step.trajectories[1]
    after = step.columns["is_after_tool_call"][first]
    return bool((rounds > 0).all() and (rounds[first] == 1).all() and not after.any())


def _read_directory(
    files: Sequence[Path], progress: Callable[[Path], object] | None, on_bad: OnBad | None
) -> Iterator[Step]:
    """The steps in `files` of one directory, as they stand there."""
    # Validating an older checkpoint makes no training step stale, nor the other way round.
    highest: dict[bool, dict[int, int]] = {False: {}, True: {}}
    groups = [(key, list(of_step)) for (key, _), of_step in groupby(files, key=_group)]
    holders = {key: of_step[0] for key, of_step in groups if not is_renamed(key)}
    decoder = FileDecoder(on_bad)
    for key, of_step in groups:
        for step in _read(key, of_step, decoder):
            try:
                _check_prompts(step)
            except ReadError as error:
                decoder.report(of_step[0], error)
                break
            if not is_renamed(key):
                step.stale = is_stale(step.columns, highest[step.validate])
            elif len(step):
                told = "global_step" in step.columns
                its_key = StepKey(step.global_step, step.validate) if told else key
                twin = holders.setdefault(its_key, of_step[0])
                if twin != of_step[0] and decoder.without_bad([twin]):
                    raise in_both(of_step[0], twin, step.global_step if told else None)
            yield step
        for file in of_step:
            if progress is not None:
                progress(file)


def _check_prompts(step: Step) -> None:
    """Raise ReadError where a trajectory's records name several prompts: then they are of several trajectories.

    So they are where the files of calls or ranks were put together without their numbers.
    """
    number, first = step.trajectories
    for key, null in (("prompt", None), ("prompt_idx", -1)):
        prompt = step.columns.get(key)
        if prompt is None or not (prompt != prompt[first][number]).any():
            continue
        rows = np.flatnonzero(prompt != null)
        _, at, back = np.unique(number[rows], return_index=True, return_inverse=True)
        wrong = rows[prompt[rows] != prompt[rows][at][back]]
        if len(wrong):
            apart = [name for name in ("call", "dp_rank") if name not in step.columns]
            sample_idx = step.columns["sample_idx"][wrong[0]]
            raise ReadError(
                f"{printable(step.path)}: sample_idx {sample_idx} {key!r}: its records name several prompts, so that "
                "they are of several trajectories; "
                + (f"add {' or '.join(apart)}, which tells them apart" if apart else "number them apart")
            )


def _group(file: Path) -> tuple[StepKey, str]:
    """Files with the same value hold the same step."""
    key = key_of(file)
    return key, file.name if is_renamed(key) else ""


def _read(key: StepKey, files: list[Path], decoder: FileDecoder) -> Iterator[Step]:
    """The steps in the files of one group: one step, or those of a renamed file."""
    path = files[0].parent / key.file_name
    for _ in range(20):
        if not (files := decoder.without_bad(files)):
            return
        try:
            if is_renamed(key):
                yield from _split_by_step(decoder.columns_of(files[0]), key.validate, files[0])
                return
            columns, missing_ranks = assemble(files, decoder.columns_of)
        except FileNotFoundError as error:
            # Shards were joined since they were listed; the step's files now hold the same records.
            gone = Path(error.filename)
            files = [file for file in list_step_files(path.parent) if key_of(file) == key]
            if not files or not isinstance(parse_name(gone.name), Shard):
                decoder.report(gone, missing(gone))
                return
        except ReadError as error:
            decoder.report(files[-1], error)
            return
        else:
            yield Step(key.global_step, key.validate, columns, path, missing_ranks=missing_ranks)
            return
    raise ReadError(f"{path}: its shards keep changing; read it again when the job is done with the step")


def _split_by_step(columns: Columns, validate: bool, file: Path) -> Iterator[Step]:
    """The steps of a renamed file, by its records' `global_step`; 0 if they have none."""
    if "global_step" not in columns or not len(columns["global_step"]):
        yield Step(0, validate, columns, file)
        return
    for global_step in np.unique(columns["global_step"]):
        rows = columns["global_step"] == global_step
        yield Step(int(global_step), validate, {k: c[rows] for k, c in columns.items()}, file)
