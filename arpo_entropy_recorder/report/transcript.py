"""What a trajectory says: the text of its segments token by token, and of prompt and results where it is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.report.sample import Dumped, Record, Trajectory
from arpo_entropy_recorder.rescore.dumps import read_dumps
from arpo_entropy_recorder.rescore.line import Line
from arpo_entropy_recorder.rescore.manifest import read_manifest, step_name
from arpo_entropy_recorder.rescore.retokenize import Retokenizer
from arpo_entropy_recorder.step_files.find import key_of


class UnknownTokenError(UserError):
    """A tokenizer that is not the run's."""


@dataclass(frozen=True)
class Round:
    """A tool's result, if the segment is after one, and the segment: its scored tokens' texts, then the rest.

    `result` is None where its text is not known.
    """

    record: Record
    result: str | None
    tokens: list[str]
    rest: str


@dataclass(frozen=True)
class Transcript:
    """A trajectory in words. `prompt` is None where it is not known."""

    trajectory: Trajectory
    prompt: str | None
    rounds: list[Round]


class Transcriber:
    """Puts trajectories into words by a tokenizer, and for rescored ones by the dump that they came from."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._directories: dict[Path, _Rescored] = {}

    def read(self, trajectory: Trajectory) -> Transcript | None:
        """The transcript; None where the records hold no tokens. Raises UnknownTokenError.

        Prompt and results are those that the trajectory was joined with, or of the dump that it was rescored from.
        """
        if any(record.tokens is None for record in trajectory.records):
            return None
        dumped = trajectory.dumped or self._rescored_from(trajectory)
        results = dumped.results if dumped else {}
        rounds = []
        for record in trajectory.records:
            result = results.get(record.round) if record.is_after_tool_call else None
            rounds.append(Round(record, result, *self._words(record)))
        return Transcript(replace(trajectory, dumped=dumped), dumped.prompt if dumped else None, rounds)

    def _words(self, record: Record) -> tuple[list[str], str]:
        """The texts of the scored tokens and of those after them.

        A token that ends within a character is put into words together with the next.
        """
        assert record.tokens is not None
        tokens = record.tokens.tolist()
        ends = [self._decode(tokens[: at + 1]) for at in range(len(record.entropies))]
        whole = self._decode(tokens)
        at, texts = 0, []
        for end in ends:
            known = len(end.rstrip("\ufffd"))
            texts.append(whole[at : max(known, at)])
            at = max(known, at)
        return texts, whole[at:]

    def _decode(self, tokens: list[int]) -> str:
        try:
            return self.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
        except (OverflowError, TypeError, IndexError, KeyError) as error:
            raise UnknownTokenError(
                "the tokenizer does not know the recorded token ids; give the run's own"
            ) from error

    def _rescored_from(self, trajectory: Trajectory) -> Dumped | None:
        """The dumped line that a rescored trajectory was read from, if the dump is still there and the same."""
        if trajectory.path is None:
            return None
        directory = trajectory.path.parent
        if directory not in self._directories:
            self._directories[directory] = _Rescored(directory, self.tokenizer)
        rescored = self._directories[directory]
        lines = rescored.lines(trajectory.path, trajectory.global_step)
        if lines is None:
            return None
        line = lines[trajectory.sample_idx]
        found = rescored.retokenizer.read(line)
        segments = {segment.round: segment.tokens for segment in found.segments}
        if any(r.tokens is None or segments.get(r.round) != r.tokens.tolist() for r in trajectory.records):
            return None
        return Dumped.of(found, line.score)


class _Rescored:
    """A directory of step files, with the dumps that they were read from where it is a rescored one."""

    def __init__(self, directory: Path, tokenizer: Any) -> None:
        manifest = read_manifest(directory) or {"settings": {}, "steps": {}}
        self._tokenizer = tokenizer
        self._settings, self._steps = manifest["settings"], manifest["steps"]
        self._lines: dict[Path, list[Line] | None] = {}

    @cached_property
    def retokenizer(self) -> Retokenizer:
        """How the dumps' lines are read."""
        # A manifest leaves out what is by default.
        others = {name: self._settings[name] for name in ("tags", "several_turns") if name in self._settings}
        return Retokenizer(self._tokenizer, self._settings["tools"], **others)

    def lines(self, path: Path, global_step: int) -> list[Line] | None:
        """The dumped lines of a step file; None where it has none, or its dump is gone or has changed."""
        if path not in self._lines:
            self._lines[path] = self._read(path, global_step)
        return self._lines[path]

    def _read(self, path: Path, global_step: int) -> list[Line] | None:
        entry = self._steps.get(step_name(global_step, key_of(path).validate))
        if entry is None:
            return None
        try:
            dumps = read_dumps(Path(entry["file"]), lambda _: None, self._settings.get("keys"))
        except UserError:
            return None
        same = (dump for dump in dumps if dump.global_step == global_step and dump.digest == entry["digest"])
        return next((dump.lines for dump in same), None)
