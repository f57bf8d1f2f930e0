"""A short training by stock verl 0.9's own trainer, `python -m verl.trainer.main_ppo`, with the toy agent."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# For import_hooks.py. Python runs one sitecustomize alone, the first on its path: that of verl_on_cpu.
IMPORT_HOOKS = ROOT / "scripts" / "train_real" / "trainer_on_cpu"
sys.path.insert(0, str(ROOT / "scripts" / "demo_verl"))

from given import PROMPTS, RESPONSES, ROLLOUT  # noqa: E402


def write_questions(folder, kind, questions):
    import pyarrow
    import pyarrow.parquet

    rows = [
        {
            "prompt": [{"role": "user", "content": question}],
            "data_source": kind,
            "reward_model": {"style": "rule", "ground_truth": ""},
            "extra_info": {"index": index},
        }
        for index, question in enumerate(questions)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"{kind}.parquet")


def overrides(folder, model, steps, prompts, n):
    """verl's configuration: a synchronous training that shares its one device with the server."""
    settings = {
        "algorithm.adv_estimator": "grpo",
        "data.train_files": folder / "train.parquet",
        "data.val_files": folder / "validation.parquet",
        "data.train_batch_size": prompts,
        "data.max_prompt_length": PROMPTS,
        "data.max_response_length": RESPONSES,
        "data.dataloader_num_workers": 0,
        "data.shuffle": False,
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
        "reward.num_workers": 1,
        "reward.reward_manager.source": "importlib",
        "reward.reward_manager.name": "BookkeepingReward",
        "reward.reward_manager.module.path": HERE / "verl_reward.py",
    }
    trainer = {
        "device": "cpu",
        "n_gpus_per_node": 1,
        "total_epochs": 1,
        "total_training_steps": steps,
        "save_freq": 1,
        "test_freq": steps,
        "val_before_train": False,
        "logger": "[console,file]",
        "resume_mode": "disable",
        "project_name": "toy",
        "experiment_name": "toy",
        "default_local_dir": folder / "checkpoints",
    }
    actor = {
        "strategy": "fsdp2",
        "optim.lr": 3e-6,
        "ppo_mini_batch_size": prompts,
        "ppo_micro_batch_size_per_gpu": 4,
        "use_torch_compile": False,
        "checkpoint.save_contents": "[hf_model]",
        "fsdp_config.use_torch_compile": False,
    }
    rollout = ROLLOUT | {
        "n": n,
        "log_prob_micro_batch_size_per_gpu": 4,
        "checkpoint_engine.update_weights_bucket_megabytes": 16,
    }
    model_settings = {"path": model, "use_remove_padding": False, "enable_gradient_checkpointing": False}
    added = {
        "actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
        "actor_rollout_ref.rollout.enable_sleep_mode": False,
        "ray_kwargs.ray_init.num_gpus": 1,
        "ray_kwargs.ray_init.include_dashboard": False,
        "ray_kwargs.ray_init._node_ip_address": "127.0.0.1",
        "ray_kwargs.ray_init.object_store_memory": 150_000_000,
    }
    precision = ("param_dtype", "reduce_dtype", "buffer_dtype")
    added |= {f"actor_rollout_ref.actor.fsdp_config.mixed_precision.{kind}": "fp32" for kind in precision}
    settings |= {f"trainer.{key}": value for key, value in trainer.items()}
    settings |= {f"actor_rollout_ref.actor.{key}": value for key, value in actor.items()}
    settings |= {f"actor_rollout_ref.rollout.{key}": value for key, value in rollout.items()}
    settings |= {f"actor_rollout_ref.model.{key}": value for key, value in model_settings.items()}
    settings["ray_kwargs.ray_init.num_cpus"] = 8
    return [f"{k}={v}" for k, v in settings.items()] + [f"+{k}={v}" for k, v in added.items()]


def train(folder, steps, prompts=4, n=3):
    """Run it on a CPU, recorded; returns its status and all that was printed."""
    from arpo_entropy_recorder.rollout.toy_agent import TOY_PROMPTS, build_toy_agent

    folder = Path(folder).resolve()
    model = build_toy_agent(folder / "toy-agent")
    write_questions(folder, "train", TOY_PROMPTS[: prompts * steps])
    write_questions(folder, "validation", TOY_PROMPTS[:3])
    with (folder / "log").open("w") as log:
        done = subprocess.run(
            [sys.executable, "-m", "verl.trainer.main_ppo", *overrides(folder, model, steps, prompts, n)],
            env=on_cpu(folder), cwd=folder, stdout=log, stderr=subprocess.STDOUT, timeout=1500,
        )  # fmt: skip
    return done.returncode, (folder / "log").read_text()


def on_cpu(folder):
    """An environment in which a launched training is recorded, and verl takes the CPU for its device."""
    clean = {
        k: v for k, v in os.environ.items() if not k.startswith(("ARPO_ENTROPY", "VERL_", "VLLM_PLUGINS"))
    }
    return clean | {
        "ARPO_ENTROPY_DIR": str(folder / "entropies"),
        "ARPO_ENTROPY_TOKENS": "on",
        "ARPO_ENTROPY_WINDOW": "3",
        "PYTHONPATH": os.pathsep.join(map(str, (HERE / "verl_on_cpu", IMPORT_HOOKS, ROOT))),
        "VERL_PLATFORM": "cpu",
        "VERL_ENGINE_DEVICE": "cuda",
        "VERL_TEST_BOOKS": str(folder / "books.jsonl"),
        "VERL_FILE_LOGGER_PATH": str(folder / "logged.jsonl"),
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }
