"""Logs as other programs keep them: the same means by step as in the plain console log, or one line."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arpo_entropy_recorder.analysis.logfile import analyse_log, read_rows
from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.catalogue import draw

MEANS = ("entropy/after_tool/mean", "entropy/initial/mean", "entropy/round_1/mean", "entropy/round_2/mean")
steps = st.lists(st.tuples(*[st.floats(0, 1, allow_subnormal=False) for _ in MEANS]), min_size=1, max_size=6)


def lines_of(log):
    """verl's console lines, with other metrics around."""
    return [
        " - ".join(
            [f"step:{step}", "global_seqlen/min:192", "actor/grad_norm:nan"]
            + [f"{name}:{value!r}" for name, value in zip(MEANS, values, strict=True)]
            + ["val-core/omni-math/acc/mean@1:0.16"]
        )
        for step, values in enumerate(log, start=1)
    ]


def wrapped(lines, width):
    return [line[at : at + width] for line in lines for at in range(0, len(line), width)]


FORMS = {
    "gzip": lambda lines: gzip.compress("\n".join(lines).encode()),
    "UTF-16": lambda lines: "\n".join(lines).encode("utf-16"),
    "a byte order mark": lambda lines: "\n".join(lines).encode("utf-8-sig"),
    "a progress bar": lambda lines: "\n".join(
        f"Training Progress:  25%|██▌       | 1/4 [02:05<06:15, 125.10s/it]{line}" for line in lines
    ).encode(),
    "glued": lambda lines: " ".join(lines).encode(),
    "a prefix": lambda lines: "\r\n".join(f"(TaskRunner pid=7) {line}" for line in lines).encode(),
    "JSON lines": lambda lines: "\n".join(
        json.dumps({"ts": "2026-08-11T10:00:00Z", "msg": line}) for line in lines
    ).encode(),
    "docker's JSON": lambda lines: "\n".join(
        json.dumps({"log": f"{line}\n", "stream": "stdout"}) for line in lines
    ).encode(),
    "80 columns": lambda lines: "\n".join(wrapped(lines, 80)).encode(),
    "60 columns": lambda lines: "\n".join(wrapped(lines, 60)).encode(),
    "other lines between": lambda lines: "\n".join(
        piece for line in lines for piece in (line, "2026-08-11 10:00:00 INFO 0.5", "(WorkerDict pid=1) 7")
    ).encode(),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One for all examples, which write the same files anew."""
    return tmp_path_factory.mktemp("logs")


@pytest.mark.parametrize("form", FORMS)
@given(steps)
def test_a_log_in_another_form_has_the_same_means(folder, form, log):
    path = folder / "run.log"
    path.write_bytes(FORMS[form](lines_of(log)))
    expected = {step: dict(zip(MEANS, values, strict=True)) for step, values in enumerate(log, start=1)}
    assert read_rows(path)[0] == expected


@given(steps)
def test_the_file_logger_and_wandbs_table_have_the_same_means(folder, log):
    expected = {step: dict(zip(MEANS, values, strict=True)) for step, values in enumerate(log, start=1)}
    (folder / "run.jsonl").write_text(
        "".join(
            json.dumps({"step": s, "data": {"actor/entropy": 0.4} | m}) + "\n" for s, m in expected.items()
        )
    )
    assert read_rows(folder / "run.jsonl")[0] == expected
    names = [f'"run-7b - {name}"' for name in MEANS]
    extremes = [f'"run-7b - {name}__MAX"' for name in MEANS]
    rows = [
        ",".join([f'"{step}"', *(f'"{v!r}"' for v in values), *(f'"{v + 1!r}"' for v in values)])
        for step, values in enumerate(log, start=1)
    ]
    (folder / "run.csv").write_text("\n".join([",".join(['"Step"', *names, *extremes]), *rows]))
    assert read_rows(folder / "run.csv")[0] == expected


def test_tensorboards_table_is_named_by_its_file(tmp_path):
    table = "Wall time,Step,Value\n1754.2,1,0.5\n1755.2,2.0,0.25\n"
    (tmp_path / "run-.-tag-entropy_round_1_mean.csv").write_text(table)
    found = read_rows(tmp_path / "run-.-tag-entropy_round_1_mean.csv")[0]
    assert found == {1: {"entropy/round_1/mean": 0.5}, 2: {"entropy/round_1/mean": 0.25}}
    (tmp_path / "table.csv").write_text(table)
    with pytest.raises(UserError, match="one metric and does not name it; name the file after it"):
        read_rows(tmp_path / "table.csv")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"Step,a - entropy/round_1/mean,b - entropy/round_1/mean\n1,0.1,0.2\n", "several runs: a, b"),
        (b"Step,a - entropy/round_1/mean\nx,0.1\n", "line 2: 'x' is not a step"),
        (b'{"step": 1, "data": {"entropy/round_1/mean": 0.5}}\nhello\n{"step": 2}\n', "line 2: not a line"),
        ("step:1 - entropy/round_1/mean:0.5\n".encode("utf-16-le"), "UTF-16 without its mark"),
        (b"\x1f\x8b broken", "cannot be read"),
        (b"Step,loss\n1,0.5\n", "no entropy/... metrics (step lines: 1)"),
    ],
)  # fmt: skip
def test_a_log_that_does_not_tell_is_one_line(tmp_path, content, said):
    path = tmp_path / "run.log"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        analyse_log(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_three_decimals_are_said(tmp_path, capsys, unrendered):
    path = tmp_path / "run.log"
    path.write_text(
        "step:1 - entropy/initial/mean:0.012 - entropy/round_1/mean:0.013 - timing_s/gen:112.2222\n"
    )
    assert main(["plot", "--log_file", str(path), "-o", str(tmp_path / "log.svg")]) == 0
    assert "three decimals only, so that its means are known to 0.0005" in capsys.readouterr().out
    assert "three decimals: ± 0.0005." in draw("steps", analyse_log(path)).get_supxlabel().replace("\n", " ")
    path.write_text("step:1 - entropy/initial/mean:0.0123 - entropy/round_1/mean:0.013\n")
    assert main(["plot", "--log_file", str(path), "-o", str(tmp_path / "log.png")]) == 0
    assert "three decimals" not in capsys.readouterr().out


def test_a_number_cut_at_the_lines_end_is_whole_again(tmp_path):
    path = tmp_path / "run.log"
    lines = [
        f"step:{step} - actor/pg_loss:0.{'7' * 30} - entropy/round_1/mean:0.0124 - a/b:1" for step in (1, 2)
    ]
    cut = len(lines[0]) - len("24 - a/b:1")
    path.write_text("\n".join(f"{line[:cut]}\n{line[cut:]}" for line in lines))
    assert read_rows(path)[0] == {step: {"entropy/round_1/mean": 0.0124} for step in (1, 2)}


def test_a_number_that_may_have_been_cut_is_named(tmp_path):
    path = tmp_path / "run.log"
    path.write_text(
        "".join(f"step:{step} - actor/pg_loss:0.5 - entropy/round_1/mean:0.5\n7\n" for step in (1, 2))
    )
    with pytest.raises(UserError, match="line 1: cut at 53 columns, perhaps within a number"):
        read_rows(path)


@pytest.mark.parametrize("line", ["12:00:01 - root:INFO", "2026-08-11 - root:INFO", "word", "a - b:c d"])
def test_a_line_of_another_kind_changes_no_number(tmp_path, line):
    path = tmp_path / "run.log"
    steps = [f"step:{step} - actor/pg_loss:0.5 - entropy/round_1/mean:0.5" for step in (1, 2)]
    path.write_text("".join(f"{step}\n{line}\n" for step in steps))
    assert read_rows(path)[0] == {step: {"entropy/round_1/mean": 0.5} for step in (1, 2)}


def test_a_table_without_rounds_shows_the_mean_over_all_rounds(tmp_path, capsys, unrendered):
    path = tmp_path / "table.csv"
    path.write_text("Step,r - entropy/after_tool/mean,r - entropy/initial/mean\n1,0.05,0.03\n2,0.06,0.03\n")
    drawn = {line.get_label(): line for line in draw("steps", analyse_log(path)).axes[0].get_lines()}
    assert drawn["after a tool result"].get_xydata().tolist() == [[1, 0.05], [2, 0.06]]
    assert main(["plot", "--log_file", str(path), "-f", "heatmap", "-o", str(tmp_path / "x.svg")]) == 0
    assert "2 steps from the log, all rounds in one" in capsys.readouterr().out
