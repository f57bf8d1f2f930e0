"""Which trajectories a page shows: of high, middle and low entropy from all of the training, and one prompt's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from arpo_entropy_recorder.analysis.prompts import prompts
from arpo_entropy_recorder.rescore.tokenized import Tokenized
from arpo_entropy_recorder.step_files.read import Step

LEVELS = ("high", "middle", "low")
PARTS = 10
# A prompt that may come again is looked for among so many of the first step's.
FOLLOWED = 4


class Dumped(NamedTuple):
    """What the trainer's dump says of a trajectory: prompt and results' texts by round; None where not known."""

    prompt: str
    results: Mapping[int, str]
    score: float | None

    @classmethod
    def of(cls, read: Tokenized, score: float | None) -> Dumped:
        """What a dumped line says, by its tokens."""
        results = (span.part.text for span in read.spans if span.part.is_result)
        return cls(read.prompt, dict(enumerate(results, start=1)), score)


@dataclass(frozen=True)
class Record:
    """One segment of a trajectory, as recorded; `entropies` are those of its first tokens, NaN for null."""

    round: int
    tool: str | None
    is_after_tool_call: bool
    entropies: np.ndarray
    tokens: np.ndarray | None


class Sibling(NamedTuple):
    """A trajectory of the same prompt at the same step; `rounds` are (round, first entropy) of its records."""

    sample_idx: int
    parent_idx: int | None
    rounds: tuple[tuple[int, float], ...]
    score: float | None


@dataclass(frozen=True)
class Trajectory:
    """A trajectory's records in order. `level` is its mean entropy after tool results, `why` it was taken."""

    global_step: int
    path: Path | None
    call: int
    dp_rank: int | None
    sample_idx: int
    parent_idx: int | None
    prompt: str | None
    level: float
    records: list[Record]
    family: tuple[Sibling, ...]
    dumped: Dumped | None = None
    why: str = ""

    @property
    def key(self) -> tuple[int, int, int, int]:
        """Tells one from every other of the run."""
        return self.global_step, self.call, -1 if self.dp_rank is None else self.dp_rank, self.sample_idx


@dataclass
class Sample:
    """At most about `most` trajectories, evenly from each tenth of the steps and each of LEVELS.

    Of each step its highest, middle and lowest trajectories are kept until all steps are there: more of the first
    ones, which are all if the run is short. Beside these one prompt is followed through the training.
    """

    most: int
    _found: dict[int, list[Trajectory]] = field(default_factory=dict, repr=False)
    _followed: dict[str, list[Trajectory]] | None = field(default=None, repr=False)

    def add(self, step: Step, dumped: Mapping[int, Dumped] | None = None) -> None:
        """Take a step; `dumped` is by the number of a trajectory (`Step.trajectories`)."""
        if not self.most:
            return
        of, first = step.trajectories
        after = step.columns["is_after_tool_call"] & ~np.isnan(step.columns["entropy"])
        if not after.any():
            return
        found, dumped = self._found.setdefault(step.global_step, []), dumped or {}
        count = np.bincount(of[after])
        known = np.flatnonzero(count)
        level = np.bincount(of[after], step.columns["entropy"][after])[known] / count[known]
        order = known[np.argsort(level, kind="stable")]
        of_level = dict(zip(known.tolist(), level.tolist(), strict=True))
        # The n-th step keeps no less than its share of a run of n steps.
        share = math.ceil(self.most / len(LEVELS) / len(self._found))
        middle = (len(order) - share) // 2
        parts = (order[::-1][:share], order[max(middle, 0) :][:share], order[:share])
        taken: set[int] = set()
        prompt, names, _ = prompts(step, first)
        for why, numbers in zip(LEVELS, parts, strict=True):
            for number in numbers.tolist():
                if number not in taken:
                    taken.add(number)
                    found.append(_take(step, number, of_level[number], prompt, names, dumped, why))
        if self._followed is None:
            self._followed = {name: [] for name in list(dict.fromkeys(filter(None, names)))[:FOLLOWED]}
        for name, rows in self._followed.items():
            number = next((n for n in np.flatnonzero(names == name).tolist() if n in of_level), None)
            if number is not None:
                rows.append(_take(step, number, of_level[number], prompt, names, dumped, "followed"))

    def trajectories(self) -> list[Trajectory]:
        """Those to show, by step; each once."""
        steps = sorted(self._found)
        chosen: dict[tuple[int, int, int, int], Trajectory] = {}
        parts = [
            part for part in np.array_split(np.array(steps, int), min(PARTS, len(steps) or 1)) if len(part)
        ]
        for index, part in enumerate(parts):
            of_part = [t for step in part.tolist() for t in self._found[step]]
            for why in LEVELS:
                candidates = [t for t in of_part if t.why == why]
                # Shares that add up: 100 of 10 tenths and 3 levels are 33 or 34 a level.
                share = _share(self.most, len(parts) * len(LEVELS), index * len(LEVELS) + LEVELS.index(why))
                chosen |= {t.key: t for t in _most_typical(candidates, why, share)}
        followed = max((self._followed or {}).values(), key=len, default=[])
        if len(followed) > 1:
            for t in _evenly(followed, PARTS):
                chosen[t.key] = replace(t, why=f"{chosen[t.key].why}, followed" if t.key in chosen else t.why)
        return [chosen[key] for key in sorted(chosen)]


def _share(total: int, parts: int, index: int) -> int:
    return total * (index + 1) // parts - total * index // parts


def _most_typical(candidates: Sequence[Trajectory], why: str, count: int) -> list[Trajectory]:
    """The highest, lowest, or for the middle an even choice over the steps."""
    if why == LEVELS[1]:
        return _evenly(candidates, count)
    return sorted(candidates, key=lambda t: t.level, reverse=why == LEVELS[0])[:count]


def _evenly(items: Sequence[Trajectory], count: int) -> list[Trajectory]:
    if len(items) <= count:
        return list(items)
    return [items[at] for at in np.linspace(0, len(items) - 1, count).round().astype(int).tolist()]


def _take(
    step: Step,
    number: int,
    level: float,
    prompt: np.ndarray,
    names: np.ndarray,
    dumped: Mapping[int, Dumped],
    why: str,
) -> Trajectory:
    columns, (of, _) = step.columns, step.trajectories

    def value(name: str, row: int) -> Any:
        found = columns[name][row].item() if name in columns else -1
        return None if found == -1 else found

    def rows_of(trajectory: int) -> list[int]:
        rows = np.flatnonzero(of == trajectory)
        found: list[int] = rows[np.argsort(columns["round"][rows], kind="stable")].tolist()
        return found

    siblings = []
    for other in np.flatnonzero(prompt == prompt[number]).tolist():
        rows = rows_of(other)
        rounds = tuple((int(columns["round"][row]), float(columns["entropy"][row])) for row in rows)
        score = dumped[other].score if other in dumped else None
        siblings.append(
            Sibling(int(columns["sample_idx"][rows[0]]), value("parent_idx", rows[0]), rounds, score)
        )
    rows = rows_of(number)
    first = rows[0]
    return Trajectory(
        step.global_step, step.path, value("call", first) or 0, value("dp_rank", first),
        int(columns["sample_idx"][first]), value("parent_idx", first), names[number], level,
        [_record(columns, row) for row in rows], tuple(siblings), dumped.get(number), why,
    )  # fmt: skip


def _record(columns: Mapping[str, np.ndarray], row: int) -> Record:
    window = columns["window"][row] if "window" in columns else np.empty(0)
    tokens = np.asarray(columns["tokens"][row], np.int64) if "tokens" in columns else None
    width = len(window) if tokens is None else min(len(window), len(tokens))
    return Record(
        int(columns["round"][row]),
        columns["tool"][row] if "tool" in columns else None,
        bool(columns["is_after_tool_call"][row]),
        np.concatenate([columns["entropy"][row : row + 1], window[1:width]]),
        tokens if tokens is not None and len(tokens) else None,
    )
