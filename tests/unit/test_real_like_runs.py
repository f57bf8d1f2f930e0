"""The made-up runs tell the stories that they are named after, and their files fit one another."""

import json

import numpy as np
import pytest
from real_like_runs import PROMPTS, STORIES, write_run

from arpo_entropy_recorder.step_files.read import read_steps

STEPS = 30


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    for story in STORIES:
        write_run(out / story, story, STEPS)
    return out


def rise(run, steps, tool):
    """Mean entropy after `tool` over the mean before, in some steps."""
    after, before = [], []
    for step in run:
        if step.global_step in steps:
            entropy = step.columns["entropy"]
            after.append(entropy[step.columns["tool"] == tool])
            before.append(entropy[step.columns["round"] == 0])
    return np.nanmean(np.concatenate(after)) / np.nanmean(np.concatenate(before))


@pytest.mark.parametrize(
    ("story", "search", "python"),
    [("collapse", False, False), ("hold", True, True), ("one_tool", True, False)],
)
def test_a_run_ends_as_its_name_says(runs, story, search, python):
    run = list(read_steps([runs / story / "entropies"]))
    for tool, holds in (("search", search), ("python", python)):
        assert rise(run, range(1, 6), tool) > 1.3
        assert (rise(run, range(STEPS - 4, STEPS + 1), tool) > 1.3) == holds


def test_the_dump_has_the_words_of_the_records(runs):
    directory = runs / "hold"
    records = json.loads((directory / "entropies" / "entropy_step_3.json").read_text())
    lines = [json.loads(line) for line in (directory / "rollouts" / "3.jsonl").read_text().splitlines()]
    assert len(lines) == len({entry["sample_idx"] for entry in records})
    for entry in records:
        text = bytes(entry["tokens"]).decode()
        assert any(text in line["output"] for line in lines)
    assert all(line["output"].count("<result>") <= 4 and "Question" in line["input"] for line in lines)
    assert {line["score"] for line in lines} == {0.0, 1.0}


def test_branches_start_behind_a_result_of_their_parent(runs):
    records = json.loads((runs / "hold" / "entropies" / "entropy_step_1.json").read_text())
    first = {}
    for entry in records:
        first.setdefault(entry["sample_idx"], entry)
    branches = [entry for entry in first.values() if entry["parent_idx"] is not None]
    assert branches
    for entry in branches:
        assert entry["is_after_tool_call"]
        parent = first[entry["parent_idx"]]
        assert parent["prompt_idx"] == entry["prompt_idx"]
        assert parent["round"] < entry["round"]


def test_prompts_are_known_across_steps(runs):
    steps = [json.loads(path.read_text()) for path in (runs / "hold" / "entropies").glob("*.json")]
    keys = [{entry["prompt"] for entry in step} for step in steps]
    assert {len(step) for step in keys} == {8}
    assert len(set.union(*keys)) == len(PROMPTS)
