"""What all figures share: colours, type, caption, and how a picture reaches the disk."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .schema import UserError

# Okabe and Ito's colour-blind-safe palette; the two main ones also differ in grey (luminance 0.37 and 0.62)
AFTER_TOOL = "#0072B2"
INITIAL = "#E69F00"
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
INK = "#222222"
MUTED = "#666666"
FAINT = "#BBBBBB"

RC: Any = {
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 28,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
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
# Nothing in a picture tells when or where it was made: the same data gives the same bytes.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}
CAPTION_POINTS = 8.5


def new_figure(width: float = 7.0, height: float = 4.8) -> Figure:
    """An empty figure, in inches, whose parts are laid out so that no text is cut off."""
    return Figure(figsize=(width, height), layout="constrained")


def add_caption(figure: Figure, text: str) -> None:
    """Set `text` below the axes, wrapped to the figure's width."""
    characters = int(figure.get_figwidth() * 72 / (CAPTION_POINTS * 0.57))
    wrapped = "\n".join(textwrap.wrap(text, characters))
    figure.supxlabel(wrapped, x=0.015, ha="left", fontsize=CAPTION_POINTS, color=MUTED, linespacing=1.35)


def mark_simulated(axes: Axes) -> None:
    """Write SIMULATED across the axes, behind the data, so that the picture cannot pass for a measurement."""
    axes.text(0.5, 0.5, "SIMULATED", transform=axes.transAxes, rotation=16, ha="center", va="center",
              fontsize=56, fontweight="bold", color="#B00020", alpha=0.2, zorder=0.5)  # fmt: skip


def picture_path(output: str | Path) -> Path:
    """Check, before any work is done, that a picture can be written at `output`; raises UserError."""
    path = Path(output)
    if path.suffix.lower().lstrip(".") not in METADATA:
        raise UserError(f"--output {output}: unknown kind of picture; end the name in .png, .pdf or .svg")
    if path.is_dir():
        raise UserError(f"--output {output}: this is a directory; name a file")
    if not path.parent.is_dir():
        raise UserError(f"--output {output}: there is no directory {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"--output {output}: the directory {path.parent} may not be written to")
    return path


def save(figure: Figure, path: Path) -> None:
    """Write the picture beside `path` and rename it there, so that a half-written one is never seen."""
    kind = path.suffix.lower().lstrip(".")
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with rc_context(RC):
            figure.savefig(beside, format=kind, metadata=METADATA[kind])
        os.replace(beside, path)
    except OSError as error:
        raise UserError(f"--output {path}: cannot write the picture: {error.strerror or error}") from error
    finally:
        beside.unlink(missing_ok=True)
