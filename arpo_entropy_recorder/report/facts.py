"""What is known of a run from its files alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from arpo_entropy_recorder.analysis.notes import SOURCES
from arpo_entropy_recorder.analysis.statistics import Origins
from arpo_entropy_recorder.figures.words import Words
from arpo_entropy_recorder.rescore.manifest import read_manifest
from arpo_entropy_recorder.step_files.read import Step

# Steps without all of their ranks that are named.
MAX_LACKING = 5


@dataclass
class RunFacts:
    """Counts over all records of the files, whether they are shown or left out."""

    directories: dict[Path, None] = field(default_factory=dict)
    steps: set[int] = field(default_factory=set)
    validations: set[int] = field(default_factory=set)
    stale: list[int] = field(default_factory=list)
    lacking: dict[int, tuple[int, ...]] = field(default_factory=dict)
    ranks: set[int] = field(default_factory=set)
    origins: Origins = field(default_factory=Origins)
    records: int = 0
    window: int = 1
    runs: int = 0
    has_tokens: bool = False

    def watch(self, steps: Iterable[Step]) -> Iterator[Step]:
        """The same steps, noted in passing."""
        for step in steps:
            self._add(step)
            yield step

    def _add(self, step: Step) -> None:
        columns = step.columns
        if step.path is not None:
            self.directories[step.path.parent] = None
        (self.validations if step.validate else self.steps).add(step.global_step)
        if step.stale:
            self.stale.append(step.global_step)
        if step.missing_ranks:
            self.lacking[step.global_step] = step.missing_ranks
        self.records += len(step)
        if "dp_rank" in columns:
            self.ranks |= set(np.unique(columns["dp_rank"]).tolist()) | set(step.missing_ranks)
        self.origins.add(step)
        if "window" in columns:
            self.window = max(self.window, columns["window"].shape[1])
        if "run" in columns and len(step):
            self.runs = max(self.runs, int(columns["run"].max()) + 1)
        self.has_tokens |= "tokens" in columns

    def rows(self, words: Words) -> list[tuple[str, str]]:
        """Names and values for a reader, only those that apply. Raises UserError for a broken manifest."""
        lacking = [
            words("step {step}: {ranks}", step=step, ranks=", ".join(map(str, ranks)))
            for step, ranks in list(self.lacking.items())[:MAX_LACKING]
        ]
        if (more := len(self.lacking) - MAX_LACKING) > 0:
            lacking.append(words.count(more, "and 1 more step", "and {n:,} more steps"))
        stale = words("{n:,}, left out: {steps}", n=len(self.stale), steps=_range(self.stale, words))
        first = (
            words("first {n} tokens of a segment", n=self.window) if self.window > 1 else words("first token")
        )
        rows = [
            (words("Files"), ", ".join(map(_last_part, self.directories))),
            (words("Training steps"), _range(self.steps, words)),
            (words("Validation steps"), _range(self.validations, words)),
            (words("Records"), f"{self.records:,}"),
            (
                words("Source"),
                ", ".join(
                    f"{words(name) if name in SOURCES else name} ({count:,})"
                    for name, count in sorted(self.origins.sources.items())
                ),
            ),
            (words("Window"), first),
            (words("Token ids"), words("in the records") if self.has_tokens else words("not recorded")),
            (words("Data-parallel ranks"), f"{len(self.ranks)}" if self.ranks else ""),
            (words("Ranks missing"), "; ".join(lacking)),
            (words("Stale steps"), stale if self.stale else ""),
            (words("Starts of the recorder"), f"{self.runs}" if self.runs > 1 else ""),
            (
                words("Records of incomplete calls"),
                f"{self.origins.incomplete:,}" if self.origins.incomplete else "",
            ),
        ]
        for manifest in filter(None, map(read_manifest, self.directories)):
            models = Counter(step["model"] for step in manifest["steps"].values())
            of_models = (
                f"{_last_part(m)} ({words.count(n, '1 step', '{n:,} steps')})" for m, n in models.items()
            )
            rows.append((words("Rescored with"), "; ".join(of_models)))
            lines: Counter[str] = Counter()
            for step in manifest["steps"].values():
                lines.update(step.get("lines", {}))
            counts = ", ".join(f"{name} {count:,}" for name, count in lines.items())
            rows.append((words("Rescored: dumped lines"), counts))
            for name, value in manifest["settings"].items():
                shown = ", ".join(value) if isinstance(value, list) else str(value)
                rows.append((words("Rescored: {name}", name=name), shown))
        return [(name, value) for name, value in rows if value]


def _last_part(path: Path | str) -> str:
    """The last part of a path: the others tell of a machine and its owner."""
    return Path(path).name or str(path)


def _range(steps: Iterable[int], words: Words) -> str:
    numbers = sorted(steps)
    if len(numbers) < 2:
        return "".join(map(str, numbers))
    return words("{n:,}, {first} to {last}", n=len(numbers), first=numbers[0], last=numbers[-1])
