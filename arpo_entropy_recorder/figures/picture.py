"""How a figure reaches the disk: whole or not at all, and with the same bytes for the same data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from arpo_entropy_recorder.atomic import check_output, written_whole
from arpo_entropy_recorder.figures.media import SCREEN, Medium
from arpo_entropy_recorder.figures.style import rc_of

# Leave out when and by what a picture was made: the same data gives the same bytes.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}


def picture_path(output: str | Path) -> Path:
    """Check, before any work is done, that a picture can be written at `output`; raises UserError."""
    return check_output(Path(output), [f".{kind}" for kind in METADATA])


def save(figure: Figure, path: Path, medium: Medium = SCREEN) -> None:
    """Write a picture drawn for `medium`: under a temporary name, renamed to `path`, so nobody sees half of one."""
    kind = path.suffix.lower().lstrip(".")
    with written_whole(path) as tmp_path, rc_context(rc_of(medium)):
        figure.savefig(tmp_path, format=kind, metadata=METADATA[kind])
