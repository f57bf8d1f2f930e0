"""Atomic writes: a file is written under a temporary name and renamed, so it is whole or absent."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from arpo_entropy_recorder.errors import UserError


class OutputError(UserError):
    """A file that cannot be written. The message starts with its path."""


def check_output(path: Path, suffixes: Sequence[str] = ()) -> Path:
    """`path`, if a regular file with one of `suffixes` can be written there. Raises OutputError.

    A device is refused: results are renamed into place, which would put a file where /dev/null was.
    """
    try:
        if path.is_dir():
            raise OutputError(f"{path}: this is a directory; name a file")
        if suffixes and path.suffix.lower() not in suffixes:
            raise OutputError(f"{path}: unknown kind of file; end the name in {' or '.join(suffixes)}")
        if path.exists() and not path.is_file():
            raise OutputError(f"{path}: not a regular file; name another")
        if not path.parent.is_dir():
            raise OutputError(f"{path}: there is no directory {path.parent}; make it first")
        # Only a try is sure: even root cannot write in /proc or on a read-only mount.
        tmp_path = _tmp_path(path)
        tmp_path.touch()
        tmp_path.unlink()
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}; choose another place") from error
    return path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path to write to, renamed to `path` at the end of the block, or removed. Raises OutputError."""
    try:
        with _replacing(path, _tmp_path(path)) as tmp_path:
            yield tmp_path
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(
            f"{path}: cannot be written: {reason}; make room or choose another place"
        ) from error


def _tmp_path(path: Path) -> Path:
    """In the same directory, so that it can be renamed to `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def write_file(path: Path, parts: Iterable[bytes], tmp_name: str) -> None:
    """Write `path`, under `tmp_name` in its directory until it is whole, so that it survives a power cut.

    Raises OSError, and whatever iterating `parts` raises.
    """
    with _replacing(path, path.with_name(tmp_name)) as tmp_path, open(tmp_path, "wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())
    # Sync the name, too. Some file systems (CIFS, FUSE) cannot sync a directory.
    with suppress(OSError):
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextmanager
def _replacing(path: Path, tmp_path: Path) -> Iterator[Path]:
    try:
        yield tmp_path
        os.replace(tmp_path, path)
    except BaseException:
        with suppress(OSError):
            tmp_path.unlink()
        raise
