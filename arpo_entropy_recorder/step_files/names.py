"""How the files of a recording directory are named.

    entropy_step_12.json                          a training step, whole
    entropy_validate_step_12.json                 a validation at step 12, whole
    entropy_step_12.dp3of16.run0.call1.json       a shard: what data-parallel rank 3 of 16 recorded of step 12
    entropy_run.json                              what is known of the runs, see run_info.py
    entropy_status.json                           what a running job of an agent loop tells, see live/status.py
    .entropy_recorder.dp3                         rank 3's run log, see run_log.py
    .entropy_recorder.lock                        held by the rank that joins shards, see merge.py
    .entropy_step_12.json.dp3.tmp                 being written by rank 3

A shard's name carries its version, (run, number of the last call in it), and a version is never written
twice: whoever has read a shard may remove that name without taking away anything newer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

RUN_INFO, STATUS_FILE = "entropy_run.json", "entropy_status.json"
# What a `*.json` matches beside step files.
SIDE_FILES = (RUN_INFO, STATUS_FILE)
# Directories of step files are often called so, below one that has the run's name.
COMMON_NAMES = {"entropy", "entropies"}
_NAME = re.compile(
    r"entropy_(?P<validate>validate_)?step_(?P<step>\d{1,18})"
    r"(?:\.dp(?P<rank>\d{1,5})of(?P<size>\d{1,5})\.run(?P<run>\d{1,9})\.call(?P<call>\d{1,9}))?\.json",
    re.ASCII,
)


class StepKey(NamedTuple):
    """One step, of training or validation. Keys sort in the order of training: a step is trained, then validated."""

    global_step: int
    validate: bool

    @property
    def file_name(self) -> str:
        kind = "entropy_validate_step" if self.validate else "entropy_step"
        return f"{kind}_{self.global_step}.json"


class Version(NamedTuple):
    """How new one rank's records of a step are. A higher version replaces a lower one as a whole."""

    run: int
    call: int


@dataclass(frozen=True)
class Shard:
    """One data-parallel rank's records of one step."""

    key: StepKey
    rank: int
    size: int
    version: Version

    @property
    def file_name(self) -> str:
        stem = self.key.file_name.removesuffix(".json")
        run, call = self.version
        return f"{stem}.dp{self.rank}of{self.size}.run{run}.call{call}.json"


def parse_name(name: str) -> StepKey | Shard | None:
    """What a file of this name holds: a whole step, a shard, or None for any other file."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    key = StepKey(int(match["step"]), match["validate"] is not None)
    if match["rank"] is None:
        return key
    return Shard(key, int(match["rank"]), int(match["size"]), Version(int(match["run"]), int(match["call"])))


def list_shards(directory: Path) -> dict[StepKey, list[Shard]]:
    """The shards in `directory`, by step. Raises OSError."""
    found: dict[StepKey, list[Shard]] = {}
    for name in os.listdir(directory):
        # Most files are whole steps. This cheap test keeps a flush quick in a directory of thousands.
        if ".dp" in name and isinstance(shard := parse_name(name), Shard):
            found.setdefault(shard.key, []).append(shard)
    return found


def newest_by_rank(shards: Iterable[Shard]) -> dict[int, Shard]:
    """Each rank's newest shard."""
    return {shard.rank: shard for shard in sorted(shards, key=lambda shard: shard.version)}


def temporary_name(name: str, rank: int) -> str:
    """The name that `rank` writes `name` under until it is whole. No reader's pattern matches it."""
    return f".{name}.dp{rank}.tmp"


def is_temporary_of(name: str, rank: int) -> bool:
    """True if `name` is a temporary file of `rank`."""
    return name.startswith(".entropy_") and name.endswith(f".dp{rank}.tmp")


def run_name(directory: Path) -> str:
    """The directory's name, or its parent's where it is called `entropy` or `entropies`."""
    whole = Path(os.path.abspath(directory))
    return whole.parent.name if whole.name in COMMON_NAMES else whole.name
