"""A recording in which no tool was called: what is shown, and what refuses."""

import pytest
from command_line import record, write_step

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.figures.catalogue import draw
from arpo_entropy_recorder.step_files.read import read_steps


@pytest.fixture
def steps(tmp_path):
    directory = tmp_path / "steps"
    directory.mkdir()
    for step in (1, 2):
        records = [record(0.1 * i, 0, i, window=[0.1 * i, 0.2]) for i in range(6)]
        write_step(directory / f"entropy_step_{step}.json", *records)
    return directory


@pytest.mark.parametrize("option", [[], ["--figure", "change"], ["--figure", "tools"]])
def test_a_figure_of_results_refuses_and_names_the_directory(steps, tmp_path, option, capsys):
    assert main(["plot", "--entropy_file", str(steps), "-o", str(tmp_path / "x.png"), *option]) == 2
    line = capsys.readouterr().err
    assert str(steps) in line
    assert "after a tool call" in line
    assert line.count("\n") == 1
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("figure", ["steps", "heatmap", "window"])
def test_other_figures_show_the_starts(steps, tmp_path, figure, capsys, unrendered):
    assert main(["plot", str(steps), "--figure", figure, "-o", str(tmp_path / "x.svg")]) == 0
    assert "12 starts alone, as no tool was called" in capsys.readouterr().out
    analysis = analyse(read_steps([steps]))
    assert "No tool was called" in " ".join(draw(figure, analysis).get_supxlabel().split())


def test_stats_and_report_show_the_starts_and_say_it(steps, tmp_path, capsys, page_without_figures):
    assert main(["stats", str(steps)]) == 0
    said = capsys.readouterr().out
    assert "0 (start)" in said
    assert said.count("No tool was called: these are the trajectories' starts alone.") == 1
    assert main(["report", str(steps), "-o", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text()
    assert "No tool was called" in page
    assert "0 (start)" in page


def test_watch_says_that_no_tool_was_called(steps, tmp_path, capsys, monkeypatch):
    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    assert main(["watch", str(steps), "-o", str(tmp_path / "x.png")]) == 0
    said = capsys.readouterr()
    assert said.out.count("before and after a tool result, and none was given a tool result\n") == 2
    assert "not drawn, as no tool was called" in said.err
    assert "Traceback" not in said.err
