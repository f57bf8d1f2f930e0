"""What a trajectory says: the text of its segments token by token, and of prompt and results where it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.report.highest import Record, Trajectory
from arpo_entropy_recorder.rescore.dumps import read_dumps
from arpo_entropy_recorder.rescore.line import Line
from arpo_entropy_recorder.rescore.manifest import read_manifest, step_name
from arpo_entropy_recorder.rescore.retokenize import Retokenizer
from arpo_entropy_recorder.rescore.tokenized import Tokenized
from arpo_entropy_recorder.step_files.find import key_of
from arpo_entropy_recorder.step_files.schema import RESULT_TAG


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
        self._dumps: dict[Path, tuple[list[Line], Retokenizer] | None] = {}

    def read(self, trajectory: Trajectory) -> Transcript | None:
        """The transcript; None where the records hold no tokens. Raises UnknownTokenError."""
        if any(record.tokens is None for record in trajectory.records):
            return None
        dumped = self._dumped(trajectory)
        results = _results(dumped) if dumped else {}
        rounds = []
        for record in trajectory.records:
            result = results.get(record.round) if record.is_after_tool_call else None
            rounds.append(Round(record, result, *self._words(record)))
        return Transcript(trajectory, dumped.prompt if dumped else None, rounds)

    def _words(self, record: Record) -> tuple[list[str], str]:
        """The texts of the scored tokens and of those after them.

        A token that ends within a character is put into words together with the next.
        """
        assert record.tokens is not None
        scored = len(record.entropies)
        ends = [self._decode(record.tokens[: at + 1]) for at in range(scored)]
        whole = self._decode(record.tokens)
        at, texts = 0, []
        for end in ends:
            known = len(end.rstrip("\ufffd"))
            texts.append(whole[at : max(known, at)])
            at = max(known, at)
        return texts, whole[at:]

    def _decode(self, tokens: Sequence[int]) -> str:
        try:
            return self.tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False)
        except (OverflowError, TypeError, IndexError, KeyError) as error:
            raise UnknownTokenError(
                "the tokenizer does not know the recorded token ids; give the run's own"
            ) from error

    def _dumped(self, trajectory: Trajectory) -> Tokenized | None:
        """The dumped line that a rescored trajectory was read from, if the dump is still there and the same."""
        if trajectory.path is None:
            return None
        path = trajectory.path
        if path not in self._dumps:
            self._dumps[path] = _read_dump(path, trajectory.global_step, self.tokenizer)
        found = self._dumps[path]
        if found is None:
            return None
        lines, retokenizer = found
        dumped = retokenizer.read(lines[trajectory.sample_idx])
        segments = {segment.round: segment.tokens for segment in dumped.segments}
        return dumped if all(segments.get(r.round) == r.tokens for r in trajectory.records) else None


def _read_dump(path: Path, global_step: int, tokenizer: Any) -> tuple[list[Line], Retokenizer] | None:
    """The lines of a rescored step, and how they are read; None where its dump is gone or has changed."""
    manifest = read_manifest(path.parent)
    entry = manifest["steps"].get(step_name(global_step, key_of(path).validate)) if manifest else None
    if manifest is None or entry is None:
        return None
    settings = manifest["settings"]
    try:
        dumps = read_dumps(Path(entry["file"]), lambda _: None, settings.get("keys"))
    except UserError:
        return None
    lines = [d.lines for d in dumps if d.global_step == global_step and d.digest == entry["digest"]]
    retokenizer = Retokenizer(
        tokenizer, settings["tools"], settings.get("tags", [RESULT_TAG]), settings.get("several_turns", False)
    )
    return (lines[0], retokenizer) if lines else None


def _results(dumped: Tokenized) -> dict[int, str]:
    """The text of the result before each round."""
    results = [span.part.text for span in dumped.spans if span.part.is_result]
    return dict(enumerate(results, start=1))
