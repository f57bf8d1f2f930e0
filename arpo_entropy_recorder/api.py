"""Recorded runs in Python and in notebooks: `load` a run, ask it for numbers, frames and figures, `compare` several.

Nothing is read before it is asked for, and then once for each selection.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from arpo_entropy_recorder.analysis.analysis import PARTS, Analysis, analyse, records
from arpo_entropy_recorder.analysis.compare import Difference, differences, remarks
from arpo_entropy_recorder.analysis.selection import Selection, Span
from arpo_entropy_recorder.analysis.summary import summarise
from arpo_entropy_recorder.analysis.verdict import answer
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.step_files.runs import RunFiles, find_run, find_run_in

if TYPE_CHECKING:
    import pandas
    import pyarrow
    from matplotlib.axes import Axes

Numbers = Union[slice, int, Sequence[int], None]  # noqa: UP007
OVER_MEAN = 'where(over="mean")'


def load(path: str | Path | Sequence[str | Path], name: str | None = None) -> Run:
    """A run, of a directory, a file or a pattern of step files, or of the parts of a resumed run, a list in order.

    `name` is the directory's, or its parent's where it is called `entropy` or `entropies`, unless given. Raises
    UserError where there are no step files, or several runs.
    """
    if isinstance(path, str | Path):
        return Run(find_run(str(path)) if name is None else find_run_in(name, [str(path)]))
    paths = [str(part) for part in path]
    if not paths:
        raise UserError("load: an empty list; give a directory of step files")
    return Run(find_run_in(name or find_run(paths[0]).name, paths))


def compare(**runs: Run | str | Path | Sequence[Run | str | Path]) -> Comparison:
    """Runs by their names; a list is a run's seeds: `compare(arpo=[run, "seed1/"], grpo="grpo/entropies")`."""
    found = {}
    for name, seeds in runs.items():
        several = [seeds] if isinstance(seeds, Run | str | Path) else list(seeds)
        found[name] = [seed if isinstance(seed, Run) else load(seed, name) for seed in several]
    if not all(found.values()) or sum(map(len, found.values())) < 2:
        raise UserError("compare takes two runs or more, as compare(a=run, b='dir/')")
    return Comparison(found)


class Run:
    """A recorded run, or what `where` chose of it. Entropies are normalised, in [0, 1]."""

    def __init__(self, files: RunFiles, selection: Selection | None = None) -> None:
        self._files = files
        self.selection = selection or Selection()

    @property
    def name(self) -> str:
        return self._files.name

    @cached_property
    def meta(self) -> dict[str, Any]:
        """What `entropy_run.json` says of the run: model, vocab_size, temperature, window, ...; {} without one."""
        return dict(self._files.info)

    @property
    def steps(self) -> np.ndarray:
        """The global steps, in order, int64[steps]."""
        return np.array(sorted(self.analysis.rounds.steps), int)

    @cached_property
    def analysis(self) -> Analysis:
        """The statistics behind numbers and figures."""
        return analyse(self._files.steps(), PARTS, self.selection, self._files.vocab_size)

    @property
    def verdict(self) -> str:
        """The answer in one line."""
        return answer(self.analysis, OVER_MEAN)

    def stats(self) -> dict[str, Any]:
        """Answer, trend, groups and more, as `arpo-entropy stats` prints them as JSON."""
        return summarise(self.analysis, OVER_MEAN)

    def where(
        self,
        *,
        steps: Numbers = None,
        tool: str | None = None,
        rounds: Numbers = None,
        validation: bool | None = None,
        over: str | None = None,
    ) -> Run:
        """The run with a further selection; what is not given stays as it is.

        `steps` and `rounds` are a number, a slice or a pair (from, to), and both ends count. Trajectories' starts
        stay whatever tool and rounds are chosen. `over` is "first", the first token's entropy, or "mean", that over
        the recorded window.
        """
        given: dict[str, Any] = {
            "steps": _span(steps), "tool": tool, "rounds": _span(rounds), "validation": validation, "over": over
        }  # fmt: skip
        return Run(
            self._files,
            replace(self.selection, **{key: value for key, value in given.items() if value is not None}),
        )

    @cached_property
    def _records(self) -> dict[str, np.ndarray]:
        return records(self._files.steps(), self.selection)

    def numpy(self) -> dict[str, np.ndarray]:
        """The records that are counted, by key (docs/records.md), [n] each; `window` is [n, k].

        A null is NaN in a float column, -1 in one of ints. Padding, stale steps and other kinds of records are left
        out, as in `stats`.
        """
        return dict(self._records)

    @property
    def df(self) -> pandas.DataFrame:
        """The records of `numpy` as a frame, `window` and `tokens` as lists. Raises UserError without pandas."""
        try:
            import pandas
        except ImportError:
            raise UserError("df needs pandas: pip install pandas (numpy() needs nothing more)") from None
        return pandas.DataFrame({key: list(c) if c.ndim > 1 else c for key, c in self._records.items()})

    def arrow(self) -> pyarrow.Table:
        """The records of `numpy` as an Arrow table with nulls. Raises UserError without pyarrow."""
        from arpo_entropy_recorder.analysis.export import arrow_table

        return arrow_table(self._records)

    def plot(self, figure: str | None = None, ax: Axes | None = None) -> Axes:
        """Draw a figure, by default after / before over training from 20 steps on; a notebook shows it.

        Returns its (first) Axes; the Figure is `axes.figure`. With `ax` it is drawn there, in your text size and with
        its title; the caption, which says what is drawn, is then not in the picture but `ax.get_label()`. Raises
        UserError for a figure that is not known, where the records lack what it shows, and with `ax` for `effect`,
        which has two panels.
        """
        from arpo_entropy_recorder.figures.catalogue import FIGURES, default_figure, draw

        if figure is None:
            figure = default_figure(self.analysis)
        if figure not in FIGURES:
            raise UserError(f"{figure}: no such figure; choose {', '.join(FIGURES)}")
        if ax is not None:
            draw(figure, self.analysis, axes=ax)
            return ax
        drawn = draw(figure, self.analysis)
        _show(drawn)
        return drawn.axes[0]

    def __repr__(self) -> str:
        where = ", ".join(map(str, self._files.directories))
        return f"Run({self.name!r}, {len(self._files.files)} files in {where})"

    def _repr_html_(self) -> str:
        return f"<p><b>{escape(self.name)}</b>: {escape(self.verdict)}</p>"


class Comparison:
    """Runs beside each other. `runs` has the seeds of each name."""

    def __init__(self, runs: Mapping[str, Sequence[Run]]) -> None:
        self.runs = runs

    @cached_property
    def differences(self) -> list[Difference]:
        """After / before of each run over that of the first, at the same steps."""
        pairs = {name: [found.pairs for found in seeds] for name, seeds in self._analyses.items()}
        return differences(pairs)

    @property
    def lines(self) -> list[str]:
        """Each run's answer, then how they differ and what to know of it."""
        answers = [f"{name}: {run.verdict}" for name, seeds in self.runs.items() for run in seeds]
        infos = {name: [run.meta for run in seeds] for name, seeds in self.runs.items()}
        told = [found.line for found in self.differences]
        return [*answers, *told, *remarks(self._analyses, infos)]

    def plot(self, figure: str = "effect") -> Axes:
        """Draw the runs beside each other: `effect` over training, or `rounds`; returns the first Axes."""
        from arpo_entropy_recorder.figures.catalogue import RUN_FIGURES, draw_runs

        if figure not in RUN_FIGURES:
            raise UserError(f"{figure}: no such figure of several runs; choose {', '.join(RUN_FIGURES)}")
        drawn = draw_runs(self._analyses, name=figure)
        _show(drawn)
        return drawn.axes[0]

    @property
    def _analyses(self) -> dict[str, list[Analysis]]:
        return {name: [run.analysis for run in seeds] for name, seeds in self.runs.items()}

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def _repr_html_(self) -> str:
        return "".join(f"<p>{escape(line)}</p>" for line in self.lines)


def _span(numbers: Numbers) -> Span | None:
    """The ends of a selection; both count."""
    if numbers is None:
        return None
    if isinstance(numbers, slice):
        if numbers.step not in (None, 1):
            raise UserError("where: a slice with a step; both ends count, and all between them")
        return numbers.start, numbers.stop
    if isinstance(numbers, Sequence):
        first, last = numbers
        return first, last
    return int(numbers), int(numbers)


def _show(figure: Any) -> None:
    """Show the figure in a notebook; elsewhere nothing is shown."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None or not hasattr(shell, "kernel"):
        return
    from IPython.display import Image, display

    file = BytesIO()
    figure.savefig(file, format="png")
    display(Image(file.getvalue()))
