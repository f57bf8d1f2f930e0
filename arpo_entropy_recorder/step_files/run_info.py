"""What is known of the runs that recorded in a directory: `entropy_run.json`, beside the step files.

A JSON list with an entry for each value of the records' key `run`. Nothing depends on it: recordings without it are
read like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import orjson

from arpo_entropy_recorder.atomic import write_file
from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.step_files.names import RUN_INFO, temporary_name


def read_run_info(directory: Path) -> list[dict[str, Any]]:
    """The entries, by `run`; none where there is no such file. Raises UserError for any other content.

    Keys: `run`, `name` of the run, `model` (last part of its path), `vocab_size`, `temperature`, `top_p`, `window`,
    the versions `vllm`, `verl` and `recorder`, and `date` (UTC). What was not known is null. For imported records
    `imported` names the format and `forward` says whose forward pass the entropies are of.
    """
    path = directory / RUN_INFO
    try:
        entries = orjson.loads(path.read_bytes())
        if isinstance(entries, list) and all(type(entry["run"]) is int for entry in entries):
            return sorted(entries, key=lambda entry: entry["run"])
        problem: object = "not a list of runs"
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        problem = error
    raise UserError(f"{printable(path)}: cannot be read ({printable(problem)}); remove it, or go on without")


def import_of(directory: Path) -> str:
    """What imported records in `directory` are, for a reader; empty if it is not known. Raises UserError."""
    runs = [run for run in read_run_info(directory) if run.get("imported")]
    return "; ".join(dict.fromkeys(f"{run['imported']}, {run.get('forward')}" for run in runs))


def write_run_info(directory: Path, run: int, info: Mapping[str, Any], rank: int = 0) -> None:
    """Add or replace the entry of `run`. The file is whole at any time. Raises OSError.

    Raises UserError, and leaves the file alone, if it has any other content.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    entries = {entry["run"]: entry for entry in read_run_info(directory)}
    entries[run] = {"run": run, **info, "date": now}
    text = orjson.dumps([entries[key] for key in sorted(entries)], option=orjson.OPT_INDENT_2)
    write_file(directory / RUN_INFO, [text, b"\n"], temporary_name(RUN_INFO, rank))
