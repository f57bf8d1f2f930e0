"""What a picture says of its data: where it is from, what was left out, and whether it is made up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from arpo_entropy_recorder.analysis.selection import KINDS
from arpo_entropy_recorder.figures.style import add_caption
from arpo_entropy_recorder.figures.words import ENGLISH, Words


@dataclass(frozen=True)
class About:
    """The global `steps` shown, what was `left_out` and why, whether `simulated`, the language, the records' kind."""

    steps: Collection[int] = ()
    left_out: Counter[str] = field(default_factory=Counter)
    simulated: bool = False
    words: Words = ENGLISH
    kind: str = KINDS[0]

    def finish(
        self, axes: Axes, title: str, caption: list[str], pad: float | None = None, filled: bool = False
    ) -> Figure:
        """Give the axes' figure its title, its caption and, for simulated data, its mark; returns the figure.

        The mark lies behind the data, or in front of it where the axes are `filled`.
        """
        axes.set_title(title + self.words(" (simulated)") if self.simulated else title, pad=pad)
        figure = axes.get_figure(root=True)
        assert figure is not None
        add_caption(figure, [*caption, *self._source()], self.words.chinese is not None)
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
        return figure

    def _source(self) -> list[str]:
        words, numbers = self.words, sorted(self.steps)
        if self.simulated:
            return [words("SIMULATED data, not a measurement.")]
        parts = []
        if self.kind != KINDS[0]:
            parts.append(words("Only {kind} records.", kind=words(self.kind)))
        if len(numbers) == 1:
            parts.append(words("Step {step}.", step=numbers[0]))
        elif numbers:
            values = {"count": len(numbers), "first": numbers[0], "last": numbers[-1]}
            parts.append(words("{count:,} steps, {first} to {last}.", **values))
        if self.left_out:
            reasons = ", ".join(
                f"{count:,} {words(reason)}" for reason, count in sorted(self.left_out.items())
            )
            parts.append(words("Left out: {reasons}.", reasons=reasons))
        return parts
