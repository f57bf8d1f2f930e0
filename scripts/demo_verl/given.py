"""What verl's agent loop is given: its configuration, and the batches that a trainer hands it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

PROMPTS, RESPONSES = 128, 384
# Of verl's `actor_rollout_ref.rollout`: what the toy agent and its tools need, and an engine on a CPU.
ROLLOUT = {
    "name": "vllm",
    "dtype": "float32",
    "enforce_eager": True,
    "free_cache_engine": False,
    "tensor_model_parallel_size": 1,
    "max_num_seqs": 16,
    "max_num_batched_tokens": 512,
    "max_model_len": PROMPTS + RESPONSES,
    "agent.num_workers": 2,
    "agent.default_agent_loop": "tool_agent",
    "multi_turn.enable": True,
    "multi_turn.format": "toy",
    "multi_turn.max_assistant_turns": 5,
    "multi_turn.function_tool_path": Path(__file__).resolve().with_name("toy_tools.py"),
}


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
