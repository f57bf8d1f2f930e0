"""Entropies that another tool recorded, as step files of our own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arpo_entropy_recorder import __version__
from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.rescore import prime_rl
from arpo_entropy_recorder.rescore.manifest import difference
from arpo_entropy_recorder.rescore.step_file import write_single_call
from arpo_entropy_recorder.step_files.names import RUN_INFO, StepKey, parse_name
from arpo_entropy_recorder.step_files.run_info import read_run_info, write_run_info
from arpo_entropy_recorder.step_files.values import normalised, prompt_digest

# By format: its name in figures, and whose forward pass the entropies are of.
FORMATS = {"prime-rl": ("prime-rl token exports", "the trainer's forward pass")}
# Entropies in float32 or bfloat16 may be a little above the logarithm.
TOLERANCE = 1.01


def import_steps(
    form: str,
    path: Path,
    output: Path,
    vocab_size: int,
    window: int = 1,
    model: str | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> tuple[int, int]:
    """Write a step file for each finished step of `path` to `output`; returns the numbers of steps and records.

    Nats are divided by ln(vocab_size). What the policy did not write between two of its segments counts as a tool's
    result whose tool is not known. Raises UserError, and then has written nothing unless `output` cannot be written.
    """
    steps = prime_rl.find_steps(path, say)
    settings = {"vocab_size": vocab_size, "window": window}
    _check_output(output, form, settings)
    # All of it is read before anything is written: a vocabulary that is too small may show in the last step alone.
    records = sum(len(_step(files, vocab_size, window)["round"]) for files in steps.values())
    title, forward = FORMATS[form]
    info = {"name": path.resolve().name, "model": model, **settings}
    info |= {"recorder": __version__, "imported": title, "forward": forward}
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_run_info(output, 0, info)
        for step, files in steps.items():
            write_single_call(output, StepKey(step, validate=False), _step(files, vocab_size, window))
    except OSError as error:
        raise UserError(
            f"{printable(output)}: cannot be written: {error.strerror}; choose another directory"
        ) from error
    return len(steps), records


def _check_output(output: Path, form: str, settings: dict[str, Any]) -> None:
    """Raise UserError if `output` holds step files that are not from an import of this format and these settings."""
    if not output.is_dir() or not any(parse_name(file.name) for file in output.iterdir()):
        return
    runs = read_run_info(output)
    if len(runs) != 1 or runs[0].get("imported") != FORMATS[form][0]:
        raise UserError(
            f"{printable(output)}: has step files that were not imported from {form} (by {RUN_INFO}); choose another "
            "directory"
        )
    before = {name: runs[0].get(name) for name in settings}
    if before != settings:
        raise UserError(
            f"{printable(output)}: imported before with other settings ({difference(before, settings)}); choose "
            "another directory or remove this one"
        )


def _step(files: Sequence[Path], vocab_size: int, window: int) -> dict[str, Any]:
    """The columns of the step that these files hold. Raises UserError."""
    sequences = [sequence for file in files for sequence in prime_rl.read_sequences(file)]
    return _columns(sequences, vocab_size, window)


def _columns(sequences: Sequence[prime_rl.Sequence], vocab_size: int, window: int) -> dict[str, Any]:
    prompts: dict[str, int] = {}
    rows: dict[str, list[Any]] = {
        name: []
        for name in (
            "sample_idx",
            "prompt_idx",
            "prompt",
            "round",
            "is_after_tool_call",
            "token_id",
            "tokens",
        )
    }
    windows: list[np.ndarray] = []
    for sample_idx, sequence in enumerate(sequences):
        segments = sequence.segments
        digest = prompt_digest(sequence.tokens[: segments[0][0]])
        for number, (start, end) in enumerate(segments):
            rows["sample_idx"].append(sample_idx)
            rows["prompt_idx"].append(prompts.setdefault(digest, len(prompts)))
            rows["prompt"].append(digest)
            rows["round"].append(number)
            rows["is_after_tool_call"].append(number > 0)
            rows["token_id"].append(sequence.tokens[start])
            rows["tokens"].append(sequence.tokens[start:end])
            nats = sequence.nats[start : min(end, start + window)]
            if (nats > math.log(vocab_size) * TOLERANCE).any():
                raise UserError(
                    f"{sequence.where} 'entropy': {np.nanmax(nats):.3f} nats are more than the logarithm of "
                    f"{vocab_size:,}; give the vocabulary of the model that was trained"
                )
            windows.append(normalised(nats.astype(np.float32), vocab_size))
    columns: dict[str, Any] = {
        **rows,
        **{
            name: np.array(rows[name]) for name in ("sample_idx", "prompt_idx", "round", "is_after_tool_call")
        },
        "parent_idx": [None] * len(windows),
        "tool": [None] * len(windows),
        "entropy": np.array([values[0] for values in windows], np.float32),
        "source": ["imported"] * len(windows),
    }
    return columns | ({"window": windows} if window > 1 else {})
