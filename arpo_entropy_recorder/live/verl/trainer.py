"""In the trainer's process: a step's end, its metrics, and the settings that workers are given."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from arpo_entropy_recorder.live.job import COLLECTOR, JOB
from arpo_entropy_recorder.live.verl.actor import MEMBERSHIP
from arpo_entropy_recorder.recorder.settings import without_tilde

# Only dicts with this key are what a trainer logs of a training step.
TRAINING_KEY = "training/global_step"
PREFIX = "ARPO_ENTROPY_"
DIRECTORY = "ARPO_ENTROPY_DIR"


def with_metrics(data: Any, step: Any) -> Any:
    """`data` as it is to be logged: a training step's with the metrics of its entropies. Never raises."""
    try:
        is_training = isinstance(data, dict) and TRAINING_KEY in data
        metrics = MEMBERSHIP.ask("finish", int(step), is_training)
    except Exception:
        return data
    return {**data, **metrics} if is_training and metrics else data


def write_rest() -> None:
    """The run ends: write the steps that nobody has logged. Never raises, though the interpreter may be ending."""
    with suppress(Exception):
        MEMBERSHIP.ask("finish", None, False)


def with_settings(runtime_env: Any) -> Any:
    """Ray's runtime environment with this process's settings of the recorder, and without its token."""
    names = [name for name in os.environ if name.startswith(PREFIX) and name not in (JOB, COLLECTOR)]
    names += [
        name for name in ("VERL_USE_EXTERNAL_MODULES", "VERL_USE_EXTERNAL_PLUGINS") if name in os.environ
    ]
    values = {name: os.environ[name] for name in names}
    if values.get(DIRECTORY):
        # Workers run elsewhere.
        values[DIRECTORY] = str(without_tilde(values[DIRECTORY]).absolute())
    runtime_env.setdefault("env_vars", {}).update(values)
    return runtime_env
