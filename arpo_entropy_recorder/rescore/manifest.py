"""What a rescoring has done so far, in `rescore.json` next to its step files, so that it can be resumed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from arpo_entropy_recorder.atomic import write_file
from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.rescore.dumps import MANIFEST, Dump
from arpo_entropy_recorder.rescore.settings import SettingError
from arpo_entropy_recorder.rescore.step_file import write_single_call
from arpo_entropy_recorder.step_files.encode import Columns
from arpo_entropy_recorder.step_files.names import StepKey, temporary_name
from arpo_entropy_recorder.step_files.run_log import RankLock

MARK = b'"source":"rescored"'


class Manifest:
    """The directory that a rescoring with `model` and `settings` (plain JSON types) writes its steps to.

    All steps have the same settings; each has the model that it was rescored with, its own checkpoint perhaps.
    Raises UserError if the directory holds anything else: step files of a recording or of other settings, or
    another process that writes there.
    """

    def __init__(self, directory: Path, model: str, settings: dict[str, Any]) -> None:
        self.directory, self.model = directory, model
        try:
            self._is_new = not directory.exists()
            directory.mkdir(parents=True, exist_ok=True)
            self._rank_lock = RankLock(directory, 0, 1)
        except OSError as error:
            raise SettingError(
                "output",
                f"{printable(directory)}: cannot be written: {error.strerror}; choose another directory",
            ) from error
        self._settings = settings
        self._steps: dict[str, Any] = {}
        try:
            self._resume()
        except UserError:
            self.close()
            raise

    def _resume(self) -> None:
        found = read_manifest(self.directory)
        if found is None:
            return
        if found["settings"] != self._settings:
            raise SettingError(
                "output",
                f"{printable(self.directory)}: rescored before with other settings "
                f"({difference(found['settings'], self._settings)}); choose another directory or remove this one",
            )
        self._steps = found["steps"]

    def has(self, dump: Dump) -> bool:
        """True if this dump's step file is there, whole, and made from the same bytes by this model."""
        entry = self._steps.get(step_name(dump.global_step, dump.validate), {})
        same = (entry.get("digest"), entry.get("model")) == (dump.digest, self.model)
        return same and self._path(dump).is_file()

    def write(self, dump: Dump, columns: Columns, counts: Mapping[str, int] | None = None) -> None:
        """Write a step's records, then note it as done, with `counts` of its lines. Raises UserError."""
        path = self._path(dump)
        try:
            if path.exists() and not _is_rescored(path):
                raise SettingError(
                    "output", f"{printable(path)}: a recording, not rescored before; choose another directory"
                )
            write_single_call(self.directory, _key(dump), columns)
            source = {"file": str(dump.file.resolve()), "digest": dump.digest, "model": self.model}
            name = step_name(dump.global_step, dump.validate)
            self._steps[name] = source | ({"lines": dict(counts)} if counts else {})
            whole = {"settings": self._settings, "steps": self._steps}
            text = orjson.dumps(whole, option=orjson.OPT_INDENT_2)
            write_file(self.directory / MANIFEST, [text], temporary_name(MANIFEST, 0))
        except OSError as error:
            raise UserError(f"{printable(path)}: cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Release the directory, and remove it if it was made for nothing."""
        if self._is_new and not self._steps:
            with suppress(OSError):  # another process may have come there
                self._rank_lock.remove_log()
                self.directory.rmdir()
        self._rank_lock.release()

    def _path(self, dump: Dump) -> Path:
        return self.directory / _key(dump).file_name


def _key(dump: Dump) -> StepKey:
    return StepKey(dump.global_step, dump.validate)


def step_name(global_step: int, validate: bool) -> str:
    """The key of a step in the manifest."""
    return f"validate_{global_step}" if validate else str(global_step)


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """The `settings` and `steps` of a rescored directory; None for any other. Raises UserError."""
    path = directory / MANIFEST
    try:
        found = orjson.loads(path.read_bytes())
        return {"settings": dict(found["settings"]), "steps": dict(found["steps"])}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{printable(path)}: cannot be read ({printable(error)}); remove it and rescore again"
        ) from None


def _is_rescored(path: Path) -> bool:
    """True if the first record is a rescored one. Records are lines of any length, with the source at the end."""
    with path.open("rb") as file:
        return any(MARK in line for line in itertools.islice(file, 2))


def difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What settings were before and are now, where they differ, for a message."""
    names = [name for name in {**now, **before} if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {before.get(name)}, now {now.get(name)}" for name in names)
