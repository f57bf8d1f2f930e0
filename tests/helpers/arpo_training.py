"""ARPO's own trainer on a CPU: a clone's launch script, filled in as a user does and made small, and its runs.

For test_arpo_training.py. What the trainer needs instead of a GPU is in scripts/train_real, which trains a real
model. None of ARPO's code is here.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow
from pyarrow import parquet

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "scripts" / "train_real"))
from launch import GPUS, WITHOUT_GPU, environment, lay_out, metrics  # noqa: E402

__all__ = ["BATCH", "GPUS", "QUESTIONS", "SCRIPTS", "N", "dumped", "metrics", "prepare", "saved", "train"]
SCRIPTS = {
    "ARPO": ("ARPO_7B_Reasoning_1node.sh", "ARPO_8B_Deepsearch_1node.sh", "ARPO_14b_Deepsearch_1node.sh"),
    "AEPO": ("AEPO_Qwen25_7B_DeepResearch.sh", "AEPO_Qwen3_14B_DeepResearch.sh"),
}
"""The launch scripts, by the directory of the clone whose `scripts` they are in."""
QUESTIONS = (
    "Who wrote it?", "How long is the river?", "Why?", "When did they meet, and where?",
    "How many?", "Which one?", "Where?", "Is it so?",
)  # fmt: skip
BATCH, N = 4, 4

SMALL = {
    "TRAIN_BATCH_SIZE": BATCH, "PPO_MINI_BATCH_SIZE": BATCH, "ROLLOUT_N": N, "INITIAL_ROLLOUTS": 2,
    "MAX_PROMPT_LENGTH": 96, "MAX_RESPONSE_LENGTH": 96, "SAVE_FREQ": 2, "TEST_FREQ": 2,
}  # fmt: skip
"""Variables of the launch script."""

OVERRIDES = (
    "++actor_rollout_ref.rollout.tools.tool_instances.python={class_path:arpo_tools.PythonTool,params:{}}",
    "++actor_rollout_ref.rollout.tools.tool_instances.search={class_path:arpo_tools.SearchTool,params:{}}",
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=4",
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=4",
    "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=4",
    *WITHOUT_GPU,
)

REWARD = """\
def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    return float(len(solution_str) % 2)
"""


def prepare(clone, variant, script, agent, work):
    """A copy of the clone's ARPO or AEPO, with the launch script filled in, and data for it, in `work`."""
    values = SMALL | {
        "ACTOR_MODEL_PATH": agent,
        "TRAIN_FILES": work / "train.parquet",
        "VALID_FILES": work / "valid.parquet",
        "CUSTOM_REWARD_FUNCTION_PATH": work / "reward.py",
        "SAVE_PATH": work / "saved",
        "ROLLOUT_SAVE_PATH": work / "saved/rollout",
    }
    lay_out(clone, variant, script, work, values, OVERRIDES)
    rows = [
        {
            "data_source": "toy",
            "prompt": [{"role": "user", "content": question}],
            "reward_model": {"style": "rule", "ground_truth": ""},
            "extra_info": {"index": index},
        }
        for index, question in enumerate(QUESTIONS)
    ]
    for name, chosen in (("train", rows), ("valid", rows[:3])):
        parquet.write_table(pyarrow.Table.from_pylist(chosen), work / f"{name}.parquet")
    (work / "reward.py").write_text(REWARD)
    return work


def train(work, steps, options="", **variables):
    """Launch the script in `work` up to a step, as the README does; returns the trainer's console log."""
    sockets = tempfile.mkdtemp(prefix="ray")  # their paths have to be short
    options = [f"trainer.total_training_steps={steps}", options]
    command = ["bash", str((work / "launch.sh").resolve())]
    try:
        done = subprocess.run(
            command,
            cwd=work,
            env=environment(sockets, options, [HERE]) | {"TRAINER_BRANCHING_SEED": "0"} | variables,
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
    (path,) = (work / "saved").glob(f"**/{name}")
    return path


def dumped(work, step):
    """The trajectories that the trainer itself wrote of a step: [{"input", "output", "score", "step"}]."""
    return [json.loads(line) for line in saved(work, f"rollout/{step}.jsonl").read_text().splitlines()]
