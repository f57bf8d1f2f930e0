"""What is known of a run from its files alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from arpo_entropy_recorder.analysis.statistics import Origins
from arpo_entropy_recorder.figures.words import counted
from arpo_entropy_recorder.rescore.manifest import read_manifest
from arpo_entropy_recorder.step_files.read import Step


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

    def rows(self) -> list[tuple[str, str]]:
        """Names and values for a reader, only those that apply. Raises UserError for a broken manifest."""
        lacking = "; ".join(
            f"step {step}: {', '.join(map(str, ranks))}" for step, ranks in list(self.lacking.items())[:5]
        )
        more = f"; and {counted(len(self.lacking) - 5, 'more step')}" if len(self.lacking) > 5 else ""
        rows = [
            ("Files", ", ".join(map(_last_part, self.directories))),
            ("Training steps", _range(self.steps)),
            ("Validation steps", _range(self.validations)),
            ("Records", f"{self.records:,}"),
            (
                "Source",
                ", ".join(f"{name} ({count:,})" for name, count in sorted(self.origins.sources.items())),
            ),
            ("Window", f"first {self.window} tokens of a segment" if self.window > 1 else "first token"),
            ("Token ids", "in the records" if self.has_tokens else "not recorded"),
            ("Data-parallel ranks", f"{len(self.ranks)}" if self.ranks else ""),
            ("Ranks missing", lacking + more),
            ("Stale steps", f"{len(self.stale)}, left out: {_range(self.stale)}" if self.stale else ""),
            ("Starts of the recorder", f"{self.runs}" if self.runs > 1 else ""),
            (
                "Records of incomplete calls",
                f"{self.origins.incomplete:,}" if self.origins.incomplete else "",
            ),
        ]
        for manifest in filter(None, map(read_manifest, self.directories)):
            models = Counter(step["model"] for step in manifest["steps"].values())
            rows.append(
                (
                    "Rescored with",
                    "; ".join(f"{_last_part(m)} ({counted(n, 'step')})" for m, n in models.items()),
                )
            )
            lines: Counter[str] = Counter()
            for step in manifest["steps"].values():
                lines.update(step.get("lines", {}))
            counts = ", ".join(f"{name} {count:,}" for name, count in lines.items())
            rows.append(("Rescored: dumped lines", counts))
            for name, value in manifest["settings"].items():
                shown = ", ".join(value) if isinstance(value, list) else str(value)
                rows.append((f"Rescored: {name}", shown))
        return [(name, value) for name, value in rows if value]


def _last_part(path: Path | str) -> str:
    """The last part of a path: the others tell of a machine and its owner."""
    return Path(path).name or str(path)


def _range(steps: Iterable[int]) -> str:
    numbers = sorted(steps)
    if len(numbers) < 2:
        return "".join(map(str, numbers))
    return f"{len(numbers):,}, {numbers[0]} to {numbers[-1]}"
