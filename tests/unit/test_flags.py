"""Options as people expect them: one spelling for one thing in all commands, and a guess where a word is wrong."""

import json
import re
from importlib import import_module

import pytest

from arpo_entropy_recorder.cli import COMMANDS, Parser, main
from arpo_entropy_recorder.commands import report

RECORDS = [
    {"sample_idx": 0, "round": 0, "is_after_tool_call": False, "entropy": 0.2},
    {"sample_idx": 0, "round": 1, "is_after_tool_call": True, "entropy": 0.7},
]


@pytest.fixture
def steps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "entropy_step_1.json").write_text(json.dumps(RECORDS))
    return tmp_path


def parser(command):
    made = Parser(prog=command)
    import_module(f"arpo_entropy_recorder.commands.{command}").configure(made)
    return made


def refused(capsys, *words):
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("command", COMMANDS)
def test_options_are_shown_with_dashes(command):
    assert not re.findall(r"--\w*_", parser(command).format_usage())


REQUIRED = {
    "import": ["prime-rl", "d", "--vocab-size", "9"],
    "record": ["--model", "m"],
    "rescore": ["d", "--model", "m"],
    "watch": ["d"],
    "plot": ["d"],
}


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in ("stats", "check")])
def test_all_that_write_take_an_output(command):
    for option in ("-o", "--output", "--out"):
        args = parser(command).parse_args([*REQUIRED.get(command, ["d"]), option, "x"])
        assert str(args.output) == "x"


@pytest.mark.parametrize("command", ["plot", "watch"])
def test_a_figure_has_a_short_option(command):
    assert parser(command).parse_args(["d", "-f", "heatmap"]).figure == "heatmap"


def test_dashes_and_underscores_are_the_same():
    for mark in "-_":
        words = f"--entropy{mark}file a --skip{mark}bad --num{mark}rounds=2".split()
        args = parser("plot").parse_args(words)
        assert (args.entropy_file, args.skip_bad, args.num_rounds) == (["a"], True, 2)
    for mark in "-_":
        assert parser("record").parse_args(["--model", "m", f"--batch{mark}size", "3"]).batch_size == 3


def test_options_may_come_before_the_files(steps):
    assert main(["plot", "-f", "steps", "-o", "x.svg", "steps"]) == 0
    assert (steps / "x.svg").exists()


def test_a_wrong_command_gets_a_guess(capsys):
    assert "did you mean report?" in refused(capsys, "repport", "d")
    assert "did you mean" not in refused(capsys, "xyzzy")


@pytest.mark.parametrize("command", ["plot", "watch"])
def test_a_wrong_figure_gets_a_guess(capsys, command):
    assert "did you mean heatmap?" in refused(capsys, command, "d", "-f", "heat-map")
    assert "did you mean" not in refused(capsys, command, "d", "--figure", "xyzzy")


def test_no_words_print_the_help(capsys):
    for words in ([], ["--help"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
        assert "example:" in capsys.readouterr().out


def test_a_report_opens_in_the_browser(steps, monkeypatch, page_without_figures):
    opened = []

    class Browser:
        def open(self, url):
            opened.append(url)
            return True

    monkeypatch.setattr(report.webbrowser, "get", Browser)
    assert main(["report", "steps", "-o", "x.html", "--open"]) == 0
    assert opened == [(steps / "x.html").resolve().as_uri()]


def test_where_no_browser_is_nothing_is_opened(steps, monkeypatch, capsys):
    def get():
        raise report.webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(report.webbrowser, "get", get)
    assert "--open" in refused(capsys, "report", "steps", "-o", "x.html", "--open")
    assert not (steps / "x.html").exists()


def test_a_setting_is_shown_as_its_option(monkeypatch, capsys):
    from arpo_entropy_recorder.rescore.settings import SettingError

    def rescore(*_):
        raise SettingError("max_batch_tokens", "16384: out of memory; give fewer")

    monkeypatch.setattr("arpo_entropy_recorder.commands.arguments.find_spec", lambda name: True)
    monkeypatch.setattr("arpo_entropy_recorder.rescore.run.rescore", rescore)
    for words in (["rescore", "d"], ["plot", "--rollout-dir", "d"]):
        line = refused(capsys, *words, "--model", "m")
        assert line.endswith("error: --max-batch-tokens 16384: out of memory; give fewer")
