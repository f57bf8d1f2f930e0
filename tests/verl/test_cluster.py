"""Recording verl's agent loop and its own vLLM server, as Ray actors on a CPU: minutes, `make test-verl`."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from verl_books import by_trajectory, pairs, turns

from arpo_entropy_recorder.live.status import read_status
from arpo_entropy_recorder.rollout.toy_agent import build_toy_agent

ROOT = Path(__file__).resolve().parents[2]
WINDOW = 3


@pytest.fixture(scope="module", params=[1, 2], ids="tp{}".format)
def rollout(request, tmp_path_factory):
    """(what the loop gave back, records by file name, all that was printed) of two steps and a validation.

    By a server of one worker, and of two that share the model.
    """
    folder = tmp_path_factory.mktemp("rollout")
    # Two workers need an even number of heads.
    build_toy_agent(folder / "toy-agent", vocab_multiple=128)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("ARPO_ENTROPY", "VERL_", "VLLM_PLUGINS"))}
    env |= {"ARPO_ENTROPY_DIR": str(folder / "entropies"), "ARPO_ENTROPY_TOKENS": "on"}
    env |= {"ARPO_ENTROPY_WINDOW": str(WINDOW), "PYTHONPATH": str(ROOT)}
    if request.param > 1:
        env["VLLM_CPU_OMP_THREADS_BIND"] = "0|1"
    command = [sys.executable, str(ROOT / "scripts/demo_verl/rollout.py"), str(folder), "--validate"]
    command += ["--set", f"actor_rollout_ref.rollout.tensor_model_parallel_size={request.param}"]
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    said = result.stdout + result.stderr
    assert result.returncode == 0, said[-6000:]
    files = (folder / "entropies").glob("entropy_*step*.json")
    status, _ = read_status(folder / "entropies")
    books = json.loads((folder / "books.json").read_text()) | {
        "model": folder / "toy-agent",
        "status": status,
    }
    return books, {file.name: json.loads(file.read_text()) for file in files}, said


def test_every_trajectory_is_recorded(rollout):
    books, records, said = rollout
    counts = {name: len(by_trajectory(rows)) for name, rows in records.items()}
    assert counts == {
        "entropy_step_1.json": 12,
        "entropy_step_2.json": 12,
        "entropy_validate_step_2.json": 4,
    }
    assert len(list(pairs(books["rows"], records))) == 28
    assert "entropy/after_tool/mean" in said


def test_the_status_tells_of_hooks_engines_and_records(rollout):
    books, records, _ = rollout
    status = books["status"]
    assert sorted(process.role for process in status.processes) == ["agent loop worker"] * 2 + ["trainer"]
    assert [worker.refused for worker in status.workers] == [None]
    assert status.counts["records"] == sum(map(len, records.values()))
    assert (status.cause, status.ended) == (None, True)


def test_entropies_are_those_of_transformers(rollout):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    books, records, _ = rollout
    tokenizer = AutoTokenizer.from_pretrained(books["model"])
    model = AutoModelForCausalLM.from_pretrained(books["model"], dtype=torch.float32).eval()
    size = len(tokenizer.get_vocab())
    compared, worst = 0, 0.0
    for row, trajectory in pairs(books["rows"], records):
        for (before, tokens), record in zip(turns(row), trajectory, strict=True):
            found = torch.tensor(record["window"], dtype=torch.float64) * math.log(size)
            with torch.no_grad():
                logits = model(torch.tensor([before + tokens[: len(found) - 1]])).logits[
                    0, -len(found) :, :size
                ]
            log_p = torch.log_softmax(logits.double(), -1)
            worst = max(worst, float((found + (log_p.exp() * log_p).sum(-1)).abs().max()))
            compared += len(found)
    print(f"{compared} entropies, largest difference {worst:.1e} nats")
    assert compared > 100
    assert worst < 1e-4


def test_no_value_is_missing_after_any_tool(rollout):
    _, records, _ = rollout
    rows = [record for rows in records.values() for record in rows]
    assert all(value is not None for record in rows for value in record["window"])
    assert all(len(record["window"]) == min(WINDOW, len(record["tokens"])) for record in rows)
    assert {record["tool"] for record in rows if record["is_after_tool_call"]} <= {"search", "python"}
    assert sum(record["is_after_tool_call"] for record in rows) > 10
