"""Which dumped line is which recorded trajectory: by what the policy wrote, where that fits exactly one.

A trainer may cut a response after the rollout, as ARPO does to `response_length` tokens: its line has only the
beginning of what was recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from arpo_entropy_recorder.analysis.branching import parents_of
from arpo_entropy_recorder.analysis.prompts import prompts
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.report.sample import Dumped
from arpo_entropy_recorder.rescore.dumps import Dump, find_dumps, number_in, read_dumps
from arpo_entropy_recorder.rescore.line import Line
from arpo_entropy_recorder.rescore.retokenize import Retokenizer
from arpo_entropy_recorder.rescore.segments import ARPO_TOOLS
from arpo_entropy_recorder.rescore.settings import RescoreSettings
from arpo_entropy_recorder.rescore.skipping import usable
from arpo_entropy_recorder.rescore.survey import survey
from arpo_entropy_recorder.rescore.tokenized import Tokenized
from arpo_entropy_recorder.step_files.read import Step
from arpo_entropy_recorder.step_files.values import prompt_digest

JOINED, AMBIGUOUS, MISSING, UNREADABLE = "joined", "ambiguous", "missing", "unreadable"
CUT = "cut"
# The policy's text of each round, without white space.
Written = tuple[tuple[int, str], ...]


class Left(NamedTuple):
    """A line that agrees with no trajectory: the policy's text, the digest of its prompt, and what it says."""

    text: Written
    digest: str
    dumped: Dumped


@dataclass
class Join:
    """The dump in `directory`, whose lines are joined with the trajectories of a step.

    `counts` has how many trajectories were JOINED, how many of these with a line that the trainer CUT, how many fit
    several lines or a line that fits several (AMBIGUOUS), or fit none (MISSING), and how many lines were UNREADABLE.
    """

    directory: Path
    tokenizer: Any
    counts: Counter[str] = field(default_factory=Counter)
    _files: dict[int | None, list[Path]] = field(default_factory=dict, repr=False)
    _dumps: dict[int, list[Dump]] = field(default_factory=dict, repr=False)
    _retokenizer: Retokenizer | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for file in find_dumps(self.directory):
            self._files.setdefault(number_in(file), []).append(file)
        # Without a number in its name a file may hold any step.
        self._read(None)

    def of(self, step: Step) -> dict[int, Dumped]:
        """What the dump says of the step's trajectories, by their number (`Step.trajectories`). Raises UserError."""
        if "tokens" not in step.columns:
            return {}
        self._read(step.global_step)
        dumps = self._dumps.pop(step.global_step, [])
        if dumps and self._retokenizer is None:
            self._retokenizer = self._understood(step, dumps[0].file)
        written = self._written(step)
        trajectories: dict[Written, list[int]] = {}
        for number, text in enumerate(written):
            trajectories.setdefault(text, []).append(number)
        prompt, names, _ = prompts(step, step.trajectories[1])
        fits: dict[int, Dumped] = {}
        ambiguous: set[int] = set()
        left: list[Left] = []
        lines = chain.from_iterable(dump.lines for dump in dumps)
        for line, read in usable(lines, self._read_line, self._skip):
            text = self._written_in(line, read)
            candidates = trajectories.get(text, [])
            if len({prompt[number] for number in candidates}) != 1:
                digest = prompt_digest(read.tokens[: read.prompt_len])
                if not candidates:
                    left.append(Left(text, digest, Dumped.of(read, line.score)))
                candidates = [number for number in candidates if names[number] == digest] or candidates
            for number in candidates:
                if len(candidates) > 1 or number in fits:
                    ambiguous.add(number)
                fits[number] = Dumped.of(read, line.score)
        single = {number: dumped for number, dumped in fits.items() if number not in ambiguous}
        several = _contradicting(single, prompt)
        joined = {number: dumped for number, dumped in single.items() if number not in several}
        begun = self._begun(left, written, joined, prompt, names)
        lines_of = Counter(chain.from_iterable(begun))
        cut = {
            numbers[0]: one.dumped
            for one, numbers in zip(left, begun, strict=True)
            if len(numbers) == 1 and lines_of[numbers[0]] == 1 and numbers[0] not in fits
        }
        fitting = fits.keys() | lines_of.keys()
        self.counts[CUT] += len(cut)
        self.counts[JOINED] += len(joined) + len(cut)
        self.counts[AMBIGUOUS] += len(fitting) - len(joined) - len(cut)
        self.counts[MISSING] += len(written) - len(fitting)
        return joined | cut

    def _read(self, number: int | None) -> None:
        for file in self._files.pop(number, []):
            for dump in read_dumps(file, self._skip):
                self._dumps.setdefault(dump.global_step, []).append(dump)

    def _skip(self, error: UserError) -> None:
        self.counts[UNREADABLE] += 1

    def _understood(self, step: Step, file: Path) -> Retokenizer:
        """How the lines are read, by those of a file; with ARPO's tags where it has no result."""
        named = {name for name in step.columns.get("tool", ()) if name}
        tools = tuple(sorted(named | {*ARPO_TOOLS}))
        settings = RescoreSettings("", str(file), tools=tools)
        try:
            return survey([file], settings, lambda _: self.tokenizer, skip_bad=True)[1]
        except UserError:
            return Retokenizer(self.tokenizer, tools)

    def _written(self, step: Step) -> list[Written]:
        """What the policy wrote in each round of each trajectory, a parent's rounds before a branch included."""
        of, first = step.trajectories
        rounds, tokens = step.columns["round"].tolist(), step.columns["tokens"]
        ids: list[dict[int, list[int]]] = [{} for _ in first]
        for row, number in enumerate(of.tolist()):
            ids[number].setdefault(rounds[row], []).extend(tokens[row])
        own = [{r: self._decode(of_round) for r, of_round in by_round.items()} for by_round in ids]
        parent = parents_of(step).tolist()

        def whole(number: int) -> dict[int, str]:
            found, at, seen = own[number], parent[number], {number}
            while at >= 0 and at not in seen:
                begin = min(found)
                found = {r: text for r, text in own[at].items() if r < begin} | found
                seen.add(at)
                at = parent[at]
            return found

        return [_compared(whole(number)) for number in range(len(first))]

    def _begun(
        self,
        left: Sequence[Left],
        written: Sequence[Written],
        joined: Mapping[int, Dumped],
        prompt: np.ndarray,
        names: np.ndarray,
    ) -> list[list[int]]:
        """The trajectories of each line's prompt that begin with its text.

        A prompt is a line's by its digest, or as that of another line, which is joined with one of its trajectories.
        """
        if not left:
            return []
        tags = self._retokenizer.tags if self._retokenizer else ()
        of_text: dict[str, set[int]] = {}
        for number, dumped in joined.items():
            of_text.setdefault(dumped.prompt, set()).add(int(prompt[number]))
        return [
            [
                number
                for number, whole in enumerate(written)
                if (names[number] == one.digest or prompt[number] in of_text.get(one.dumped.prompt, ()))
                and _begins(whole, one.text, tags)
            ]
            for one in left
        ]

    def _read_line(self, line: Line) -> tuple[Line, Tokenized]:
        assert self._retokenizer is not None
        return line, self._retokenizer.read(line)

    def _written_in(self, line: Line, read: Tokenized) -> Written:
        """What the policy wrote in each round of a line."""
        written = [""]
        for span in read.spans:
            if span.part.is_result:
                written.append("")
            elif isinstance(line.response, str):
                written[-1] += span.part.text
            else:
                written[-1] += self._decode(read.tokens[span.start : span.stop])
        return _compared(dict(enumerate(written)))

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _compared(written: Mapping[int, str]) -> Written:
    """By round, white space aside: a dump may have stripped it."""
    texts = ((number, "".join(text.split())) for number, text in sorted(written.items()))
    return tuple((number, text) for number, text in texts if text)


def _begins(whole: Written, text: Written, tags: Iterable[str]) -> bool:
    """Whether `text` is the beginning of `whole`, or that up to a call and of a tag of its result."""
    if not text:
        return False
    *earlier, (number, end) = text
    end = end.rstrip("\ufffd")  # of a character that was cut within
    own = dict(whole).get(number, "")
    if not own or [part for part in whole if part[0] < number] != earlier:
        return False
    opening = end.removeprefix(own) if end.startswith(own) else ""
    return own.startswith(end) or any(opening and f"<{tag}>".startswith(opening) for tag in tags)


def _contradicting(joined: Mapping[int, Dumped], prompt: np.ndarray) -> set[int]:
    """The trajectories of a prompt that were joined with lines of different prompts."""
    of_prompt: dict[int, set[str]] = {}
    for number, dumped in joined.items():
        of_prompt.setdefault(int(prompt[number]), set()).add(dumped.prompt)
    return {number for number in joined if len(of_prompt[int(prompt[number])]) > 1}
