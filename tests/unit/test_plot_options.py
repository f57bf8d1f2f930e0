"""What `arpo-entropy plot` draws by default, in the guide's style, and for a paper."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from made_steps import make_step

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.commands import plot
from arpo_entropy_recorder.figures.catalogue import default_figure

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "plot_entropy.py"


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    """20 steps of one prompt each, and a vocabulary."""
    directory = tmp_path_factory.mktemp("run") / "entropies"
    directory.mkdir()
    for step in range(1, 21):
        records = [
            {
                "sample_idx": 0,
                "round": number,
                "entropy": 0.01 + number / 100,
                "is_after_tool_call": number > 0,
            }
            for number in range(2)
        ]
        (directory / f"entropy_step_{step}.json").write_text(json.dumps(records))
    (directory / "entropy_run.json").write_text('[{"run": 0, "vocab_size": 1000}]')
    return directory


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn, in place of pictures: name, vocabulary and medium."""
    found = []

    def draw(name, analysis, words, medium):
        found.append((name, analysis.vocab_size, medium.width))

    monkeypatch.setattr(plot, "draw", draw)
    monkeypatch.setattr(plot, "draw_to", lambda path, name, medium, make: make())
    return found


def test_effect_is_the_default_from_as_many_steps_on_as_make_a_trend(long_run, drawn):
    assert main(["plot", str(long_run)]) == 0
    fewer = [str(path) for path in sorted(long_run.glob("entropy_step_*.json"))[1:]]
    assert main(["plot", *fewer, "--for", "slide"]) == 0
    assert drawn == [("effect", 1000, 7.0), ("rounds", 1000, 10.0)]


@pytest.mark.parametrize(
    ("rounds", "steps", "figure"),
    [((0, 1), 20, "effect"), ((0, 1), 19, "rounds"), ((1,), 20, "rounds"), ((0,), 20, "rounds")],
)
def test_the_default_needs_steps_and_trajectories_with_a_start(rounds, steps, figure):
    run = [
        make_step([(r, r > 0, 0.5) for r in rounds], step, sample_idx=np.zeros(len(rounds), int))
        for step in range(steps)
    ]
    assert default_figure(analyse(run)) == figure


def test_the_guides_script_draws_its_figure_unless_another_is_asked_for(long_run, drawn, monkeypatch):
    for words in ([], ["--figure", "steps"]):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--entropy_file", str(long_run), *words])
        with pytest.raises(SystemExit, match=r"^0$"):
            runpy.run_path(str(SCRIPT), run_name="__main__")
    assert [name for name, *_ in drawn] == ["guide", "steps"]


@pytest.mark.parametrize("words", [["--figure", "steps"], ["--log-file", "run.log"]])
def test_the_guides_style_is_refused_where_it_draws_nothing(words, capsys):
    source = [] if "--log-file" in words else ["--simulate"]
    assert main(["plot", *source, "--style", "guide", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--style guide" in line
    assert words[0] in line


def test_watch_draws_for_a_paper_too(long_run, tmp_path, monkeypatch, capsys):
    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    monkeypatch.chdir(tmp_path)
    assert main(["watch", str(long_run), "--for", "paper", "--lang", "en", "--format", "svg"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 20
    *_, line, caption = err.splitlines()
    assert line == "entropy_increase.svg redrawn; steps so far: 20"
    assert caption.startswith("Entropy after tool results over that before any. ")
    assert 'width="237.6pt"' in (tmp_path / "entropy_increase.svg").read_text()


def test_for_a_paper_title_and_caption_are_printed_and_not_drawn(tmp_path, capsys):
    picture = tmp_path / "rounds.svg"
    assert main(["plot", "--simulate", "--for", "paper", "--lang", "en", "-o", str(picture)]) == 0
    _, caption = capsys.readouterr().out.splitlines()
    assert caption.startswith("Entropy of the first token after each tool result (simulated). Dot: median;")
    assert 'width="237.6pt"' in picture.read_text()


REAL = Path(__file__).resolve().parents[1] / "data" / "real_run" / "entropies"


@pytest.mark.parametrize(
    "words",
    [["plot", str(REAL)], ["plot", str(REAL), "--style", "guide"], ["compare", f"a={REAL}", "b=again"]],
    ids=["rounds", "guide", "compare"],
)
def test_means_of_windows_are_titled_as_such(words, tmp_path, monkeypatch, capsys, unrendered):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(REAL, "again")
    figure = ["-f", "rounds"] if words[0] == "compare" else []
    words = [*words, *figure, "--over", "mean", "--for", "paper", "--lang", "en", "-o", "rounds.svg"]
    assert main(words) == 0
    printed = "".join(capsys.readouterr())
    assert "Mean entropy of the first tokens after each tool result. " in printed
    assert "Entropy of the first token " not in printed
