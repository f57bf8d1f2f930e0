"""What a picture says of its data: where it is from, what was left out, and whether it is made up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.notes import notes
from arpo_entropy_recorder.figures.style import add_caption, add_title, figure_of
from arpo_entropy_recorder.figures.words import ENGLISH, Words


@dataclass(frozen=True)
class About:
    """What is shown, and the language that the picture speaks."""

    analysis: Analysis
    words: Words = ENGLISH

    def finish(self, axes: Axes, title: str, caption: list[str], filled: bool = False) -> Figure:
        """Give the axes' figure its title, its caption and, for simulated data, its mark; returns the figure.

        The mark lies behind the data, or in front of it where the axes are `filled`.
        """
        simulated = self.analysis.origins.simulated
        add_title(axes, title + self.words(" (simulated)") if simulated else title)
        add_caption(
            axes,
            [*caption, *notes(self.analysis, self.words, with_steps=True)],
            self.words.chinese is not None,
        )
        if simulated:  # so that it cannot pass for a measurement
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
