"""Finds the step files that a user names, and reads their bytes."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from arpo_entropy_recorder.errors import printable
from arpo_entropy_recorder.step_files.decode import ReadError
from arpo_entropy_recorder.step_files.names import SIDE_FILES, Shard, StepKey, parse_name

# A step of a million records takes 200 MB. Larger files are refused.
MAX_FILE_BYTES = 1 << 30


def find_files(paths: Sequence[str | Path], *, validate: bool | None = None) -> list[Path]:
    """The step files that `paths` name: files, directories, and patterns as `entropy_step_*.json`.

    Each file once, however often and in whatever spelling it is named, by directory and then in the order of
    training. With `validate` only the training (False) or validation (True) steps. Raises ReadError where a path
    leads to no file.
    """
    found: dict[str, Path] = {}
    directories: dict[str, Path] = {}
    for path in paths:
        for file in _expand(str(path), validate):
            parent = directories.setdefault(os.path.realpath(file.parent), file.parent)
            found.setdefault(os.path.realpath(file), parent / file.name)
    if not found:
        kind = "" if validate is None else "validation " if validate else "training "
        where = ", ".join(map(printable, paths)) or "no path given"
        raise ReadError(f"{where}: no {kind}step files there; give the directory that entropy_save_dir named")
    return sorted(found.values(), key=lambda file: (file.parent, key_of(file), _natural(file.name)))


def key_of(file: Path) -> StepKey:
    """The step in the file's name; for a renamed file a key that sorts before all steps.

    A renamed file belongs to a validation if its name still contains "validate".
    """
    parsed = parse_name(file.name)
    if parsed is None:
        return StepKey(-1, "validate" in file.name.lower())
    return parsed.key if isinstance(parsed, Shard) else parsed


def is_renamed(key: StepKey) -> bool:
    """True if `key_of` found no step in the file's name."""
    return key.global_step < 0


def list_step_files(directory: Path) -> list[Path]:
    """The step files in `directory`. Raises ReadError.

    A listing is not atomic: while shards are being joined it can miss both the shards and the joined file. So
    the directory is listed until nothing changes.
    """
    names: list[str] = []
    for _ in range(20):
        before = names
        try:
            names = sorted(name for name in os.listdir(directory) if parse_name(name))
        except OSError as error:
            raise _unreadable(directory, error) from None
        if names == before:
            break
    return [directory / name for name in names]


def read_bytes(file: Path) -> bytes:
    """The file's bytes. Raises FileNotFoundError, and ReadError for what is no regular file or too large."""
    try:
        # Opening a FIFO without a writer would wait for ever.
        with open(os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ReadError(
                    f"{printable(file)}: not a regular file; give a step file or a directory of them"
                )
            if status.st_size > MAX_FILE_BYTES:
                raise ReadError(
                    f"{printable(file)}: {status.st_size / 1e9:.1f} GB, more than the {MAX_FILE_BYTES / 1e9:.1f} GB "
                    "that a step file may have; split it or leave it out"
                )
            return opened.read(status.st_size)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(file, error) from None


def missing(file: Path) -> ReadError:
    return ReadError(f"{printable(file)}: no such file; check the path or quote the pattern")


def in_both(file: Path, twin: Path, global_step: int | None) -> ReadError:
    """Two files in one directory hold the same step, or records of which neither tells the step (None)."""
    if global_step is None:
        return ReadError(
            f"{printable(file)}: no global_step in its records, nor in those of {printable(twin.name)}; "
            "name each file entropy_step_N.json"
        )
    return ReadError(
        f"{printable(file)}: step {global_step} is in {printable(twin.name)}, too; leave one of them out, or join "
        "their records in one file"
    )


def _unreadable(path: str | Path, error: Exception) -> ReadError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ReadError(f"{printable(path)}: cannot be read: {printable(reason)}; check the path")


def _expand(path: str, validate: bool | None) -> Iterator[Path]:
    if Path(path).name in SIDE_FILES:
        return  # a shell's or the user's `*.json` matches it
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if joined := _joined_since(Path(path)):
            yield from joined
            return
        matches = glob.glob(path) if glob.has_magic(path) else []
        if not matches:
            raise missing(Path(path)) from None
        for match in matches:
            yield from _expand(match, validate) if match != path else ()
        return
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if not stat.S_ISDIR(mode):
        files = [Path(path)]
    elif not (files := list_step_files(Path(path))):
        raise ReadError(
            f"{printable(path)}: no entropy_step_*.json in this directory; give the one with them"
        )
    for file in files:
        if validate is None or key_of(file).validate == validate:
            yield file


def _joined_since(gone: Path) -> list[Path]:
    """The files of a vanished shard's step. A shell may have listed the shard before it was joined."""
    shard = parse_name(gone.name)
    if not isinstance(shard, Shard) or not gone.parent.is_dir():
        return []
    return [file for file in list_step_files(gone.parent) if key_of(file) == shard.key]


def _natural(name: str) -> list[Any]:
    """Sorts step_9 before step_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
