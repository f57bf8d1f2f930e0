"""Reader, statistics and figure on a recorded ARPO training of a real model (tests/data/real_training/README.md)."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from recorded_run import lines_by_step, records_by_step

from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.step_files.read import read_steps

RUN = Path(__file__).resolve().parents[1] / "data" / "real_training"
ENTROPIES = RUN / "entropies"
STEPS = range(1, 21)
TRAJECTORIES = 8  # a step: of 2 prompts 4 each


@pytest.fixture(scope="module")
def records():
    """Records of each step, as JSON."""
    return records_by_step(ENTROPIES, STEPS)


@pytest.fixture(scope="module")
def dump():
    """What ARPO itself dumped of each step, as JSON."""
    return lines_by_step(RUN / "rollout", STEPS)


@pytest.fixture(scope="module")
def every(records):
    return [entry for step in records.values() for entry in step]


def rounds_of(entries):
    """The last round of each trajectory."""
    last = Counter()
    for entry in entries:
        key = entry["dp_rank"], entry["sample_idx"]
        last[key] = max(last[key], entry["round"])
    return last


def test_it_is_small_and_has_what_a_training_has(records, every):
    assert sum(path.stat().st_size for path in RUN.rglob("*") if path.is_file()) < 2e6
    assert sorted(step.global_step for step in read_steps([ENTROPIES])) == list(STEPS)
    assert {entry["run"] for entry in every} == {0, 1}  # it was stopped once and went on
    assert {entry["dp_rank"] for entry in every} == {0, 1}
    assert {entry["tool"] for entry in every} == {None, "search", "python"}
    assert any(entry["parent_idx"] is not None for entry in every)
    for entries in records.values():
        assert len(rounds_of(entries)) == TRAJECTORIES
        for entry in entries:
            assert len(entry["window"]) == min(20, len(entry["tokens"]))
            assert (entry["tokens"][0], entry["window"][0]) == (entry["token_id"], entry["entropy"])


def test_the_dump_has_the_trajectories_of_the_records(records, dump):
    """In another order: ARPO balances its batches. A result that ends the response is followed by no record."""
    for step, lines in dump.items():
        assert len(lines) == TRAJECTORIES
        assert {line["step"] for line in lines} == {step}
        recorded = sorted(rounds_of(records[step]).values())
        for one, other in zip(
            recorded, sorted(line["output"].count("\n</result>") for line in lines), strict=True
        ):
            assert other in (one, one + 1)


def test_a_prompt_comes_again_and_its_reward_is_arpos(records, dump):
    prompts = Counter(prompt for step in records.values() for prompt in {entry["prompt"] for entry in step})
    assert max(prompts.values()) > 1
    scores = [line["score"] for lines in dump.values() for line in lines]
    assert -1 in scores  # the format is not kept
    assert max(scores) > 0


def test_stats_tells_the_trend_of_the_training(every, capsys):
    assert main(["stats", str(ENTROPIES), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    groups = {group["group"]: group for group in told["groups"]}
    expected = {
        "initial": [entry["entropy"] for entry in every if entry["round"] == 0],
        "after_tool": [entry["entropy"] for entry in every if entry["is_after_tool_call"]],
    }
    for name, values in expected.items():
        assert groups[name]["n"] == len(values)
        assert groups[name]["mean"] == pytest.approx(np.mean(values), rel=1e-6)
    assert told["trend"]


@pytest.mark.parametrize("over", ["first", "mean"])
def test_the_readmes_figure_is_drawn(over, tmp_path):
    assert (
        main(["plot", str(ENTROPIES), "--over", over, "--for", "paper", "-o", str(tmp_path / "a.png")]) == 0
    )
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_the_readmes_caption_has_the_runs_numbers(every, capsys):
    text = " ".join((RUN.parents[2] / "README.md").read_text(encoding="utf-8").split())
    caption = text[text.index("*An ARPO training of a real model") :]
    told = re.search(
        r"n = (\d+) records of (\d+) trajectories, (\d+) of them after a tool result. (\d+) of", caption
    )
    after = Counter(entry["token_id"] for entry in every if entry["is_after_tool_call"])
    expected = [len(every), TRAJECTORIES * len(STEPS), after.total(), max(after.values())]
    assert [int(number) for number in told.groups()] == expected
    phases = re.search(
        r"from ([\d.]+) in steps 1 to 6 to ([\d.]+) in steps 15 to 20, .* stays: ([\d.]+) and ([\d.]+)\.",
        caption,
    )
    for over, first, last in (("first", *phases.groups()[:2]), ("mean", *phases.groups()[2:])):
        assert main(["stats", str(ENTROPIES), "--json", "--over", over]) == 0
        trend = json.loads(capsys.readouterr().out)["trend"]
        found = [float(f"{trend[phase]['after']:.2g}") for phase in ("first", "last")]
        assert found == [float(first), float(last)]
