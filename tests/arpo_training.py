"""ARPO's own trainer on a CPU: a clone's launch script, filled in as a user does and made small, and its runs.

For test_arpo_training.py. What the trainer needs instead of a GPU is in trainer_on_cpu. None of ARPO's code is here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas

HERE = Path(__file__).parent
SCRIPT = "ARPO_7B_Reasoning_1node.sh"
QUESTIONS = (
    "Who wrote it?", "How long is the river?", "Why?", "When did they meet, and where?",
    "How many?", "Which one?", "Where?", "Is it so?",
)  # fmt: skip
GPUS, BATCH, N = 2, 4, 4

SMALL = {
    "N_GPUS_PER_NODE": GPUS, "TRAIN_BATCH_SIZE": BATCH, "PPO_MINI_BATCH_SIZE": BATCH, "ROLLOUT_N": N,
    "INITIAL_ROLLOUTS": 2, "MAX_PROMPT_LENGTH": 96, "MAX_RESPONSE_LENGTH": 96, "SAVE_FREQ": 2, "TEST_FREQ": 2,
}  # fmt: skip
"""Variables of the launch script."""

NO_GPU = """\
    actor_rollout_ref.rollout.tools.tool_instances.python.class_path=arpo_tools.PythonTool \\
    actor_rollout_ref.rollout.tools.fail_on_error=True \\
    actor_rollout_ref.model.use_remove_padding=False \\
    actor_rollout_ref.actor.use_dynamic_bsz=False \\
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=4 \\
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=4 \\
    actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=4 \\
    actor_rollout_ref.rollout.dtype=float32 \\
    trainer.logger=[console] \\
    ray_init.num_cpus=8 \\
    ${TEST_OPTIONS} \\
"""
"""Lines for the launch script: without flash-attention, a GPU's data type, wandb, and with tools of our own."""

REWARD = """\
def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    return float(len(solution_str) % 2)
"""


def fill_in(script, home, agent, work):
    """The text of ARPO's launch script for a run of seconds; AssertionError where a line is not as expected."""
    values = SMALL | {
        "WANDB_API_KEY": '""',
        "TRAIN_FILES": work / "train.parquet",
        "VALID_FILES": work / "valid.parquet",
        "CUSTOM_REWARD_FUNCTION_PATH": work / "reward.py",
        "SEARCH_CLASS_PATH": "arpo_tools.SearchTool",
    }
    for name, value in values.items():
        script, found = re.subn(rf"(?m)^{name}=\S*", f"{name}={value}", script)
        assert found == 1, f"{SCRIPT} sets {name} {found} times"
    for placeholder, path in (
        ("<your_path_to_ARPO>", home),
        ("<your_model_path>", agent),
        ("<your_checkpoint_save_dir>", work / "saved"),
    ):
        assert placeholder in script, placeholder
        script = script.replace(placeholder, str(path))
    after = "    trainer.rollout_data_dir=${ROLLOUT_SAVE_PATH} \\\n"  # where the README says to add lines
    assert script.count(after) == 1
    return script.replace(after, after + NO_GPU)


def prepare(clone, agent, work):
    """A copy of the clone's ARPO, with its launch script filled in, and data for it, in the directory `work`."""
    home = work / "ARPO" / "ARPO"
    shutil.copytree(clone / "ARPO", home, ignore=shutil.ignore_patterns(".git", "__pycache__"))
    path = home / "scripts" / SCRIPT
    path.write_text(fill_in(path.read_text(), home, agent, work))
    rows = [
        {
            "data_source": "toy",
            "prompt": [{"role": "user", "content": question}],
            "reward_model": {"style": "rule", "ground_truth": ""},
            "extra_info": {"index": index},
        }
        for index, question in enumerate(QUESTIONS)
    ]
    pandas.DataFrame(rows).to_parquet(work / "train.parquet")
    pandas.DataFrame(rows[:3]).to_parquet(work / "valid.parquet")
    (work / "reward.py").write_text(REWARD)
    return work


def train(work, steps, **environment):
    """Launch the script in `work` up to a step, as the README does; returns the trainer's console log."""
    sockets = tempfile.mkdtemp(prefix="ray")  # their paths have to be short
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{HERE / 'trainer_on_cpu'}:{HERE}",
        "TRAINER_GPUS": str(GPUS),
        "TRAINER_TEMP": sockets,
        "TEST_OPTIONS": f"trainer.total_training_steps={steps} {environment.pop('options', '')}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": f"0-{os.cpu_count() - 1}",
    }
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ARPO_", "VLLM_"))}
    command = ["bash", f"ARPO/ARPO/scripts/{SCRIPT}"]
    try:
        done = subprocess.run(
            command,
            cwd=work,
            env=kept | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
    finally:
        shutil.rmtree(sockets, ignore_errors=True)
    # The script ends in `| tee`, whose status it returns.
    assert f"step:{steps} - " in done.stdout, done.stdout[-6000:]
    return saved(work, "run.log").read_text()


def saved(work, name):
    """The path of something that the trainer saved."""
    (path,) = (work / "saved").glob(f"*/{name}")
    return path


def metrics(log):
    """By step, the metrics of a console log: {step: {name: value as printed}}."""
    lines = re.findall(r"step:(\d+) - (.*)", log)
    return {int(step): dict(re.findall(r"(\S+):(-?[\d.a-z]+)(?: - |$)", rest)) for step, rest in lines}


def dumped(work, step):
    """The trajectories that the trainer itself wrote of a step: [{"input", "output", "score", "step"}]."""
    return [json.loads(line) for line in saved(work, f"rollout/{step}.jsonl").read_text().splitlines()]
