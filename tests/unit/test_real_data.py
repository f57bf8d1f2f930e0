"""Reader, statistics, figures and page on a recorded run of a real model (tests/data/real_run/README.md)."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from recorded_run import lines_by_step, records_by_step

from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.figures.catalogue import FIGURES
from arpo_entropy_recorder.step_files.read import read_steps
from arpo_entropy_recorder.step_files.schema import FIELD, REQUIRED

RUN = Path(__file__).resolve().parents[1] / "data" / "real_run"
ENTROPIES = RUN / "entropies"
STEPS = (1, 2, 3)


@pytest.fixture(scope="module")
def records():
    """Records of each step, as JSON."""
    return records_by_step(ENTROPIES, STEPS)


@pytest.fixture(scope="module")
def dump():
    """Lines of each step, as JSON."""
    return lines_by_step(RUN / "rollouts", STEPS)


def test_it_is_small_and_has_what_real_runs_have(records):
    assert sum(path.stat().st_size for path in RUN.rglob("*") if path.is_file()) < 2e6
    every = [entry for step in records.values() for entry in step]
    assert {entry["tool"] for entry in every} == {None, "search", "python"}
    assert any(entry["parent_idx"] is not None for entry in every)
    assert max(entry["round"] for entry in every) >= 2
    for entry in every:
        assert set(REQUIRED) <= set(entry) <= set(FIELD)
        assert len(entry["window"]) == min(20, len(entry["tokens"]))
        assert (entry["tokens"][0], entry["window"][0]) == (entry["token_id"], entry["entropy"])
    # Prompts come again from step to step, so that they can be followed.
    assert {entry["prompt"] for entry in records[1]} & {entry["prompt"] for entry in records[3]}


def test_real_entropies_are_low_and_rise_after_a_tool(records):
    """Far below the 0.6 that the guide calls usual."""
    every = [entry for step in records.values() for entry in step]
    before = [entry["entropy"] for entry in every if entry["round"] == 0]
    after = [entry["entropy"] for entry in every if entry["is_after_tool_call"]]
    assert np.mean(before) < np.mean(after) < 0.3


def test_the_dump_has_a_line_for_each_trajectory(records, dump):
    """Line i is the trajectory with sample_idx i; results are those that its records came after."""
    for step, lines in dump.items():
        rounds, prompts = Counter(), {}
        for entry in records[step]:
            rounds[entry["sample_idx"]] = max(rounds[entry["sample_idx"]], entry["round"])
            prompts.setdefault(entry["prompt"], set()).add(lines[entry["sample_idx"]]["input"])
        assert sorted(rounds) == list(range(len(lines)))
        assert all(len(texts) == 1 for texts in prompts.values())
        for sample, line in enumerate(lines):
            # A result that fills the response is followed by no record.
            results = line["output"].count("\n</result>")
            assert results in (rounds[sample], rounds[sample] + 1)
            assert line["step"] == step
            assert line["score"] in (-1, 0, 1)


def test_a_branch_has_the_text_of_its_parent(records, dump):
    """Up to the tool's result behind which it began."""
    branches = 0
    for step, lines in dump.items():
        first = {}
        for entry in records[step]:
            first.setdefault(entry["sample_idx"], entry)
        for sample, entry in first.items():
            if entry["parent_idx"] is None:
                assert entry["round"] == 0
                continue
            branches += 1
            end = "\n</result>"
            own, parent = (
                lines[i]["output"].split(end)[: entry["round"]] for i in (sample, entry["parent_idx"])
            )
            assert own == parent
            assert len(own) == entry["round"] > 0
    assert branches > 0


def test_the_reader_reads_what_json_reads(records):
    steps = list(read_steps([ENTROPIES]))
    assert [step.global_step for step in steps] == list(STEPS)
    for step in steps:
        expected = [entry["entropy"] for entry in records[step.global_step]]
        np.testing.assert_allclose(step.columns["entropy"], expected, rtol=0, atol=1e-7)


def test_stats_has_the_means_of_the_files(records, capsys):
    assert main(["stats", str(ENTROPIES), "--json"]) == 0
    groups = {group["group"]: group for group in json.loads(capsys.readouterr().out)["groups"]}
    every = [entry for step in records.values() for entry in step]
    expected = {
        "initial": [entry["entropy"] for entry in every if entry["round"] == 0],
        "after_tool": [entry["entropy"] for entry in every if entry["is_after_tool_call"]],
    }
    for name, values in expected.items():
        assert groups[name]["n"] == len(values)
        assert groups[name]["mean"] == pytest.approx(np.mean(values), rel=1e-6)


def test_the_report_is_one_page_with_all_figures(tmp_path):
    assert main(["report", str(ENTROPIES), "-o", str(tmp_path / "report.html")]) == 0
    html = (tmp_path / "report.html").read_text()
    assert html.rstrip().endswith("</html>")
    assert "Token 44 makes up 96% of the starts: formatting, perhaps" in html
    assert set(re.findall(r'<figure id="figure-(\w+)-0"', html)) == FIGURES.keys()


def test_the_readmes_caption_says_what_the_run_has(records, capsys):
    text = " ".join((RUN.parents[2] / "README.md").read_text(encoding="utf-8").split())
    captions = re.findall(
        r"n = (\d+) records, (\d+) of them after a tool result. (\d+) of these (\d+) first", text
    )
    every = [entry for step in records.values() for entry in step]
    after = [entry["token_id"] for entry in every if entry["is_after_tool_call"]]
    [(token, most)] = Counter(after).most_common(1)
    assert tuple(map(str, (len(every), len(after), most, len(after)))) in captions
    assert main(["stats", str(ENTROPIES), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["first_tokens"]
    assert told["after_tool"] == {"token_id": token, "count": most, "n": len(after)}
    assert told["initial"]["n"] == len(every) - len(after)
