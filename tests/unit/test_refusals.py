"""What no command can use is refused at the start: one line on stderr, exit status 2, nothing left behind."""

import json
import os
import subprocess
import sys

import pytest

from arpo_entropy_recorder.cli import main

RECORD = (
    '[{"sample_idx": 0, "round": 0, "is_after_tool_call": false, "entropy": 0.2},'
    ' {"sample_idx": 0, "round": 1, "is_after_tool_call": true, "entropy": 0.7}]'
)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A directory to be in, with a step file, an empty one, and a dump of trajectories that is none."""
    monkeypatch.chdir(tmp_path)
    for directory in ("steps", "nothing", "dumps", "picture.png"):
        (tmp_path / directory).mkdir()
    (tmp_path / "steps" / "entropy_step_1.json").write_text(RECORD)
    (tmp_path / "nothing" / "entropy_step_1.json").write_text("[]")
    (tmp_path / "dumps" / "1.jsonl").write_text('{"input": "a", "out')
    return tmp_path


REFUSED = [
    ("plot --entropy_file steps --output picture.png", "this is a directory"),
    ("plot --entropy_file steps --output /proc/x.png", "cannot be written"),
    ("plot --entropy_file steps --output nowhere/x.png", "there is no directory nowhere"),
    ("plot --entropy_file nothing", "no records there"),
    ("plot --entropy_file ''", "is empty"),
    ("stats nothing", "no records there"),
    ("stats ''", "is empty"),
    ("export nothing -o x.csv", "no records there"),
    ("export steps -o /proc/x.parquet", "cannot be written"),
    ("export steps -o x.txt", ".parquet"),
    ("export steps -o ''", "is empty"),
    ("report nothing", "no records there"),
    ("report steps -o /dev/full", "unknown kind of file"),
    ("report steps -o /proc/x.html", "cannot be written"),
    ("watch steps/entropy_step_1.json", "cannot be watched"),
    ("watch steps --output /proc/x.png", "cannot be written"),
    ("watch steps --interval 0", "is not a number above 0"),
    ("rescore dumps --model ''", "is empty"),
    (f"stats {'x' * 300}", "x"),
    ("stats steps --no-such-option", "--no-such-option"),
]


@pytest.mark.parametrize(("words", "what"), REFUSED, ids=[words[:50] for words, _ in REFUSED])
def test_one_line_says_what_cannot_be_used_and_nothing_is_left(place, capsys, words, what):
    if words.startswith(("export nothing", "export steps -o /proc")):
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install '.[export]'")
    before = sorted(place.rglob("*"))
    try:
        status = main(["" if word == "''" else word for word in words.split(" ")])
    except SystemExit as refused:  # argparse's way
        status = refused.code
    output = capsys.readouterr()
    assert status == 2
    assert what in output.err.splitlines()[-1]
    assert "Traceback" not in output.err
    assert len([line for line in output.err.splitlines() if not line.startswith(("usage", " "))]) == 1
    assert output.out == ""
    assert sorted(place.rglob("*")) == before


def test_notes_go_nowhere_where_stderr_is_closed_and_never_into_the_json(place):
    (place / "steps" / "entropy_step_2.json").write_text("[")
    command = f"{sys.executable} -m arpo_entropy_recorder stats steps --skip_bad --json 2>&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=os.environ, timeout=60)
    assert done.returncode == 0
    assert json.loads(done.stdout)["answer"]


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full"])
def test_an_output_that_takes_nothing_is_no_traceback(place, redirection):
    command = f"{sys.executable} -m arpo_entropy_recorder stats steps {redirection}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=os.environ, timeout=60)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    if redirection == ">/dev/full":
        assert "No space left" in done.stderr
        assert done.returncode == 2
