"""ARPO and its forks, patched: what is recorded is what the loop did. Needs a clone: ARPO_ROOT=path/to/ARPO."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from engines import Oracle

pytestmark = pytest.mark.arpo
ROOT = Path(__file__).resolve().parents[2]
KEYS = ("sample_idx", "prompt_idx", "parent_idx", "round", "tool", "is_after_tool_call")
ROLLOUT = "verl/workers/rollout/vllm_rollout"
# Where a loop is: the folder that holds its `verl`, a file that it alone has, ARPO_LOOP of arpo_rollout.py.
LOOPS = {
    "ARPO": ("verl_arpo_entropy", "vllm_rollout_with_tools.py", "arpo"),
    "AEPO": ("verl_aepo_entropy", "vllm_rollout_with_tools.py", "arpo"),
    "ATPO's tree": ("verl_atpo", "vllm_rollout_with_tools_tree_offline.py", "tree"),
    "APPO, static": ("verl_arpo_entropy", "appo_branching.py", "static"),
    "APPO, dynamic": ("verl_arpo_entropy", "appo_branching.py", "dynamic"),
}


@pytest.fixture(scope="module", params=LOOPS)
def loop(request):
    return LOOPS[request.param]


@pytest.fixture(scope="module")
def tree(loop, arpo_root, tmp_path_factory):
    """A patched copy of the clone's folder that has the loop."""
    folder, file, name = loop
    found = [arpo_root] if arpo_root.name == folder else sorted(arpo_root.glob(f"**/{folder}"))
    found = [tree for tree in found if (tree / ROLLOUT / file).exists()]
    if name == "arpo":
        found = [tree for tree in found if not (tree / ROLLOUT / "appo_branching.py").exists()]
    if not found:
        pytest.skip(f"{arpo_root} has no {folder} with {file}: this loop was NOT tested")
    copy = tmp_path_factory.mktemp("clone") / folder
    shutil.copytree(found[0], copy, ignore=shutil.ignore_patterns(".git", "__pycache__"))
    subprocess.run([ROOT / "scripts" / "apply_patch.sh", copy], check=True)
    return copy


@pytest.fixture(scope="module")
def runs(loop, tree, toy_agent, tmp_path_factory):
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
        environ = os.environ | {"ARPO_LOOP": loop[2]}
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environ)
        assert done.returncode == 0, done.stderr[-4000:]
    stock, recorded = (json.loads((out / f"{mode}.json").read_text()) for mode in ("stock", "record"))
    return stock, recorded, out


def records_of(out, report):
    prefix = "entropy_validate_step" if report["kind"] == "validate" else "entropy_step"
    records = json.loads((out / f"{prefix}_{report['step']}.json").read_text())
    return [record for record in records if record["call"] == report["number"]]


def steps(recorded, out):
    return [(report, records_of(out, report)) for report in recorded]


def of_kind(reports, kind):
    return [report for report in reports if report["kind"] == kind]


def test_outputs_are_those_of_the_unpatched_class(runs):
    stock, recorded, _ = runs
    for before, after in zip(stock, recorded, strict=True):
        for key in ("responses", "loss_mask"):
            assert after[key] == before[key]
        assert [call["outputs"] for call in after["calls"]] == [call["outputs"] for call in before["calls"]]
        shared = {key: value for key, value in after["metrics"].items() if not key.startswith("entropy/")}
        assert shared == before["metrics"]
        # What APPO's request for branches continues has started in the call before.
        assert ("entropy/initial/mean" in after["metrics"]) == (after["kind"] != "branches")
    ours = {
        report["kind"]: {key: value for key, value in report["metrics"].items() if key.startswith("entropy/")}
        for report in recorded
    }
    # Of the last training call, whose baseline the greedy one is: REMAX's trainer asserts that they are equal.
    assert ours["greedy"] == ours["train"] != ours["validate"]


def test_masks_do_not_pile_up_as_they_do_in_the_unpatched_class(runs):
    stock, recorded, _ = runs
    # ARPO's loop sets its mask once a call, AEPO's once more for its probes, APPO's once more for its branches.
    grown = [report["masks"] for report in stock]
    assert grown == sorted(set(grown))
    assert {report["masks"] for report in recorded} == {1}


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
        midway = [entry.get("mid_start", False) for entry in entries]
        assert midway == [segment["mid_start"] for segment in truth]
        tools |= {segment["tool"] for segment in truth}
    assert tools == {None, "search", "python"}
    sampled = of_kind(recorded, "train") + of_kind(recorded, "branches")
    training = [
        segment for report in sampled for call in report["calls"] for segment in call.get("segments", [])
    ]
    assert any(segment["parent_idx"] is not None or segment["mid_start"] for segment in training)
    assert max(segment["round"] for segment in training) > 1


def test_the_number_that_the_loop_branches_by_is_its_own_variable(loop, runs):
    if loop[2] != "arpo":
        pytest.skip("this loop branches by other numbers than ARPO's and AEPO's")
    _, recorded, out = runs
    for report, records in steps(recorded, out):
        # `current_entropy_dict` after each call, in the order of its slots. AEPO's probes are not its loop's slots.
        numbers = [n for call in report["calls"] if "segments" in call for n in call["numbers"]]
        unseen = sum(len(call["prompts"]) for call in report["calls"] if "segments" not in call)
        assert len(numbers) == len(records) - unseen > 0
        found = [entry["logprobs_entropy"] for entry in records[unseen:]]
        assert found == pytest.approx(numbers, rel=1e-6, abs=1e-7)
    # `initial_entropy_dict` after the first call: the number of each trajectory's first segment.
    report, records = recorded[0], records_of(out, recorded[0])
    slots = records[sum(len(call["prompts"]) for call in report["calls"] if "segments" not in call) :]
    offset = min(entry["sample_idx"] for entry in slots)
    first = {}
    for entry in slots:
        first.setdefault(str(entry["sample_idx"] - offset), entry["logprobs_entropy"])
    assert first == pytest.approx(report["initial_entropies"], rel=1e-6, abs=1e-7)


def test_greedy_and_validation_calls_are_told_apart(runs):
    _, recorded, out = runs
    (greedy,) = of_kind(recorded, "greedy")
    assert all(entry["do_sample"] is False for entry in records_of(out, greedy))
    assert sorted(path.name for path in out.glob("entropy_*step_*.json")) == [
        "entropy_step_1.json",
        "entropy_step_2.json",
        "entropy_validate_step_2.json",
    ]
