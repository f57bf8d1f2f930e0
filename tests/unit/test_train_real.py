"""The parts of `make train-real` that need no trainer: its data, its launch script, and how long a stretch is."""

import importlib
import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "scripts" / "train_real"
SCRIPT = """\
export PYTHONPATH="<your_path_to_ARPO>"/verl_arpo_entropy:$PYTHONPATH
CONFIG_NAME="ppo_trainer.yaml"
N_GPUS_PER_NODE=8                   # a comment
TRAIN_FILES="<your_path_to_ARPO>/train.parquet" # another
WANDB_API_KEY="<your_wandb_key>"
python3 -m trainer \\
    actor_rollout_ref.rollout.entropy_weight=0.2 \\
    trainer.rollout_data_dir=${ROLLOUT_SAVE_PATH} \\
    hydra.run.dir=there
"""


@pytest.fixture
def module(monkeypatch):
    """Imports a file of scripts/train_real by its name."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    return importlib.import_module


@pytest.fixture
def home(tmp_path):
    """A clone's directory as far as a launch script is filled in from it."""
    (tmp_path / "scripts/config").mkdir(parents=True)
    (tmp_path / "scripts/config/ppo_trainer.yaml").write_text("entropy_weight: 0.5\n")
    return tmp_path


def test_answers_are_boxed_as_arpos_reward_wants(module):
    rows = module("questions").rows(examples=4)
    assert len(rows) == 24
    for row in rows:
        system, *examples, question = row["prompt"]
        assert r"<answer> \boxed{answer} </answer>" in system["content"]
        shown = [message["content"] for message in examples if message["role"] == "assistant"]
        assert len(shown) == 4
        assert all(re.search(r"<answer> \\boxed\{.+\} </answer>$", text) for text in shown)
        assert "boxed" not in question["content"]
        assert row["reward_model"]["ground_truth"]
    assert [len(row["prompt"]) for row in module("questions").rows(examples=2)] == [6] * 24


def test_a_stretch_ends_within_its_minutes(module):
    until, start = module("train").until, module("train").START
    assert until(0, 24, 60, []) == 2  # nothing is known of the machine yet
    for taken in ([30.0], [150.0, 250.0], [200.0] * 9, [1000.0]):
        last = until(2, 24, 60, taken)
        assert 2 < last <= 24
        assert start + (last - 2) * sum(taken) / len(taken) <= 3600
    assert until(2, 24, 60, [3000.0]) == 3
    assert until(23, 24, 60, [1.0]) == 24


def test_a_launch_script_is_filled_in(module, home):
    values = {"TRAIN_FILES": "/a b/train.parquet"}
    text = module("launch").fill_in(SCRIPT, home, values, ["a={b:1,c:2}", "d=1"])
    assert f"export PYTHONPATH={home}/verl_arpo_entropy:$PYTHONPATH\n" in text
    assert "N_GPUS_PER_NODE=2 " in text
    assert "TRAIN_FILES='/a b/train.parquet' # another\n" in text
    assert "WANDB_API_KEY=\n" in text
    assert "    'a={b:1,c:2}' \\\n    d=1 \\\n    ${TRAINER_OPTIONS} \\\n    hydra.run.dir=there\n" in text
    with pytest.raises(ValueError, match="sets NO_SUCH 0 times"):
        module("launch").fill_in(SCRIPT, home, {"NO_SUCH": 1}, [])
