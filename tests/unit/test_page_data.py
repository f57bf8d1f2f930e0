"""What the page holds of a run, against `stats` of the same choice and against the records themselves."""

import json
from pathlib import Path

import numpy as np
import pytest
from made_steps import make_run
from real_like_runs import write_run
from report_steps import arrays_of

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.analysis.ratio import ratio_of
from arpo_entropy_recorder.analysis.selection import Selection
from arpo_entropy_recorder.analysis.summary import summarise
from arpo_entropy_recorder.report.histograms import BINS, LOWEST, START, bin_of
from arpo_entropy_recorder.report.page import read_run
from arpo_entropy_recorder.report.page_data import run_data
from arpo_entropy_recorder.step_files.read import read_steps

STEPS = 40


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(directory, the page's data of it, its arrays)."""
    directory = tmp_path_factory.mktemp("page") / "run"
    write_run(directory, "one_tool", STEPS, prompts=6, n=4)
    found = read_run("run", read_steps([directory / "entropies"]))
    data = json.loads(json.dumps(run_data("run", found.gathered, [])))
    return directory, data, arrays_of(data)


@pytest.mark.parametrize(
    ("steps", "tool"), [((1, STEPS), None), ((1, STEPS), "python"), ((11, 25), "search"), ((7, 7), "python")]
)
def test_ratios_are_those_of_stats_for_the_same_choice(run, steps, tool):
    directory, data, arrays = run
    selection = Selection(steps=steps, tool=tool)
    expected = summarise(analyse(read_steps([directory / "entropies"]), selection=selection))["ratio"]
    sums = arrays["sums"].reshape(1 + len(data["tools"]), len(data["steps"]), 6)
    row = 0 if tool is None else 1 + data["tools"].index(tool)
    inside = [steps[0] <= step <= steps[1] for step in data["steps"]]
    found = ratio_of(sums[row, inside].sum(0))
    for name in ("n", "after", "before", "ratio", "low", "high"):
        wanted = expected[name] if expected[name] is not None else np.nan
        assert getattr(found, name) == pytest.approx(wanted, rel=1e-6, nan_ok=True)


def test_histograms_count_every_record_in_its_bin(run):
    directory, data, arrays = run
    counts = arrays["counts"].reshape(-1, BINS)
    step, number, tool = arrays["groups"].reshape(3, -1)
    wanted: dict[tuple[int, int, str | None], list[float]] = {}
    for path in Path(directory / "entropies").glob("*.json"):
        for entry in json.loads(path.read_text()):
            if entry["entropy"] is None or (
                not entry["is_after_tool_call"] and entry["parent_idx"] is not None
            ):
                continue
            key = (
                entry["global_step"],
                entry["round"] if entry["is_after_tool_call"] else START,
                entry["tool"],
            )
            wanted.setdefault(key, []).append(entry["entropy"])
    found = {
        (data["steps"][step[g]], int(number[g]), data["tools"][tool[g] - 1] if tool[g] else None): g
        for g in range(len(counts))
    }
    assert found.keys() == wanted.keys()
    width = LOWEST ** (-1 / (BINS - 1))
    for key, values in wanted.items():
        group = found[key]
        assert arrays["totals"][group] == pytest.approx(sum(values), rel=1e-6)
        edges = [0, *(LOWEST * width**i for i in range(BINS))]
        assert counts[group].tolist() == np.histogram(values, edges)[0].tolist()


def test_every_entropy_has_a_bin():
    assert bin_of(np.array([0.0, 1e-9, 0.999e-5, 1.001e-5, 0.999, 1.0])).tolist() == [0, 0, 0, 1, 127, 127]


def test_a_page_grows_with_groups_and_not_with_records():
    few, many = (
        run_data("run", read_run("run", make_run(4, n, 3)).gathered, [])["packed"] for n in (100, 1_000)
    )
    assert len(many) < 3 * len(few)


def test_trajectories_come_from_all_of_the_training_and_of_each_level(run):
    found = read_run("run", read_steps([run[0] / "entropies"]), trajectories=60).trajectories
    assert 55 <= len(found) <= 70
    tenths = [(t.global_step - 1) * 10 // STEPS for t in found]
    assert min(tenths.count(tenth) for tenth in range(10)) >= 5
    for tenth in range(10):
        of = [t for t, other in zip(found, tenths, strict=True) if other == tenth]
        mean = {why: np.mean([t.level for t in of if why in t.why]) for why in ("high", "middle", "low")}
        assert mean["high"] > mean["middle"] > mean["low"]
    followed = [t for t in found if "followed" in t.why]
    assert len({t.prompt for t in followed}) == 1
    assert len({t.global_step for t in followed}) == len(followed) >= 5


def test_a_short_run_shows_as_many_trajectories(run):
    steps = list(read_steps([run[0] / "entropies"]))[:2]
    found = read_run("run", steps, trajectories=12).trajectories
    assert 12 <= len([t for t in found if t.why != "followed"]) <= 13
    assert {t.global_step for t in found} == {1, 2}


def test_a_trajectory_has_the_records_of_the_file(run):
    for t in read_run("run", read_steps([run[0] / "entropies"]), trajectories=9).trajectories:
        entries = json.loads((run[0] / "entropies" / f"entropy_step_{t.global_step}.json").read_text())
        mine = [entry for entry in entries if entry["sample_idx"] == t.sample_idx]
        assert [r.tokens.tolist() for r in t.records] == [entry["tokens"] for entry in mine]
        assert [(r.round, r.tool) for r in t.records] == [(entry["round"], entry["tool"]) for entry in mine]
        family = {entry["sample_idx"] for entry in entries if entry["prompt_idx"] == mine[0]["prompt_idx"]}
        assert {sibling.sample_idx for sibling in t.family} == family
