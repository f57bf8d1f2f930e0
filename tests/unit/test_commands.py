"""The commands beyond plotting, as a person types them."""

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from contextlib import redirect_stdout, suppress
from importlib.util import find_spec

import pytest
from command_line import ENVIRONMENT, PNG, arpo_entropy, assert_refused, record, write_step

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.commands import watch
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.catalogue import draw
from arpo_entropy_recorder.step_files.read import read_steps


@pytest.fixture
def steps(tmp_path):
    directory = tmp_path / "steps"
    directory.mkdir()
    for step in (1, 2):
        records = [
            record(
                0.1 + 0.2 * number + 0.01 * sample,
                number,
                sample,
                tool="python" if number else None,
                window=[0.5, 0.4],
            )
            for sample in range(6)
            for number in range(3)
        ]
        write_step(directory / f"entropy_step_{step}.json", *records)
    return directory


@pytest.mark.parametrize("figure", ["effect", "steps", "heatmap", "tools", "window", "change"])
def test_every_figure_is_drawn_from_files_under_a_name_of_its_own(tmp_path, steps, figure, unrendered):
    result = arpo_entropy(
        "plot", "--entropy_file", steps, "--figure", figure, "--format", "svg", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    title = draw(figure, analyse(read_steps([steps]))).axes[0].get_title("left")
    assert (tmp_path / f"entropy_{figure}.svg").read_text() == title


def test_the_format_gives_a_suffix_and_may_not_contradict_one(tmp_path):
    words = ["--simulate", "--num-rounds", "1", "--num-samples", "1", "--format", "pdf"]
    assert arpo_entropy("plot", *words, "--output", "a", cwd=tmp_path).returncode == 0
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    (tmp_path / "a.pdf").unlink()
    result = arpo_entropy("plot", "--simulate", "--format", "pdf", "--output", "a.png", cwd=tmp_path)
    assert_refused(result, "a.png", "--format pdf", cwd=tmp_path)
    result = arpo_entropy("plot", *words, "--output", "..", cwd=tmp_path)
    assert result.returncode == 2
    assert "this is a directory; name a file" in result.stderr


def test_a_log_is_plotted_over_its_steps(tmp_path):
    (tmp_path / "run.log").write_text("(TaskRunner pid=1) step:1 - entropy/round_1/mean:0.5 - x:1\n")
    result = arpo_entropy("plot", "--log_file", "run.log", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "entropy_steps.png").read_bytes().startswith(PNG)


def test_a_log_without_metrics_says_what_to_do(tmp_path):
    (tmp_path / "run.log").write_text("step:1 - x:1\n")
    assert_refused(
        arpo_entropy("plot", "--log_file", "run.log", cwd=tmp_path),
        "--log-file run.log: ",
        "step files",
        cwd=tmp_path,
    )


def test_a_name_that_would_steer_the_terminal_is_escaped(tmp_path):
    result = arpo_entropy("plot", "--log_file", "\x1b[2Jrun.log", cwd=tmp_path)
    assert_refused(result, "\\x1b[2Jrun.log", cwd=tmp_path)


def test_stats_answers_in_one_line_and_gives_json_and_csv(tmp_path, steps):
    table = arpo_entropy("stats", steps, cwd=tmp_path)
    answer = table.stdout.splitlines()[-1]
    assert answer.startswith("Yes: after-tool entropy exceeds the initial one: mean change +0.3000")
    assert answer.endswith(
        "n = 12 trajectories; it rises for 100% of the trajectories; 3.40x [3.20, 3.64] of the start (0.12 -> 0.43)."
    )
    summary = json.loads(arpo_entropy("stats", steps, "--json", cwd=tmp_path).stdout)
    assert summary["answer"] == answer
    rows = list(csv.DictReader(io.StringIO(arpo_entropy("stats", steps, "--csv", cwd=tmp_path).stdout)))
    assert len(rows) == len(summary["groups"])
    assert_refused(
        arpo_entropy("stats", steps, "--csv", "--json", cwd=tmp_path), "--csv", "--json", cwd=tmp_path
    )


def test_one_bad_file_stops_a_command_unless_told_to_skip_it(tmp_path, steps):
    (steps / "entropy_step_3.json").write_text("[")
    plot = ["plot", "--entropy_file", steps]
    export = [["export", steps, "-o", "x.parquet"]] if find_spec("pyarrow") else []
    for command in (["stats", steps], plot, *export):
        assert_refused(arpo_entropy(*command, cwd=tmp_path), "entropy_step_3.json", cwd=tmp_path)
    result = arpo_entropy(*plot, "--skip-bad", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stderr.count("\n") == 1
    assert "skipped: " in result.stderr
    assert "entropy_step_3.json" in result.stderr


def test_an_export_is_a_table_of_all_records(tmp_path, steps):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: export is not tested")
    result = arpo_entropy("export", steps, "-o", "all.parquet", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "all.parquet: 36 records\n")
    assert_refused(
        arpo_entropy("export", steps, "-o", "all.xlsx", cwd=tmp_path), "all.xlsx", ".parquet", cwd=tmp_path
    )


def test_watch_prints_a_line_a_step_and_ends_quietly(tmp_path, steps):
    picture, directory = tmp_path / "entropy_increase.png", tmp_path / "later"
    command = [sys.executable, "-m", "arpo_entropy_recorder", "watch", str(directory), "--interval", "0.1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, text=True, **pipes) as watcher:
        give_up = threading.Timer(120, watcher.kill)
        give_up.start()
        assert watcher.stderr.readline() == f"watching {directory}; Ctrl-C ends it\n"
        pictures = []
        for step in (1, 2):
            directory.mkdir(exist_ok=True)
            (steps / f"entropy_step_{step}.json").rename(directory / f"entropy_step_{step}.json")
            # 0.425 / 0.125: of sample s, 0.3 and 0.5 after a result and 0.1 before, and 0.01 s more each
            line = rf"step {step}: after 0\.4[23], before 0\.1[23], ratio 3\.40x \[.*\], prompts 6\n"
            assert re.fullmatch(line, watcher.stdout.readline())
            assert watcher.stderr.readline() == f"entropy_increase.png redrawn; steps so far: {step}\n"
            pictures.append(picture.read_bytes())
        watcher.send_signal(signal.SIGINT)
        rest = watcher.communicate()
        give_up.cancel()
    assert all(drawn.startswith(PNG) for drawn in pictures)
    assert pictures[0] != pictures[1]
    assert (watcher.returncode, rest) == (0, ("", ""))


def test_watch_has_one_screen_on_a_terminal_and_leaves_it(tmp_path, steps, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    def read():
        with suppress(OSError):  # the other end is closed
            while more := os.read(terminal, 4096):
                shown.append(more)

    terminal, other_end = pty.openpty()
    shown = []
    reader = threading.Thread(target=read)
    reader.start()
    monkeypatch.setattr(watch.time, "sleep", interrupt)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.chdir(tmp_path)
    with open(other_end, "w") as stdout, redirect_stdout(stdout):
        assert main(["watch", str(steps)]) == 0
    reader.join()
    os.close(terminal)
    before, _, after = b"".join(shown).decode().rpartition("\x1b[?1049l")  # back from the second screen
    assert "\x1b[?1049h" in before
    assert "\x1b[?25h" in before[before.rindex("\x1b[?25l") :]  # the cursor is there again
    text = re.sub(r"\x1b\[[\d;?]*\w", "", after)
    assert re.search(r"last: 2 +6 +0\.1[23] +0\.4[23] +3\.40x", text)
    assert "Yes: after-tool entropy exceeds the initial one" in text
    assert "entropy_increase.png redrawn; steps so far: 2" in text


def watching(tmp_path, monkeypatch, outcomes):
    """Watch a directory that does not change; each redraw has one of `outcomes`. Returns how many there were."""
    drawn = []

    def redraw(*_):
        drawn.append(outcomes[len(drawn)])
        if drawn[-1]:
            raise UserError(drawn[-1])

    looks = []

    def end(_):
        looks.append(True)
        if len(looks) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(watch, "_redraw", redraw)
    monkeypatch.setattr(watch.time, "sleep", end)
    monkeypatch.chdir(tmp_path)
    write_step(tmp_path / "entropy_step_1.json", record(0.5))
    assert main(["watch", str(tmp_path)]) == 0
    return len(drawn)


def test_watch_tries_a_redraw_that_failed_again_and_says_so_once(tmp_path, monkeypatch, capsys):
    assert watching(tmp_path, monkeypatch, ["no room", "no room", None]) == 3
    assert capsys.readouterr().err.count("not drawn: no room") == 1


def test_a_link_that_leads_nowhere_does_not_end_a_watch(tmp_path, monkeypatch):
    (tmp_path / "x.json").symlink_to("x.json")
    assert watching(tmp_path, monkeypatch, [None]) == 1


def test_serving_without_vllm_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("arpo_entropy_recorder.commands.serve.find_spec", lambda name: None)
    done = arpo_entropy("serve", "MODEL", "-o", "out", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "needs vllm" in done.stderr
    assert not (tmp_path / "out").exists()
