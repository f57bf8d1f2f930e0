"""What a picture says of its data: where it is from, what was left out, and whether it is made up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from arpo_entropy_recorder.analysis.notes import origin_lines, reasons_of
from arpo_entropy_recorder.analysis.selection import KINDS
from arpo_entropy_recorder.analysis.statistics import Origins
from arpo_entropy_recorder.figures.style import add_caption, add_title, figure_of
from arpo_entropy_recorder.figures.words import ENGLISH, Words


@dataclass(frozen=True)
class About:
    """The global `steps` shown, what was `left_out` and why, where the rest is from, the language, the kind."""

    steps: Collection[int] = ()
    left_out: Counter[str] = field(default_factory=Counter)
    origins: Origins = field(default_factory=Origins)
    words: Words = ENGLISH
    kind: str = KINDS[0]

    @property
    def simulated(self) -> bool:
        """True if any record shown is made up."""
        return self.origins.simulated

    def finish(self, axes: Axes, title: str, caption: list[str], filled: bool = False) -> Figure:
        """Give the axes' figure its title, its caption and, for simulated data, its mark; returns the figure.

        The mark lies behind the data, or in front of it where the axes are `filled`.
        """
        add_title(axes, title + self.words(" (simulated)") if self.simulated else title)
        add_caption(axes, [*caption, *self._source()], self.words.chinese is not None)
        if self.simulated:  # so that it cannot pass for a measurement
            where: dict[str, Any] = {
                "transform": axes.transAxes,
                "rotation": 16,
                "ha": "center",
                "va": "center",
            }
            look: dict[str, Any] = {"fontsize": 56, "fontweight": self.words.title_weight, "color": "#B00020"}
            depth: dict[str, Any] = {"alpha": 0.5, "zorder": 5} if filled else {"alpha": 0.2, "zorder": 0.5}
            axes.text(0.5, 0.5, "SIMULATED", **where, **look, **depth)
        return figure_of(axes)

    def _source(self) -> list[str]:
        words, numbers = self.words, sorted(self.steps)
        parts = origin_lines(self.origins, words)
        if self.kind != KINDS[0]:
            parts.append(words("Only {kind} records.", kind=words(self.kind)))
        if len(numbers) == 1:
            parts.append(words("Step {step}.", step=numbers[0]))
        elif numbers:
            values = {"count": len(numbers), "first": numbers[0], "last": numbers[-1]}
            parts.append(words("{count:,} steps, {first} to {last}.", **values))
        if self.left_out:
            parts.append(words("Left out: {reasons}.", reasons=reasons_of(self.left_out, words)))
        return parts
