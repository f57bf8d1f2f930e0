"""Text out of rollouts and names of files are not to be trusted: what every command shows of them is escaped."""

import io
import json
import os
import re
import subprocess
import sys

import pytest

from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.figures.catalogue import FIGURES as ALL_FIGURES
from arpo_entropy_recorder.report import static_figures

# Clears the screen, sets the title, rings, overwrites the line, turns the text around; then markup.
ESCAPES = "\x1b[2J\x1b]0;owned\x07\r\u202e\u200b\x9b31m"
TOOLS = [
    f"{ESCAPES}x",
    "[red]x[/red][/]",
    "$\\frac$",
    "$",
    "_hidden",
    "<script>alert(1)</script>",
    "漢字",
    "é" * 4000,
    " ",
]
NAME = f"run {ESCAPES}[bold]$\\frac$ %s {{}}"


@pytest.fixture
def hostile(tmp_path):
    """A directory of a hostile name with two steps full of hostile text."""
    directory = tmp_path / NAME
    directory.mkdir()
    for step in (1, 2):
        records = [
            {
                "sample_idx": sample,
                "prompt_idx": 0,
                "round": number,
                "is_after_tool_call": number > 0,
                "entropy": 0.25 + 0.1 * number,
                "window": [0.25 + 0.1 * number, 0.5],
                "tool": TOOLS[(sample + number) % len(TOOLS)] if number else None,
                "tokens": [1, 2],
                "source": ESCAPES,
                ESCAPES: ESCAPES,
            }
            for sample in range(len(TOOLS))
            for number in range(3)
        ]
        (directory / f"entropy_step_{step}.json").write_text(json.dumps(records))
    return directory


def shown(capsys, *words):
    """Status, and what a terminal would be given."""
    status = main([str(word) for word in words])
    printed = capsys.readouterr()
    text = printed.out + printed.err
    assert "Traceback" not in text
    for line in re.split("\n", text):
        assert line.replace("\t", "").isprintable(), repr(line[:200])
    return status, text


# The one whose words are the tools' names, and another; the page has the same.
FIGURES = ("tools", "rounds")


@pytest.mark.parametrize("figure", FIGURES)
def test_figures(hostile, tmp_path, capsys, figure):
    picture = tmp_path / NAME / "figure.svg"
    status, _ = shown(capsys, "plot", "--entropy_file", hostile, "--figure", figure, "--output", picture)
    assert status == 0
    assert picture.stat().st_size < 5e6


@pytest.mark.parametrize("form", [[], ["--csv"], ["--json"]])
def test_tables(hostile, capsys, form):
    status, text = shown(capsys, "stats", hostile, *form)
    assert status == 0
    if form != ["--json"]:
        assert "[red]x[/red]" in text, "shown as it is, not obeyed"


# One process for all commands, as each import takes a second; words come apart at NEXT. The page is one without
# pictures: what is drawn into them is no terminal's, and `plot` draws one.
SEVERAL = """
import sys
from arpo_entropy_recorder.cli import main
if "report" in sys.argv:
    from arpo_entropy_recorder.report import static_figures
    static_figures.FIGURES = {}
words, statuses = [], []
for word in sys.argv[1:]:
    if word == "NEXT":
        statuses.append(main(words))
        words = []
    else:
        words.append(word)
sys.exit("".join(map(str, statuses)))
"""


C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_a_terminal_that_lacks_the_characters_is_shown_them_escaped(hostile, tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install '.[export]'")
    chinese = tmp_path / "漢字"
    chinese.mkdir()
    commands = (
        ["stats", hostile],
        ["stats", hostile, "--csv"],
        ["stats", hostile, "--json"],
        ["plot", "--entropy_file", hostile, "--output", chinese / "x.png"],
        ["export", hostile, "--output", chinese / "x.csv"],
        ["report", hostile, "--output", chinese / "x.html"],
        ["stats", chinese],
    )
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL, *(str(word) for words in commands for word in (*words, "NEXT"))],
        capture_output=True,
        env=os.environ | C_LOCALE,
        timeout=120,
    )
    assert b"Traceback" not in done.stderr, done.stderr
    assert done.stderr.splitlines()[-1] == b"0" * (len(commands) - 1) + b"2", done.stderr
    assert len(list(chinese.iterdir())) == 3


def test_an_output_in_latin_1_is_given_what_it_lacks_escaped(hostile, tmp_path, monkeypatch):
    """As PYTHONIOENCODING makes one: errors are strict on the output and none on the error output."""
    chinese = tmp_path / "漢字"
    chinese.mkdir()
    streams = {"stdout": "strict", "stderr": "backslashreplace"}
    for name, errors in streams.items():
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), "latin-1", errors))
    assert [main(["stats", str(path)]) for path in (hostile, chinese)] == [0, 2]
    shown, said = (getattr(sys, name) for name in streams)
    shown.flush()
    said.flush()
    assert rb"\u6f22\u5b57" in shown.buffer.getvalue()
    assert rb"\u6f22\u5b57" in said.buffer.getvalue()


def test_export(hostile, capsys):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install '.[export]'")
    assert shown(capsys, "export", hostile, "--output", hostile / "table.csv")[0] == 0


def test_report(hostile, capsys, monkeypatch):
    monkeypatch.setattr(static_figures, "FIGURES", {name: ALL_FIGURES[name] for name in FIGURES})
    page = hostile / "report.html"
    assert shown(capsys, "report", hostile, "--output", page)[0] == 0
    assert "<script>alert" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "words",
    [
        ["plot", "--entropy_file", NAME],
        ["plot", "--log_file", NAME],
        ["plot", "--rollout_dir", NAME],
        ["plot", "--simulate", "--output", NAME],
        ["plot", "--simulate", "--output", f"{NAME}/x.png"],
        ["plot", "--simulate", "--figure", NAME],
        ["plot", f"--{NAME}"],
        ["stats", NAME],
        ["check", NAME],
        ["export", NAME, "--output", f"{NAME}.csv"],
        ["export", NAME, "--output", NAME],
        ["report", NAME, "--output", f"{NAME}.html"],
        ["rescore", "--model", NAME, "--rollout_dir", NAME],
        ["watch", NAME, "--output", NAME],
        ["record", "--model", NAME, "--prompts", NAME],
        ["record", "--model", "toy", "--prompts", f"{NAME}.txt"],
        ["record", "--model", "toy", "--steps", NAME],
        ["record", "--model", "toy", "--tools", NAME],
        ["record", "--model", "toy", "--tools", f"search={NAME}"],
        ["record", "--model", "toy", "--engine", NAME],
        [NAME],
    ],
    ids=lambda words: " ".join(words).replace(NAME, "NAME").encode("ascii", "replace").decode(),
)
def test_what_is_typed_comes_back_escaped_in_one_line(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status, text = shown(capsys, *words)
    assert status == 2
    assert len(text.splitlines()) == 1


def test_prompts_and_search_caches_of_hostile_content(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.jsonl").write_text(json.dumps({ESCAPES: ESCAPES}) + "\n")
    (tmp_path / "c.json").write_text(json.dumps({ESCAPES: 3}))
    for words in (["--prompts", "p.jsonl"], ["--tools", "search=c.json"]):
        assert shown(capsys, "record", "--model", "toy", *words)[0] == 2


def test_a_log_of_hostile_content(tmp_path, capsys):
    log = tmp_path / f"{ESCAPES}.log"
    log.write_text(f"{ESCAPES}step:1 - entropy/round_1/mean:0.5 - {ESCAPES} - entropy/initial/mean:0.2\n")
    status, _ = shown(capsys, "plot", "--log_file", log, "--output", tmp_path / "x.png")
    assert status in (0, 2)


# Records with one such number each, and the figures that have it on an axis. Names of things are in one file, as
# they take no part in any axis.
BEYOND = {
    "round": ([{"round": 2**62}], ("rounds", "change", "heatmap")),
    "step": ([{"global_step": 2**62}], ("effect", "steps", "heatmap")),
    "window": ([{"window": [0.5] * 3000}], ("window",)),
    "names": ([
        {"sample_idx": 2**62}, {"token_id": 2**62}, {"dp_rank": 2**62}, {"prompt_idx": 2**62},
        {"call": 2**62, "run": 2**62}, {"parent_idx": 2**62},
    ], ()),
}  # fmt: skip


@pytest.mark.parametrize("keys", BEYOND)
def test_numbers_beyond_all_measure(tmp_path, capsys, monkeypatch, keys):
    numbers, figures = BEYOND[keys]
    monkeypatch.setattr(static_figures, "FIGURES", {name: ALL_FIGURES[name] for name in figures})
    base = {"sample_idx": 0, "round": 0, "is_after_tool_call": False, "entropy": 0.5}
    after = [
        base | {"sample_idx": i, "round": 1, "is_after_tool_call": True, "entropy": 0.7} for i in range(4)
    ]
    path = tmp_path / "mine.json"
    odd = [after[0] | {"sample_idx": 9 + number} | more for number, more in enumerate(numbers)]
    path.write_text(json.dumps([base, *after, *odd]))
    for words in (["stats", path], ["report", path, "--output", tmp_path / "r.html"]):
        assert shown(capsys, *words)[0] == 0, words
