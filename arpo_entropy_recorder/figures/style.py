"""What all figures share: colours, type, and what stands around the axes: title, legend, caption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from arpo_entropy_recorder.figures.media import SCREEN, Medium
from arpo_entropy_recorder.figures.words import Words
from arpo_entropy_recorder.figures.wrap import kept_together, wrapped

# Okabe and Ito's colour-blind-safe palette, with Tol's wine for its yellow, which is faint on white.
# The two main ones also differ in grey (luminance 0.37 and 0.62)
AFTER_TOOL = "#0072B2"
INITIAL = "#E69F00"
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#E69F00", "#882255")
INK = "#222222"
MUTED = "#666666"
FAINT = "#BBBBBB"
ONE_ROW = 0.22  # inches of a screen, of a legend
MAX_MARGIN = 0.9  # inches, on the left of axes
# Axes of the caller's, which the figure that is being drawn goes into.
_given: ContextVar[Axes | None] = ContextVar("given", default=None)

RC: Any = {
    "font.family": "sans-serif",
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    # A model writes the tools' names: a dollar sign in one must not start a formula.
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "svg.hashsalt": "arpo-entropy-recorder",  # otherwise ids in an SVG differ from run to run
    "pdf.fonttype": 42,
}


def rc_of(medium: Medium = SCREEN) -> Any:
    """matplotlib's settings for a medium; a figure is drawn and saved with the same."""
    return RC | {
        "font.size": medium.text,
        "axes.titlesize": 1.2 * medium.text,
        "legend.fontsize": medium.legend,
        "figure.labelsize": medium.small,
        "figure.figsize": (medium.width, medium.height),
        "savefig.dpi": medium.dpi,
    }


@contextmanager
def styled(words: Words, medium: Medium = SCREEN, axes: Axes | None = None) -> Iterator[None]:
    """Figures made in this context have the common style, the medium's sizes and the language's fonts.

    With `axes` a figure of one panel is drawn into these, in the text size of the caller's settings.
    """
    if axes is not None:
        text, figure = float(rcParams["font.size"]), figure_of(axes)
        width, height = map(float, figure.get_size_inches())
        medium = Medium(width, height, text, 0.9 * text, 0.85 * text, int(figure.dpi))
    # `font.family` as the list itself, so that a glyph that the first font lacks is taken from the next
    family: Any = {"font.family": list(words.families), "axes.titleweight": words.title_weight}
    before = _given.set(axes)
    try:
        with rc_context(rc_of(medium) | family):
            yield
    finally:
        _given.reset(before)


def scale() -> float:
    """How large marks and lines are in this medium, against those on a screen."""
    return float(rcParams["font.size"]) / SCREEN.text


def on_page() -> bool:
    """Whether the medium is a page, of which a figure is a part, and not a screen."""
    return tuple(rcParams["figure.figsize"]) != (SCREEN.width, SCREEN.height)


def small() -> float:
    """The size of small text in this medium, in points."""
    return float(rcParams["figure.labelsize"])


def new_figure(width: float = SCREEN.width, height: float = SCREEN.height) -> Figure:
    """An empty figure whose parts are laid out so that no text is cut off.

    Width and height are inches of a screen; in another medium the width is always the medium's.
    """
    medium_width, medium_height = rcParams["figure.figsize"]
    size = (width, height)
    if on_page():
        size = (medium_width, height * medium_height / SCREEN.height)
    pads: Any = {"w_pad": 0.08 * scale(), "h_pad": 0.07 * scale()}
    return Figure(figsize=size, dpi=100, layout=ConstrainedLayoutEngine(**pads))


def new_axes(height: float = SCREEN.height) -> Axes:
    """The one panel of a figure: the caller's Axes where there are, else those of a `new_figure`."""
    axes = _given.get()
    return new_figure(height=height).add_subplot() if axes is None else axes


def are_given(axes: Axes) -> bool:
    """Whether these are the caller's: whatever else is in their figure stays as it is."""
    return axes is _given.get()


def size_of(axes: Axes) -> tuple[float, float]:
    """Width and height, in inches, that the axes with their labels have: those of their figure unless given."""
    figure = figure_of(axes)
    width, height = map(float, figure.get_size_inches())
    if not are_given(axes):
        return width, height
    margin = MAX_MARGIN * scale()
    return (
        min(axes.bbox.width / figure.dpi + margin, width),
        min(axes.bbox.height / figure.dpi + margin, height),
    )


def figure_of(axes: Axes) -> Figure:
    """The figure that the axes are part of."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def add_legend(axes: Axes, handles: Sequence[Line2D]) -> None:
    """The legend above the axes, where it hides no data, in as few rows as fit their width."""
    place: Any = {"loc": "lower left", "bbox_to_anchor": (-0.015, 1.0), "borderpad": 0.2}
    widest = 0.88 * size_of(axes)[0] * figure_of(axes).dpi
    for rows in range(1, len(handles) + 1):
        columns = -(-len(handles) // rows)
        legend = axes.legend(handles=handles, ncols=columns, columnspacing=1.2, handlelength=2.2, **place)
        if legend.get_window_extent().width <= widest:
            break


def add_title(axes: Axes, title: str) -> None:
    """The title above the axes and their legend; the figure, unless given, grows by the legend's further rows."""
    figure, legend = figure_of(axes), axes.get_legend()
    inches = legend.get_window_extent().height / figure.dpi if legend else 0
    if are_given(axes):
        cells = int(size_of(axes)[0] * 72 / (rcParams["font.size"] * 1.2 * 0.7))
        title = "\n".join(wrapped(title, cells))
    else:
        figure.set_figheight(figure.get_figheight() + max(inches - ONE_ROW * scale(), 0))
    axes.set_title(title, pad=12 * scale() + 72 * inches)


def take_words(figure: Figure) -> str:
    """Take title and caption off a figure, for an English page that has them as text; returns the caption."""
    caption = kept_together(figure.get_supxlabel().replace("\n", " "))
    figure.supxlabel("")
    for axes in figure.axes:
        axes.set_title("", loc="left")
    return caption


def add_caption(axes: Axes, parts: list[str], chinese: bool = False) -> None:
    """Set the sentences `parts` below the axes, from their left edge on, wrapped to the figure's width."""
    figure = figure_of(axes)
    names = [label.get_window_extent().width for label in axes.get_yticklabels()]
    inches = figure.get_figwidth() - max(MAX_MARGIN * scale(), max(names, default=0) / figure.dpi + 0.3)
    cells = int(inches * 72 / (small() * (0.52 if chinese else 0.55)))
    lines = wrapped(("" if chinese else " ").join(filter(None, parts)), cells)
    edge = blended_transform_factory(axes.transAxes, figure.transSubfigure)
    figure.supxlabel("\n".join(lines), x=0, ha="left", transform=edge,
                     color=MUTED, linespacing=1.35)  # fmt: skip
