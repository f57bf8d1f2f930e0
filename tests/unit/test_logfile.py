"""The recorder's metrics out of a console log as Ray and tee leave it."""

import numpy as np
import pytest

from arpo_entropy_recorder.analysis.logfile import analyse_log, curves_of, read_rows
from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.catalogue import draw

LOG = """\
(TaskRunner pid=123) Checkpoint tracker file does not exist
\x1b[36m(TaskRunner pid=123)\x1b[0m step:1 - actor/entropy_loss:0.312 - entropy/after_tool/mean:0.61 - \
entropy/initial/mean:0.300 - entropy/round_1/mean:0.7 - entropy/round_2/mean:5.5e-1 - tools/total_calls:25
step:2 - entropy/initial/mean:np.float64(0.25) - entropy/round_1/mean:0.65 - timing_s/gen:12.0\r
(TaskRunner pid=123) step:10 - global_seqlen/min:12 - entropy/round_2/mean:nan - entropy/round_1/mean:0.5
(TaskRunner pid=9) step:2 - entropy/initial/mean:0.2 - entropy/round_1/mean:0.6
a line that speaks of step:3 and of entropy/round_1/mean:0.9
step:4 - actor/entropy_loss:0.3
\x1b[32mstep:12\x1b[0m - \x1b[1mentropy/round_1/mean:0.4\x1b[0m
"""


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "run.log"
    path.write_text(LOG)
    return path


def test_the_metrics_of_each_step_are_found_behind_prefixes_and_colours(log):
    found = read_rows(log)[0]
    assert list(found) == [1, 2, 12]
    assert found[1] == {
        "entropy/after_tool/mean": 0.61,
        "entropy/initial/mean": 0.3,
        "entropy/round_1/mean": 0.7,
        "entropy/round_2/mean": 0.55,
    }
    assert found[2] == {"entropy/initial/mean": 0.2, "entropy/round_1/mean": 0.6}  # the later one: a resume
    assert found[12] == {"entropy/round_1/mean": 0.4}


def test_the_figures_lines_are_the_logs_numbers(log):
    curves = curves_of(read_rows(log)[0])
    assert {number: list(zip(c.steps, c.mean, strict=True)) for number, c in curves.items()} == {
        0: [(1, 0.3), (2, 0.2)],
        1: [(1, 0.7), (2, 0.6), (12, 0.4)],
        2: [(1, 0.55)],
    }
    figure = draw("steps", analyse_log(log))
    drawn = {line.get_label(): line for line in figure.axes[0].get_lines() if line.get_gid() == "curve"}
    assert known(drawn["round 1"]) == [[1, 0.7], [2, 0.6], [12, 0.4]]
    assert known(drawn["before any tool call"]) == [[1, 0.3], [2, 0.2]]
    grid = draw("heatmap", analyse_log(log)).axes[0].collections[0].get_array()
    assert np.ma.filled(grid, -1)[:, [0, 1, -1]].tolist() == [[0.3, 0.2, -1], [0.7, 0.6, 0.4], [0.55, -1, -1]]
    assert grid[:, 2:-1].mask.all()


def known(line):
    """A line's points, without its gaps."""
    return [xy for xy in line.get_xydata().tolist() if xy[1] == xy[1]]


@pytest.mark.parametrize("name", ["steps", "heatmap"])
def test_the_caption_says_whose_means_a_logs_metrics_are(log, name):
    caption = draw(name, analyse_log(log)).get_supxlabel().replace("\n", " ")
    assert "means of the first data-parallel worker's records alone" in caption


def test_a_step_without_our_metrics_changes_nothing_and_nan_is_no_metric(tmp_path):
    path = tmp_path / "run.log"
    path.write_text(
        "step:7 - entropy/round_1/mean:0.5 - entropy/round_2/mean:nan\nstep:3 - actor/entropy_loss:0.3\n"
    )
    assert read_rows(path)[0] == {7: {"entropy/round_1/mean": 0.5}}


def test_a_resume_that_goes_back_drops_the_old_runs_later_steps(tmp_path):
    path = tmp_path / "run.log"
    old, new = [(step, 0.5) for step in range(1, 11)], [(step, 0.7) for step in (5, 6, 7)]
    path.write_text("".join(f"step:{step} - entropy/round_1/mean:{mean}\n" for step, mean in [*old, *new]))
    means = {step: metrics["entropy/round_1/mean"] for step, metrics in read_rows(path)[0].items()}
    assert list(means.items()) == [*old[:4], *new]


def test_a_resume_that_repeats_no_step_drops_the_old_runs_later_ones_too(tmp_path):
    path = tmp_path / "run.log"
    path.write_text("".join(f"step:{step} - entropy/round_1/mean:0.5\n" for step in (5, 10, 15, 12, 17)))
    found, _, left_out = read_rows(path)
    assert list(found) == [5, 10, 12, 17]
    assert left_out == {"replaced rows": 1}


def test_a_table_in_another_order_is_sorted(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("Step,a - entropy/round_1/mean\n" + "".join(f"{step},0.{step}\n" for step in (3, 1, 2)))
    found, _, left_out = read_rows(path)
    assert list(found.items()) == [(step, {"entropy/round_1/mean": step / 10}) for step in (1, 2, 3)]
    assert not left_out


def test_cells_that_are_no_number_are_counted_and_empty_ones_are_not(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("Step,a - entropy/round_1/mean\n1,0.1\n2,NaN\n3,abc\n4,\n5,0.2\n")
    found, _, left_out = read_rows(path)
    assert list(found) == [1, 5]
    assert left_out == {"non-numeric values": 2}


@pytest.mark.parametrize("value", ["3.1", "-0.1"])
def test_a_mean_that_is_no_normalised_entropy_is_refused(tmp_path, capsys, value):
    path = tmp_path / "table.csv"
    path.write_text(f"Step,a - entropy/round_1/mean,a - entropy/rise/ratio\n1,0.1,7\n2,{value},8\n")
    assert main(["plot", "--log-file", str(path), "-o", str(tmp_path / "x.png")]) == 2
    said = capsys.readouterr().err
    assert f"step 2: entropy/round_1/mean is {value}, but" in said
    assert said.count("\n") == 1


def test_the_command_counts_the_logs_steps(tmp_path, log, capsys, unrendered):
    picture = tmp_path / "log.png"
    assert main(["plot", "--log_file", str(log), "--output", str(picture)]) == 0
    assert (
        capsys.readouterr().out
        == f"{picture}: 3 steps from the log, 2 rounds; left out: 1 non-numeric value, 2 replaced rows\n"
    )
    log.write_text("step:1 - entropy/round_1/mean:0.5\n")
    assert main(["plot", "--log_file", str(log), "--output", str(picture)]) == 0
    assert capsys.readouterr().out == f"{picture}: 1 step from the log, 1 round\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no 'step:N - ...' lines"),
        ("step:1 - actor/entropy_loss:0.3\n", "no entropy/... metrics (step lines: 1)"),
        ("step:1 - entropy/initial/mean:0.3\n", "no tool was called"),
    ],
)
def test_a_log_without_the_metrics_is_told_from_one_without_steps(tmp_path, text, said):
    path = tmp_path / "run.log"
    path.write_text(text)
    with pytest.raises(UserError, match=r"run\.log") as error:
        analyse_log(path)
    assert said in str(error.value)


def test_a_log_cannot_give_a_figure_of_records(log, capsys):
    with pytest.raises(UserError, match="a log holds means alone, not records; choose steps or heatmap"):
        draw("rounds", analyse_log(log))
    with pytest.raises(UserError, match="cannot be read"):
        analyse_log(log.parent)
    for words, said in (
        (["--figure", "tools"], "--figure tools: a log holds"),
        ([], "--log-file nowhere.log: "),
    ):
        file = str(log) if words else "nowhere.log"
        assert main(["plot", "--log_file", file, *words]) == 2
        assert said in capsys.readouterr().err
