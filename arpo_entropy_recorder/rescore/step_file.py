"""Writes a step that is known as a whole, as one rollout call of a run's only rank."""

from __future__ import annotations

from pathlib import Path

from arpo_entropy_recorder.atomic import write_file
from arpo_entropy_recorder.step_files.encode import Columns, encode_records, file_parts
from arpo_entropy_recorder.step_files.names import StepKey, temporary_name


def write_single_call(directory: Path, key: StepKey, columns: Columns) -> None:
    """Write the step's file to `directory`, whole or not at all. Raises OSError.

    Always run 0, call 0: no step replaces another, and they may be written in any order.
    """
    texts = encode_records(columns, {"global_step": key.global_step, "call": 0, "run": 0})
    write_file(directory / key.file_name, file_parts(texts), temporary_name(key.file_name, 0))
