"""The report with texts that a tokenizer gives back: of a rescored run, and of the toy."""

import json
import math
import re
from html import unescape

import pytest
from command_line import record, write_step

from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.rescore.run import RescoreSettings, rescore


def report(directory, model):
    """What a reader sees of the page, without markup."""
    page = directory / "report.html"
    assert main(["report", str(directory), "--model", str(model), "--output", str(page)]) == 0
    return unescape(re.sub("<[^>]*>", "", page.read_text()))


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
    text = report(tmp_path / "out", toy_agent)
    assert text.count("Which <b>river</b>?") == 3
    assert [f"found {i}" in text for i in range(4)] == [True, True, True, False]
    assert "rescored (6)" in text
    assert math.isfinite(float(re.search(r"Highest after a tool: ([\d.]+)", text)[1]))
    # A dump that has changed since is not shown as if it were the one that was scored.
    (tmp_path / "dumps" / "5.jsonl").write_text("\n".join(map(json.dumps, lines[::-1])))
    text = report(tmp_path / "out", toy_agent)
    assert "Which <b>river</b>?" not in text
    assert text.count("its text was not recorded") == 3


def test_the_toys_words_are_shown_though_its_directory_is_gone(tmp_path):
    said = [ord(letter) for letter in "why?"]  # a byte is a token of the toy's
    write_step(tmp_path / "entropy_step_1.json", *(record(0.5, number, tokens=said) for number in (0, 1)))
    assert "why?" in report(tmp_path, "toy")


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
