"""A run: the step files of a training, in one directory or, where it was resumed elsewhere, in several."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.step_files.decode import ReadError
from arpo_entropy_recorder.step_files.file_decoder import OnBad
from arpo_entropy_recorder.step_files.find import find_files, is_renamed, key_of
from arpo_entropy_recorder.step_files.names import StepKey, run_name
from arpo_entropy_recorder.step_files.read import Step, read_files
from arpo_entropy_recorder.step_files.run_info import read_run_info

_NAMED = re.compile(r"([^/=]+)=(.+)", re.DOTALL)


@dataclass(frozen=True)
class RunFiles:
    """The step files of one run: for each directory, in the order in which it was recorded, those that count.

    `replaced` are the steps that a later directory has, too; they are not among `parts`. Other steps that a later
    directory went back behind are stale.
    """

    name: str
    parts: tuple[tuple[Path, ...], ...]
    replaced: tuple[StepKey, ...] = ()

    @property
    def files(self) -> list[Path]:
        """All files, in the order of the parts."""
        return [file for part in self.parts for file in part]

    @property
    def directories(self) -> list[Path]:
        """Where the files are, each once."""
        return list(dict.fromkeys(file.parent for file in self.files))

    def steps(
        self, *, progress: Callable[[Path], object] | None = None, on_bad: OnBad | None = None
    ) -> Iterator[Step]:
        """The steps in the order of the parts, as `read_files` yields them. Raises ReadError."""
        for index, part in enumerate(self.parts):
            later = [key_of(file) for files in self.parts[index + 1 :] for file in files]
            resumed = {
                kind: min(
                    (key.global_step for key in later if key.validate == kind and not is_renamed(key)),
                    default=None,
                )
                for kind in (False, True)
            }
            for step in read_files(part, progress=progress, on_bad=on_bad):
                went_back = resumed[step.validate]
                step.stale |= went_back is not None and step.global_step >= went_back
                yield step

    def up_to(self, last: int) -> RunFiles:
        """The run without files of steps after `last`; as it is if it has no others."""
        parts = tuple(tuple(file for file in part if key_of(file).global_step <= last) for part in self.parts)
        return replace(self, parts=parts) if any(parts) else self

    @cached_property
    def info(self) -> Mapping[str, object]:
        """What `entropy_run.json` says alike for all of the run's starts; {} where a directory has none.

        Raises UserError.
        """
        told = [read_run_info(directory) for directory in self.directories]
        if not told or not all(told):
            return {}
        first, *others = (entry for entries in told for entry in entries)
        return {
            key: value for key, value in first.items() if all(entry.get(key) == value for entry in others)
        }

    @property
    def vocab_size(self) -> int | None:
        """What the entropies' logarithms are divided by; None where it is not known for all. Raises UserError."""
        size = self.info.get("vocab_size")
        return size if isinstance(size, int) and size > 1 else None


def named(word: str) -> tuple[str | None, list[str]]:
    """The name and the paths of "NAME=DIR", "NAME=D1,D2" or a path; a path that exists is one, whatever is in it."""
    match = _NAMED.fullmatch(word)
    if match is None or os.path.lexists(word):
        return None, [word]
    name, rest = match.groups()
    return name, [rest] if os.path.lexists(rest) else [path for path in rest.split(",") if path]


def find_run(word: str, validate: bool | None = None) -> RunFiles:
    """The run that a word names (see `named`). Raises ReadError, and UserError where it names several directories."""
    name, paths = named(word)
    return (
        _joined(None, [find_files(paths, validate=validate)])
        if name is None
        else find_run_in(name, paths, validate)
    )


def find_run_in(name: str, paths: Sequence[str], validate: bool | None = None) -> RunFiles:
    """The run `name` whose parts are in `paths`, in the order of recording.

    Raises ReadError, and SeveralRunsError for a path that names several directories: a pattern tells no order.
    """
    if not paths:
        raise ReadError(f"{printable(name)}=: names no directory; write NAME=DIR or NAME=DIR,DIR")
    return _joined(name, [find_files([path], validate=validate) for path in paths])


def find_one_run(words: Sequence[str], validate: bool | None = None) -> RunFiles:
    """The one run that all of `words` are of: paths in one directory, or a single "NAME=D1,D2".

    Raises ReadError, and SeveralRunsError for more than one.
    """
    if len(words) == 1:
        return find_run(words[0], validate)
    runs = [(name, paths) for name, paths in map(named, words) if name is not None]
    if runs:
        raise SeveralRunsError([*words])
    return _joined(None, [find_files(words, validate=validate)])


class SeveralRunsError(UserError):
    """More than one run where one is wanted; `words` spell them, each with a name of its own."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = list(words)
        super().__init__(f"several runs are given: {' '.join(map(printable, self.words))}; give one")


def _joined(name: str | None, found: list[list[Path]]) -> RunFiles:
    for files in found:
        directories = list(dict.fromkeys(file.parent for file in files))
        if len(directories) > 1:
            raise SeveralRunsError(_with_names(directories))
    if name is None:
        return RunFiles(run_name(found[0][0].parent), (tuple(found[0]),))
    parts, replaced = [], set()
    for index, files in enumerate(found):
        later = {key_of(file) for others in found[index + 1 :] for file in others}
        again = {key_of(file) for file in files if key_of(file) in later and not is_renamed(key_of(file))}
        parts.append(tuple(file for file in files if key_of(file) not in again))
        replaced |= again
    return RunFiles(name, tuple(parts), tuple(sorted(replaced)))


def _with_names(directories: list[Path]) -> Iterator[str]:
    names: dict[str, int] = {}
    for directory in directories:
        name = run_name(directory).replace("=", "-") or "run"
        names[name] = names.get(name, 0) + 1
        yield f"{name}{names[name] if names[name] > 1 else ''}={directory}"
