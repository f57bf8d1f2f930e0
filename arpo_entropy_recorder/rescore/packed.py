"""Dumps that are no plain text: gzipped ones, and the samples that slime and miles save with torch.

slime, told to by `save_debug_rollout_data`, saves `{"rollout_id": N, "samples": [...]}`, each sample a plain dict
(slime/ray/rollout.py, `_save_debug_rollout_data`).
"""

from __future__ import annotations

import gzip
import io
import zlib
from typing import Any

from arpo_entropy_recorder.errors import UserError, printable, shorten
from arpo_entropy_recorder.step_files.find import MAX_FILE_BYTES

# How files begin that are read by no one here, and what to do with them.
FOREIGN = {
    b"\x80": "a pickle, which may run code when it is loaded",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
}


def unpacked(data: bytes, file: str) -> bytes:
    """The bytes of a file, uncompressed if it is gzipped. Raises UserError, also for a kind that is not read."""
    if data.startswith(b"\x1f\x8b"):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as opened:
                data = opened.read(MAX_FILE_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{file}: cannot be uncompressed: {error}; gunzip it") from None
        if len(data) > MAX_FILE_BYTES:
            raise UserError(
                f"{file}: uncompressed more than {MAX_FILE_BYTES / 1e9:.1f} GB, which is too much; split it"
            )
    for beginning, kind in FOREIGN.items():
        if data.startswith(beginning):
            raise UserError(f"{file}: {kind}, and not read; write its rollouts as one JSON object per line")
    return data


def is_torch_file(data: bytes) -> bool:
    """Whether a file is a zip archive, as `torch.save` writes."""
    return data.startswith(b"PK\x03\x04")


def samples_of(data: bytes, file: str) -> list[dict[str, Any]]:
    """The samples of slime's saved rollouts, each with its rollout's number as `step`.

    Nothing that may run code is loaded. Raises UserError.
    """
    try:
        import torch
    except ImportError:
        raise UserError(f"{file}: saved with torch, which is needed to read it: pip install torch") from None
    try:
        saved = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        reason = shorten(printable(" ".join(str(error).split())), 100)
        raise UserError(
            f"{file}: not plain data that torch loads safely ({reason}); write its samples as JSON lines"
        ) from None
    samples = saved.get("samples") if isinstance(saved, dict) else None
    if not isinstance(samples, list) or not all(isinstance(sample, dict) for sample in samples):
        raise UserError(
            f"{file}: no list 'samples' of dicts in it, as slime saves; write them as one JSON object per line"
        )
    step = {"step": saved["rollout_id"]} if saved.get("rollout_id") is not None else {}
    return [step | sample for sample in samples]
