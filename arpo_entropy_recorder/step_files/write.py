"""Writes what one process records into step files. A failed write is retried and never raises."""

from __future__ import annotations

import atexit
import logging
import os
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arpo_entropy_recorder.atomic import write_file
from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.step_files.encode import file_parts
from arpo_entropy_recorder.step_files.memory import StepInMemory, StepMemory
from arpo_entropy_recorder.step_files.merge import consolidate, remove_shards
from arpo_entropy_recorder.step_files.names import Shard, StepKey, Version, list_shards, temporary_name
from arpo_entropy_recorder.step_files.run_info import write_run_info
from arpo_entropy_recorder.step_files.run_log import RankLock

logger = logging.getLogger(__name__)


# The writer of each directory and rank in this process. Two would write the same files.
_WRITERS: weakref.WeakValueDictionary[tuple[Path, int], StepWriter] = weakref.WeakValueDictionary()


class StepWriter:
    """The step files of one data-parallel rank in `directory`.

    A step's file is written whole at each flush, so that a later call of the step only adds to it; a step
    that is recorded again, after a resume, replaces the old one. Where nothing can be written the records
    wait in memory, of up to `max_pending_steps` steps; beyond that the oldest are dropped and counted in
    `dropped_steps` and `dropped_records`. With `late_steps`, that many earlier steps stay in memory, and
    records that come late are added to theirs instead of starting a new run. Rank 0 adds `run_info`, if given,
    to entropy_run.json as the entry of each run that it starts. With `enabled` false (a tensor-parallel rank
    above 0) nothing happens.

    Raises UserError if another living process records into `directory` as the same rank.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        dp_rank: int = 0,
        dp_size: int = 1,
        enabled: bool = True,
        max_pending_steps: int = 100,
        late_steps: int = 0,
        run_info: Mapping[str, Any] | None = None,
    ) -> None:
        self.directory = Path(directory).absolute()
        self.dp_rank, self.dp_size = dp_rank, dp_size
        self.max_pending_steps = max_pending_steps
        self.enabled = enabled
        self.dropped_steps = self.dropped_records = 0
        self._memory = StepMemory(late_steps)
        self._rank_lock: RankLock | None = None
        self._run = 0
        self._noted_run = -1
        self._run_info = run_info if dp_rank == 0 else None
        if not enabled:
            return
        self._place = self.directory.resolve(), dp_rank
        _WRITERS[self._place] = self
        try:
            self._open()
        except OSError as error:
            logger.error(
                "entropy recorder: records wait in memory until %s can be written: %s", *self._told(error)
            )
        atexit.register(self._at_exit, os.getpid())

    @property
    def pending_steps(self) -> int:
        """Steps with records that are not in a file yet."""
        return len(self._memory.waiting)

    @property
    def pending_records(self) -> int:
        """Records that are not in a file yet; after `close` those that never will be."""
        return sum(step.unwritten for step in self._memory.waiting)

    def add(
        self, global_step: int, validate: bool, columns: Mapping[str, np.ndarray | Sequence[Any]]
    ) -> None:
        """Add the records of one `generate_sequences` call: equally long columns by schema key.

        `global_step`, `call`, `run` and `dp_rank` are added here. The columns are kept until they are
        written, and are not copied.
        """
        if not self.enabled:
            return
        holder = _WRITERS.get(self._place)
        if holder is None:
            # A later writer was opened and closed: start a new run.
            _WRITERS[self._place] = self
            self._start_over()
        elif holder is not self:
            raise RuntimeError(f"a later recorder of this process writes to {printable(self.directory)}")
        key = StepKey(int(global_step), bool(validate))
        if not self._memory.takes(key):
            logger.warning(
                "entropy recorder: step %d comes after step %d, as after a resume: a new run, whose steps replace "
                "those of the same number in %s",
                key.global_step, self._memory.latest[key.validate].global_step, printable(self.directory),
            )  # fmt: skip
            self._start_over()
        self._memory.add(key, columns)
        while self.pending_steps > self.max_pending_steps:
            self.dropped_records += self._memory.drop_oldest()
            self.dropped_steps += 1
            logger.error(
                "entropy recorder: the oldest waiting step was dropped, %d in all: more than %d steps wait for %s",
                self.dropped_steps, self.max_pending_steps, printable(self.directory),
            )  # fmt: skip

    def takes_late(self, global_step: int, validate: bool) -> bool:
        """Whether records of this step go on with the run: the step is the latest, a new one, or among the kept."""
        return self._memory.takes(StepKey(int(global_step), bool(validate)))

    def flush(self) -> None:
        """Write all waiting steps. A failure is logged, and the next flush tries again.

        Raises, when all else is written, what columns raised that cannot be encoded; their records are lost.
        """
        if (error := self._flush(now=self._memory.newest)) is not None:
            raise error

    def close(self) -> None:
        """Flush and release the directory. A second call does nothing."""
        if self.enabled:
            try:
                self._flush_and_tell()
                if lost := self.pending_steps:
                    logger.error("entropy recorder: %d steps could not be written and are lost", lost)
            finally:
                self.enabled = False
                if _WRITERS.get(self._place) is self:
                    del _WRITERS[self._place]
                atexit.unregister(self._at_exit)
                if self._rank_lock is not None:
                    self._rank_lock.release()

    def _at_exit(self, pid: int) -> None:
        if pid == os.getpid():  # not in a forked child
            self.close()

    def _flush_and_tell(self) -> None:
        """Write all waiting steps, and log what cannot be encoded: no caller is there who could take an error."""
        if (error := self._flush(now=None)) is not None:
            logger.error(
                "entropy recorder: records for %s cannot be encoded and are lost: %s", *self._told(error)
            )

    def _flush(self, now: StepKey | None) -> Exception | None:
        """Write the waiting steps; returns what columns raised that cannot be encoded."""
        if not self.enabled:
            return None
        bad_columns = None
        try:
            if self.pending_steps:
                self._open()
            last_error, bad_columns = self._write_waiting()
            self._memory.forget_written()
            if self.dp_size > 1 and self._rank_lock is not None:
                consolidate(self.directory, self.dp_rank, self.dp_size, now)
            if last_error is not None:
                raise last_error
        except (OSError, UserError) as error:
            logger.error(
                "entropy recorder: %d steps wait in memory, tried again at each flush: %s: %s",
                self.pending_steps, *self._told(error),
            )  # fmt: skip
        return bad_columns

    def _write_waiting(self) -> tuple[OSError | None, Exception | None]:
        """Write the waiting steps; returns the last error of a file, and of columns that cannot be encoded."""
        last_error, bad_columns = None, None
        for step in self._memory.waiting:
            assert self._rank_lock is not None
            of_rank = {"dp_rank": self.dp_rank} if self.dp_size > 1 else {}
            bad_columns = step.encode({"run": self._rank_lock.run, **of_rank}) or bad_columns
            try:
                self._write(step)
            except OSError as error:
                last_error = error
                # These concern one name. A full or lost disk is not tried again for every step.
                if not isinstance(error, (IsADirectoryError, PermissionError)):
                    break
        return last_error, bad_columns

    def _open(self) -> None:
        """Lock the directory; again if it vanished meanwhile."""
        if self._rank_lock is not None:
            if self._rank_lock.is_valid():
                return
            self._rank_lock.release()
            self._rank_lock = None
        self.directory.mkdir(parents=True, exist_ok=True)
        self._rank_lock = RankLock(self.directory, self.dp_rank, self.dp_size, at_least=self._run)
        self._run = self._rank_lock.run

    def _start_over(self) -> None:
        """Start a new run, whose records replace the earlier ones: the steps went back, as after a resume."""
        self._flush_and_tell()
        self._memory.start_over()
        if self._rank_lock is not None:
            self._rank_lock.release()
            self._rank_lock = None
        self._run += 1

    def _describe_run(self) -> None:
        if self._run_info is not None:
            try:
                write_run_info(self.directory, self._run, self._run_info)
            except Exception as error:  # whatever is wrong with that file, the run can be recorded
                logger.warning("entropy recorder: the run is not described: %s", printable(error))

    def _write(self, step: StepInMemory) -> None:
        assert self._rank_lock is not None
        run = self._rank_lock.run
        if self._noted_run < run:
            self._rank_lock.first_step(step.key)
            self._noted_run = run
            self._describe_run()
        if not step.texts:
            step.written()
            return
        name = step.key.file_name
        if self.dp_size > 1:
            shard = Shard(step.key, self.dp_rank, self.dp_size, Version(run, len(step.texts) - 1))
            name = shard.file_name
        parts = file_parts(t for texts in step.texts for t in texts)
        write_file(self.directory / name, parts, temporary_name(name, self.dp_rank))
        step.written()
        # The file replaces all shards of the step if there is one rank, else this rank's.
        replaced = list_shards(self.directory).get(step.key, [])
        remove_shards(
            self.directory,
            [s for s in replaced if s.file_name != name and (s.rank == self.dp_rank or self.dp_size == 1)],
        )

    def _told(self, error: Exception) -> tuple[str, str]:
        return printable(self.directory), printable(error)
