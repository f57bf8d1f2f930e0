"""What verl's agent loop is given: its configuration, and the batches that a trainer hands it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def compose_config(overrides: list[str], folder: str = "trainer/config", name: str = "ppo_trainer") -> Any:
    """verl's own configuration of a trainer, of its PPO trainer by default, with Hydra's `overrides`."""
    import verl
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(Path(verl.__file__).parent / folder), version_base=None):
        return compose(name, overrides=overrides)


def batch_of(prompts: list[str], rows: list[int], step: int, validate: bool, **columns: Any) -> Any:
    """A DataProto with a row for each of `rows`, indices of `prompts`, and further columns' values by name."""
    from verl.protocol import DataProto

    raw = np.empty(len(rows), dtype=object)
    raw[:] = [[{"role": "user", "content": prompts[i]}] for i in rows]
    kind = "validate" if validate else "train"
    return DataProto(
        batch=None,
        non_tensor_batch={
            "raw_prompt": raw,
            "uid": np.array([f"{kind}-{step}-{i}" for i in rows], dtype=object),
            "index": np.array(rows),
            **{name: np.array(values, dtype=object) for name, values in columns.items()},
        },
        meta_info={"global_steps": step, "validate": validate},
    )
