"""What all figures share: colours, type, caption, and the mark of simulated data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from arpo_entropy_recorder.figures.words import Words

# Okabe and Ito's colour-blind-safe palette; the two main ones also differ in grey (luminance 0.37 and 0.62)
AFTER_TOOL = "#0072B2"
INITIAL = "#E69F00"
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
MARKERS = "osD^vPX"
INK = "#222222"
MUTED = "#666666"
FAINT = "#BBBBBB"
CAPTION_POINTS = 8.5

RC: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.titlepad": 28,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    # A tool's name is what a model wrote.
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.hashsalt": "arpo-entropy-recorder",  # otherwise ids in an SVG differ from run to run
    "pdf.fonttype": 42,
}


@contextmanager
def styled(words: Words) -> Iterator[None]:
    """Figures made in this context have the common style and the language's fonts."""
    # `font.family` as the list itself, so that a glyph that the first font lacks is taken from the next
    with rc_context({**RC, "font.family": list(words.families), "axes.titleweight": words.title_weight}):
        yield


def new_figure(width: float = 7.0, height: float = 4.8) -> Figure:
    """An empty figure, in inches, whose parts are laid out so that no text is cut off."""
    return Figure(figsize=(width, height), layout="constrained")


def add_legend(axes: Axes, **settings: Any) -> None:
    """The legend in a row of its own between title and axes, where it hides no data."""
    axes.legend(loc="lower left", bbox_to_anchor=(-0.015, 0.99), borderpad=0.2, **settings)


def add_caption(figure: Figure, parts: list[str], chinese: bool = False) -> None:
    """Set the sentences `parts` below the axes, wrapped to the figure's width."""
    from rich.console import Console
    from rich.text import Text

    # rich counts a Chinese character as two cells, and wraps between any two of them
    cells = int(figure.get_figwidth() * 72 / (CAPTION_POINTS * (0.52 if chinese else 0.57)))
    lines = Text(("" if chinese else " ").join(filter(None, parts))).wrap(Console(width=cells), cells)
    figure.supxlabel("\n".join(line.plain.rstrip() for line in lines), x=0.015, ha="left",
                     fontsize=CAPTION_POINTS, color=MUTED, linespacing=1.35)  # fmt: skip
