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

import pyarrow
from pyarrow import parquet

HERE = Path(__file__).parent
SCRIPTS = {
    "ARPO": ("ARPO_7B_Reasoning_1node.sh", "ARPO_8B_Deepsearch_1node.sh", "ARPO_14b_Deepsearch_1node.sh"),
    "AEPO": ("AEPO_Qwen25_7B_DeepResearch.sh", "AEPO_Qwen3_14B_DeepResearch.sh"),
}
"""The launch scripts, by the directory of the clone whose `scripts` they are in."""
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
    '++actor_rollout_ref.rollout.tools.tool_instances.python={class_path:arpo_tools.PythonTool,params:{}}' \\
    '++actor_rollout_ref.rollout.tools.tool_instances.search={class_path:arpo_tools.SearchTool,params:{}}' \\
    ++actor_rollout_ref.rollout.tools.fail_on_error=True \\
    actor_rollout_ref.model.use_remove_padding=False \\
    actor_rollout_ref.actor.use_dynamic_bsz=False \\
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=4 \\
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=4 \\
    actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=4 \\
    ++actor_rollout_ref.rollout.dtype=float32 \\
    trainer.logger=[console] \\
    ++ray_init.num_cpus=8 \\
    ${TEST_OPTIONS} \\
"""
"""Lines for the launch script: without flash-attention, a GPU's data type, wandb, and with tools of our own."""

REWARD = """\
def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    return float(len(solution_str) % 2)
"""


def fill_in(script, home, agent, work):
    """The text of a launch script for a run of seconds; AssertionError where a line is not as expected."""
    values = SMALL | {
        "ACTOR_MODEL_PATH": agent,
        "TRAIN_FILES": work / "train.parquet",
        "VALID_FILES": work / "valid.parquet",
        "CUSTOM_REWARD_FUNCTION_PATH": work / "reward.py",
        "SAVE_PATH": work / "saved",
        "ROLLOUT_SAVE_PATH": work / "saved/rollout",
        "WANDB_API_KEY": "",
    }
    for name, value in values.items():
        script, found = re.subn(rf"(?m)^((?:export )?{name}=)\S*", rf"\g<1>{value}", script)
        assert found == 1, f"the launch script sets {name} {found} times"
    # Some lead to where their authors train.
    script, found = re.subn(r"(?m)^(export PYTHONPATH=)\S*(/verl_\w+)", rf"\g<1>{home}\g<2>", script)
    assert found == 1
    script = script.replace("<your_path_to_ARPO>", str(home))
    # As docs/arpo.md says of configurations that lack the key.
    if "entropy_weight" not in (home / "scripts" / "config" / config_name(script)).read_text():
        script = script.replace(
            " actor_rollout_ref.rollout.entropy_w", " ++actor_rollout_ref.rollout.entropy_w"
        )
    after = "    trainer.rollout_data_dir=${ROLLOUT_SAVE_PATH} \\\n"  # where the README says to add lines
    assert script.count(after) == 1
    return script.replace(after, after + NO_GPU)


def config_name(script):
    return re.search(r'(?m)^CONFIG_NAME="(.*)"', script)[1]


def prepare(clone, variant, script, agent, work):
    """A copy of the clone's ARPO or AEPO, with the launch script filled in, and data for it, in `work`."""
    home = work / "clone" / variant
    shutil.copytree(clone / variant, home, ignore=shutil.ignore_patterns(".git", "__pycache__"))
    text = (home / "scripts" / script).read_text()
    (work / "launch.sh").symlink_to(home / "scripts" / script)
    (home / "scripts" / script).write_text(fill_in(text, home, agent, work))
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


def train(work, steps, **environment):
    """Launch the script in `work` up to a step, as the README does; returns the trainer's console log."""
    sockets = tempfile.mkdtemp(prefix="ray")  # their paths have to be short
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{HERE / 'trainer_on_cpu'}:{HERE}:{HERE.parents[1]}",
        "TRAINER_GPUS": str(GPUS),
        "TRAINER_TEMP": sockets,
        "TEST_OPTIONS": f"trainer.total_training_steps={steps} {environment.pop('options', '')}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": f"0-{os.cpu_count() - 1}",
    }
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ARPO_", "VLLM_"))}
    command = ["bash", str((work / "launch.sh").resolve())]
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
    (path,) = (work / "saved").glob(f"**/{name}")
    return path


def metrics(log):
    """By step, the metrics of a console log: {step: {name: value as printed}}."""
    lines = re.findall(r"step:(\d+) - (.*)", log)
    return {int(step): dict(re.findall(r"(\S+):(-?[\d.a-z]+)(?: - |$)", rest)) for step, rest in lines}


def dumped(work, step):
    """The trajectories that the trainer itself wrote of a step: [{"input", "output", "score", "step"}]."""
    return [json.loads(line) for line in saved(work, f"rollout/{step}.jsonl").read_text().splitlines()]
