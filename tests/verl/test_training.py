"""Recording verl 0.9's own trainer, `python -m verl.trainer.main_ppo`, on a CPU: minutes, `make test-verl`.

The actor, the transfer of weights into the vLLM server, the agent loop, its storage and the log are verl's. What
must be recorded is told by the reward, which sees each trajectory's tokens; what the entropies must be, by the
weights that the trainer saved after each step.
"""

import json
import math
from functools import cache

import pytest
import torch
from transformers import AutoModelForCausalLM
from verl_books import by_trajectory, pairs, turns
from verl_training import RESPONSES, train

STEPS = 3
VOCAB = 269  # of the toy's tokenizer; its weights are padded beyond


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """(books of the reward, records by file name, what the trainer logged by step, its folder)."""
    folder = tmp_path_factory.mktemp("training")
    status, said = train(folder, STEPS)
    assert status == 0, said[-6000:]
    files = (folder / "entropies").glob("entropy_*step*.json")
    logged = [json.loads(line) for line in (folder / "logged.jsonl").read_text().splitlines()]
    rows = [json.loads(line) for line in (folder / "books.jsonl").read_text().splitlines()]
    records = {file.name: json.loads(file.read_text()) for file in files}
    return rows, records, {entry["step"]: entry["data"] for entry in logged}, folder


def test_every_trajectory_of_every_step_is_recorded(training):
    rows, records, _, _ = training
    counts = {name: len(by_trajectory(found)) for name, found in records.items()}
    assert counts == {
        "entropy_step_1.json": 12,
        "entropy_step_2.json": 12,
        "entropy_step_3.json": 12,
        "entropy_validate_step_3.json": 3,
    }
    assert len(list(pairs(rows, records, RESPONSES))) == len(rows) == 39
    assert all(value is not None for found in records.values() for r in found for value in r["window"])


def test_entropies_are_those_of_the_weights_that_wrote_the_tokens(training):
    rows, records, _, folder = training
    compared, worst, from_previous = 0, 0.0, {}
    for row, trajectory in pairs(rows, records, RESPONSES):
        for (before, _), record in zip(turns(row), trajectory, strict=True):
            prompt = before + record["tokens"][: len(record["window"]) - 1]
            found = record["window"]
            # A step is written by the weights of the step before it, and a validation by those of its own.
            policy = row["step"] - (not row["validate"])
            worst = max(worst, distance(found, entropies(folder, policy, prompt, len(found))))
            if policy:
                other = distance(found, entropies(folder, policy - 1, prompt, len(found)))
                from_previous[policy] = max(from_previous.get(policy, 0.0), other)
            compared += len(found)
    print(
        f"{compared} entropies, largest difference {worst:.1e} nats; from the weights before {from_previous}"
    )
    assert compared == sum(len(r["window"]) for found in records.values() for r in found)
    assert worst < 1e-4
    # The weights did change with each step, and the server had the new ones.
    assert sorted(from_previous) == [1, 2, 3]
    assert min(from_previous.values()) > 1e-3


def test_steps_policies_groups_and_tools_are_the_trainers(training):
    rows, records, _, _ = training
    groups = {}
    for row, trajectory in pairs(rows, records, RESPONSES):
        assert {r["global_step"] for r in trajectory} == {row["step"]}
        told = None if row["policy"] == row["step"] else row["policy"]
        assert {r.get("policy_step") for r in trajectory} == {told}
        assert [r["round"] for r in trajectory] == list(range(len(trajectory)))
        assert [r["is_after_tool_call"] for r in trajectory] == [r["round"] > 0 for r in trajectory]
        assert {r["tool"] for r in trajectory[1:]} <= {"search", "python"}
        assert len({r["prompt_idx"] for r in trajectory}) == 1
        where = (row["step"], row["validate"], trajectory[0]["prompt_idx"])
        groups.setdefault(row["uid"], set()).add(where)
    assert len(groups) == len(set.union(*groups.values())) == 4 * STEPS + 3


def test_the_trainers_log_has_our_metrics(training):
    _, records, logged, _ = training
    for step in range(1, STEPS + 1):
        values = [r["entropy"] for r in records[f"entropy_step_{step}.json"] if r["round"] == 0]
        assert logged[step]["entropy/initial/mean"] == pytest.approx(sum(values) / len(values))
        assert "entropy/null" not in logged[step]
        assert logged[step]["training/global_step"] == step
    assert logged[1]["entropy/after_tool/mean"] > 0


def distance(found, nats):
    """The largest between normalised entropies that were recorded and those in nats."""
    return max(abs(value * math.log(VOCAB) - expected) for value, expected in zip(found, nats, strict=True))


def entropies(folder, policy, tokens, count):
    """Of the last `count` positions, in nats, by a forward pass with the weights that a step left."""
    with torch.no_grad():
        logits = weights(folder, policy)(torch.tensor([tokens])).logits[0, -count:, :VOCAB]
    log_p = torch.log_softmax(logits.double(), -1)
    return (-(log_p.exp() * log_p).sum(-1)).tolist()


@cache
def weights(folder, policy):
    place = folder / (f"checkpoints/global_step_{policy}/actor/huggingface" if policy else "toy-agent")
    return AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
