"""ARPO itself, patched: what it records is what its own loop did. Needs a clone: ARPO_ROOT=path/to/ARPO."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from engines import Oracle

pytestmark = pytest.mark.arpo
ROOT = Path(__file__).resolve().parents[2]
KEYS = ("sample_idx", "prompt_idx", "parent_idx", "round", "tool", "is_after_tool_call")


@pytest.fixture(scope="module", params=["verl_arpo_entropy", "verl_aepo_entropy"])
def tree(request, arpo_root, tmp_path_factory):
    """A patched copy of the clone's `verl_arpo_entropy`, and of `verl_aepo_entropy` where it has one."""
    found = [arpo_root] if arpo_root.name == request.param else sorted(arpo_root.glob(f"**/{request.param}"))
    if not found:
        pytest.skip(f"{arpo_root} has no {request.param}: this variant was NOT tested")
    copy = tmp_path_factory.mktemp("clone") / request.param
    shutil.copytree(found[0], copy, ignore=shutil.ignore_patterns(".git", "__pycache__"))
    subprocess.run([ROOT / "scripts" / "apply_patch.sh", copy], check=True)
    return copy


@pytest.fixture(scope="module")
def runs(tree, toy_agent, tmp_path_factory):
    """What the stock class and the recording one did with the same seeds, and the directory recorded into."""
    out = tmp_path_factory.mktemp("recorded")
    for mode in ("stock", "record"):
        command = [
            sys.executable,
            str(ROOT / "tests" / "helpers" / "arpo_rollout.py"),
            str(tree),
            str(toy_agent),
            str(out),
            mode,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
    stock, recorded = (json.loads((out / f"{mode}.json").read_text()) for mode in ("stock", "record"))
    return stock, recorded, out


def records_of(out, kind, step, call=0):
    prefix = "entropy_validate_step" if kind == "validate" else "entropy_step"
    return [r for r in json.loads((out / f"{prefix}_{step}.json").read_text()) if r["call"] == call]


def steps(recorded, out):
    return zip(
        recorded,
        [
            records_of(out, "train", 1),
            records_of(out, "train", 2),
            records_of(out, "greedy", 2, call=1),
            records_of(out, "validate", 2),
        ],
        strict=True,
    )


def test_outputs_are_those_of_the_unpatched_class(runs):
    stock, recorded, _ = runs
    for before, after in zip(stock, recorded, strict=True):
        for key in ("responses", "loss_mask"):
            assert after[key] == before[key]
        assert [call["outputs"] for call in after["calls"]] == [call["outputs"] for call in before["calls"]]
        shared = {key: value for key, value in after["metrics"].items() if not key.startswith("entropy/")}
        assert shared == before["metrics"]
        assert "entropy/initial/mean" in after["metrics"]
    ours = [
        {key: value for key, value in report["metrics"].items() if key.startswith("entropy/")}
        for report in recorded
    ]
    of_kind = {report["kind"]: metrics for report, metrics in zip(recorded, ours, strict=True)}
    # Of the last training call, whose baseline the greedy one is: REMAX's trainer asserts that they are equal.
    assert of_kind["greedy"] == of_kind["train"] != of_kind["validate"]


def test_masks_do_not_pile_up_as_they_do_in_the_unpatched_class(runs):
    stock, recorded, _ = runs
    # ARPO's loop sets its mask once a call, AEPO's once more for its probes.
    a_call = stock[0]["masks"]
    assert [report["masks"] for report in stock] == [a_call, 2 * a_call, 3 * a_call, 4 * a_call]
    assert [report["masks"] for report in recorded] == [1, 1, 1, 1]


def test_every_entropy_equals_the_forward_pass_over_its_own_context(runs, toy_agent):
    _, recorded, out = runs
    oracle = Oracle(toy_agent)
    for report, records in steps(recorded, out):
        contexts = [
            (prompt, tokens, call["temperature"])
            for call in report["calls"]
            for prompt, tokens in zip(call["prompts"], call["outputs"], strict=True)
        ]
        for entry, (prompt, tokens, temperature) in zip(records, contexts, strict=True):
            expected = oracle.window_nats(prompt, tokens[:3], temperature)
            assert [value * oracle.norm for value in entry["window"]] == pytest.approx(
                expected.tolist(), abs=1e-4
            )
            assert entry["entropy"] == entry["window"][0]


def test_slot_row_parent_round_and_tool_are_those_of_the_loops_own_variables(runs):
    _, recorded, out = runs
    tools = set()
    for report, records in steps(recorded, out):
        # AEPO first probes each prompt, in trajectories that its loop has no slots for.
        probes = [len(call["prompts"]) for call in report["calls"] if "segments" not in call]
        entries = records[sum(probes) :]
        first = min(entry["sample_idx"] for entry in entries)
        found = [{key: entry[key] for key in KEYS} for entry in entries]
        for entry in found:
            entry["sample_idx"] -= first
            if entry["parent_idx"] is not None:
                entry["parent_idx"] -= first
        truth = [segment for call in report["calls"] for segment in call.get("segments", [])]
        assert found == [{key: segment[key] for key in KEYS} for segment in truth]
        tools |= {segment["tool"] for segment in truth}
    assert tools == {None, "search", "python"}
    training = [
        segment for report in recorded[:2] for call in report["calls"] for segment in call.get("segments", [])
    ]
    assert any(segment["parent_idx"] is not None for segment in training)
    assert max(segment["round"] for segment in training) > 1


def test_greedy_and_validation_calls_are_told_apart(runs):
    _, _, out = runs
    assert all(entry["do_sample"] is False for entry in records_of(out, "greedy", 2, call=1))
    assert sorted(path.name for path in out.glob("entropy_*.json")) == [
        "entropy_step_1.json",
        "entropy_step_2.json",
        "entropy_validate_step_2.json",
    ]
