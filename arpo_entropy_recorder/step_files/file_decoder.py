"""Decodes the files of a step, each once, and checks their records against their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from arpo_entropy_recorder.errors import printable
from arpo_entropy_recorder.step_files.decode import Columns, ReadError, decode
from arpo_entropy_recorder.step_files.find import is_renamed, key_of, missing, read_bytes

OnBad = Callable[[ReadError], object]


class FileDecoder:
    """Decodes a step's files. Errors are raised, or with `on_bad` handed over, once for each file."""

    def __init__(self, on_bad: OnBad | None) -> None:
        self._on_bad = on_bad
        self._bad: set[Path] = set()
        self._decoded: dict[Path, Columns] = {}

    def without_bad(self, files: list[Path]) -> list[Path]:
        """Those of `files` that can be read. With `on_bad` this decodes them; without, it keeps all."""
        self._decoded.clear()
        return files if self._on_bad is None else [file for file in files if self._is_good(file)]

    def columns_of(self, file: Path) -> Columns:
        """The records of a file. Raises ReadError, and FileNotFoundError if it is gone."""
        decoded = self._decoded.pop(file, None)
        return _decode(file) if decoded is None else decoded

    def report(self, file: Path, error: ReadError) -> None:
        """Hand `error` over, or raise it."""
        if self._on_bad is None:
            raise error
        self._bad.add(file)
        self._on_bad(error)

    def _is_good(self, file: Path) -> bool:
        if file in self._bad:
            return False
        try:
            self._decoded[file] = _decode(file)
        except FileNotFoundError:
            if not file.is_symlink():
                return True  # joined since it was listed; the reader looks for the joined file
            self.report(file, missing(file))
        except ReadError as error:
            self.report(file, error)
        return file not in self._bad


def _decode(file: Path) -> Columns:
    """The records of a file, which are of the step in its name. Raises ReadError, and FileNotFoundError."""
    columns = decode(read_bytes(file), file)
    key, told = key_of(file), columns.get("global_step")
    if not is_renamed(key) and told is not None:
        other = np.flatnonzero((told != key.global_step) & (told >= 0))
        if len(other):
            raise ReadError(
                f"{printable(file)}: entry {other[0]} 'global_step': {told[other[0]]}, and the file's name says "
                f"{key.global_step}; name the file after its step or correct the records"
            )
    return columns
