"""How a figure reaches the disk: whole or not at all, and with the same bytes for the same data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from arpo_entropy_recorder.figures.style import RC
from arpo_entropy_recorder.schema import UserError

# Nothing in a picture tells when or where it was made.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}
KINDS = tuple(METADATA)


def picture_path(output: str | Path, kind: str | None = None) -> Path:
    """Check, before any work is done, that a picture can be written at `output`; raises UserError.

    `kind`, one of KINDS, becomes the suffix of a name without one and must agree with any other.
    """
    path = Path(output)
    if kind and not path.suffix and path.name:
        path = path.with_suffix(f".{kind}")
    suffix = path.suffix.lower().lstrip(".")
    if path.is_dir():
        raise UserError(f"--output {output}: this is a directory; name a file")
    if suffix not in METADATA:
        raise UserError(f"--output {output}: unknown kind of picture; end the name in .png, .pdf or .svg")
    if kind and suffix != kind:
        raise UserError(f"--output {output} and --format {kind} disagree; leave one of them out")
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
