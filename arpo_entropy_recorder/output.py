"""Where a command's result goes: asked before the work whether it can be written, and written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from arpo_entropy_recorder.schema import UserError


def check_output(path: Path, suffixes: Sequence[str] = ()) -> Path:
    """`path`, if a regular file with one of `suffixes` can be written there beside its name. Raises UserError.

    A device is refused: results are renamed into place, which would put a file where /dev/null was.
    """
    where = f"--output {path}"
    try:
        if path.is_dir():
            raise UserError(f"{where}: this is a directory; name a file")
        if suffixes and path.suffix.lower() not in suffixes:
            raise UserError(f"{where}: unknown kind of file; end the name in {' or '.join(suffixes)}")
        if path.exists() and not path.is_file():
            raise UserError(f"{where}: not a regular file; name another")
        if not path.parent.is_dir():
            raise UserError(f"{where}: there is no directory {path.parent}; make it first")
        # Trying is the only sure way: root may write anywhere, but not in /proc or on a read-only mount.
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.touch()
        beside.unlink()
    except OSError as error:
        raise UserError(f"{where}: cannot be written: {error.strerror}; choose another place") from error
    return path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, renamed to `path` at the end of the block, or removed. Raises UserError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        os.replace(beside, path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"--output {path}: cannot be written: {reason}; make room or choose another place"
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()
