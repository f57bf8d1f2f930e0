"""The report with texts that a tokenizer gives back: of a rescored run, and of the toy."""

import json

import pytest
from command_line import record, write_step
from report_steps import data_of

from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.rescore.run import RescoreSettings, rescore


def report(directory, model):
    """The page's trajectories."""
    page = directory / "report.html"
    assert main(["report", str(directory), "--model", str(model), "--output", str(page)]) == 0
    return data_of(page.read_text())["runs"][0]["trajectories"]


def test_a_rescored_run_shows_prompt_and_results_of_its_dump(toy_agent, tmp_path):
    (tmp_path / "dumps").mkdir()
    lines = [
        {
            "input": "user\nWhich <b>river</b>?\nassistant\n",
            "output": f"{'a' * i}b</search> <result>\nfound {i}\n</result>bye",
        }
        for i in range(3)
    ]
    (tmp_path / "dumps" / "5.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rescore(tmp_path / "out", RescoreSettings(str(toy_agent), str(tmp_path / "dumps"), window=2))
    found = report(tmp_path / "out", toy_agent)
    assert {t["asked"] for t in found} == {"user\nWhich <b>river</b>?\nassistant\n"}
    assert sorted(t["segments"][1]["result"] for t in found) == ["found 0", "found 1", "found 2"]
    # A dump that has changed since is not shown as if it were the one that was scored.
    (tmp_path / "dumps" / "5.jsonl").write_text("\n".join(map(json.dumps, lines[::-1])))
    found = report(tmp_path / "out", toy_agent)
    assert [(t["asked"], t["segments"][1].get("result")) for t in found] == [(None, None)] * 3


def test_the_toys_words_are_shown_though_its_directory_is_gone(tmp_path):
    said = [ord(letter) for letter in "why?"]  # a byte is a token of the toy's
    write_step(tmp_path / "entropy_step_1.json", *(record(0.5, number, tokens=said) for number in (0, 1)))
    (trajectory,) = report(tmp_path, "toy")
    assert "".join(trajectory["segments"][1]["tokens"]) + trajectory["segments"][1]["rest"] == "why?"


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("1.jsonl", '{"input": "a", "out', "1.jsonl: line 1: not JSON"),
        ("1.jsonl", "", "the file is empty"),
        ("entropy_step_1.json", "[1]", "not a JSON object"),
    ],
)
def test_dumps_that_cannot_be_rescored_are_one_line(tmp_path, capsys, monkeypatch, name, content, what):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(content)
    assert main(["rescore", name, "--model", "toy"]) == 2
    output = capsys.readouterr()
    assert what in output.err
    assert (output.err.count("\n"), output.out) == (1, "")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_model_that_is_not_there_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_step(tmp_path / "entropy_step_1.json", *(record(0.5, number) for number in (0, 1)))
    assert main(["report", ".", "--model", "no-such-model"]) == 2
    error = capsys.readouterr().err
    assert "no such directory, nor a model of that name" in error
    assert error.count("\n") == 1
