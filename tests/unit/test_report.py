"""The report's page as HTML: what it says against the records in plain Python, and that text stays text."""

# ruff: noqa: RUF001

import base64
import hashlib
import json
import re
import statistics
from html.parser import HTMLParser
from importlib import resources
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from made_steps import make_run
from PIL import Image
from report_steps import HOSTILE, STEPS, Bytes, Words, data_of, record, write_steps

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.figures.catalogue import FIGURES, draw
from arpo_entropy_recorder.figures.chinese import CHINESE as FIGURE_CHINESE
from arpo_entropy_recorder.figures.words import Words as FigureWords
from arpo_entropy_recorder.report import static_figures
from arpo_entropy_recorder.report.chinese_script import CHINESE
from arpo_entropy_recorder.report.markup import Document, page, tag
from arpo_entropy_recorder.report.page import make_page, read_run
from arpo_entropy_recorder.report.transcript import Transcriber
from arpo_entropy_recorder.step_files.read import read_steps


class Table(HTMLParser):
    """Rows of the tables of a page, by caption."""

    def __init__(self, html):
        super().__init__()
        self.tables, self.rows, self.cell, self.caption = {}, [], None, None
        self.feed(html)

    def handle_starttag(self, name, attributes):
        if name == "table":
            self.rows = []
        elif name == "tr":
            self.rows.append([])
        elif name in ("td", "th", "caption"):
            self.cell = ""

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data

    def handle_endtag(self, name):
        if name == "caption":
            self.tables[self.cell], self.cell = self.rows, None
        elif name in ("td", "th"):
            self.rows[-1].append(self.cell)
            self.cell = None


def report(directory, tokenizer=None):
    transcriber = tokenizer and Transcriber(tokenizer)
    return make_page([read_run("run", read_steps([directory]), transcriber)])


def text_of(html):
    found = []
    parser = HTMLParser()
    parser.handle_data = found.append
    parser.feed(html)
    return "".join(found)


@pytest.fixture(scope="module", autouse=True)
def few_figures():
    """To draw all of them takes seconds: a page has one, but where a test names others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(static_figures, "FIGURES", {"rounds": FIGURES["rounds"]})
        yield


@pytest.fixture(scope="module")
def plain(tmp_path_factory, few_figures):
    """The page of STEPS without a tokenizer."""
    directory = tmp_path_factory.mktemp("plain")
    write_steps(directory, STEPS)
    return report(directory)


def test_the_tables_numbers_are_those_of_the_records(plain):
    rows = Table(plain).tables["By tool-call round"]
    by_round = {row[0]: row[1:] for row in rows}
    everything = [entry for records in STEPS.values() for entry in records]
    for name, numbers in (("0 (start)", {0}), ("1", {1}), ("2", {2}), ("after any tool result", {1, 2})):
        values = [entry["entropy"] for entry in everything if entry["round"] in numbers]
        n, mean, sd, _, _, share = by_round[name]
        assert n == str(len(values))
        assert mean == f"{statistics.mean(values):.4f}"
        assert sd == f"{statistics.stdev(values):.4f}"
        assert share == f"{sum(v > 0.6 for v in values) / len(values):.1%}"


def test_the_headline_is_the_paired_answer(plain):
    text = text_of(plain)
    assert "Yes: after-tool entropy exceeds the initial one." in text
    changes = [
        statistics.mean(e["entropy"] for e in records[i : i + 3] if e["round"]) - records[i]["entropy"]
        for records in STEPS.values()
        for i in range(0, len(records), 3)
    ]
    assert f"Mean change +{statistics.mean(changes):.4f}, 95 % interval [+" in text
    assert f"d_z = {statistics.mean(changes) / statistics.stdev(changes):.2f}" in text


def test_what_cannot_be_answered_is_said_without_empty_numbers(tmp_path):
    write_steps(tmp_path, {1: [record(0, 0, 0.2), record(0, 1, 0.7)]})
    text = text_of(report(tmp_path))
    assert "No answer.Mean change +0.5000, but for an interval " in text
    assert "too few for an interval" in text
    assert text.count("mean of 1 record") == 2
    assert "1 records" not in text
    assert "interval \u2013" not in text


@pytest.mark.parametrize("name", ["rounds", "heatmap"])
def test_a_figure_with_a_palette_keeps_its_colours(name):
    figure = draw(name, analyse(make_run(steps=12, trajectories=40), ["steps"]))
    source = ElementTree.tostring(static_figures._picture(figure, "")).decode()
    picture = Image.open(BytesIO(base64.b64decode(re.search('base64,([^"]+)', source)[1])))
    assert picture.mode == "P"
    exact = BytesIO()
    figure.savefig(exact, format="png", dpi=static_figures.DPI)
    apart = np.abs(
        np.asarray(picture.convert("RGB"), int) - np.asarray(Image.open(exact).convert("RGB"), int)
    )
    assert np.quantile(apart.max(-1), 0.995) <= 8


def test_figures_have_their_caption_as_text(tmp_path, monkeypatch):
    monkeypatch.setattr(static_figures, "FIGURES", FIGURES)
    tools = [f"tool {number}" for number in range(8)]
    records = [record(n, 0, 0.2) for n in range(8)]
    records += [record(n, number, 0.7, tool=tool) for number in range(1, 6) for n, tool in enumerate(tools)]
    records.sort(key=lambda entry: entry["sample_idx"])
    write_steps(tmp_path, {1: records, 2: records})
    html = report(tmp_path)
    figures = dict(re.findall(r'<figure id="figure-(\w+)-0" class="(\w+)">', html))
    assert figures == dict.fromkeys(FIGURES.keys() - {"window", "branching"}, "half")
    captions = re.findall("<figcaption>(.*?)<a ", html)
    assert len(captions) == len(figures)
    assert all(caption.replace("\u00a0", " ").endswith("2 steps, 1 to 2. ") for caption in captions)


def test_the_segments_of_a_round_that_was_cut_stay_apart(tmp_path):
    continued = record(0, 1, 0.3, is_after_tool_call=False)
    write_steps(tmp_path, {1: [record(0, 0, 0.2), record(0, 1, 0.7), continued]})
    (trajectory,) = data_of(report(tmp_path, Words()))["runs"][0]["trajectories"]
    assert [(s["round"], s.get("after"), s.get("tool")) for s in trajectory["segments"]] == [
        (0, None, None),
        (1, True, 1),
        (1, None, None),
    ]


def test_settings_name_what_the_files_lack(tmp_path):
    for rank, run in ((0, 1), (1, 0)):
        records = [{"global_step": 3, **e, "dp_rank": rank, "run": run, "incomplete": True} for e in STEPS[3]]
        name = f"entropy_step_3.dp{rank}of3.run{run}.call0.json"
        (tmp_path / name).write_text(json.dumps(records))
    write_steps(tmp_path, {4: [e | {"run": 0} for e in STEPS[1]]})
    text = text_of(report(tmp_path))
    assert "step 3: 2" in text
    assert "2, 3 to 4" in text
    assert "Left out1 stale step" in text
    assert "Records of incomplete calls36" in text


def test_without_tokens_or_tokenizer_it_says_what_it_takes(tmp_path, plain):
    html = plain
    assert "give the report the run's tokenizer" in data_of(html)["text"]
    assert "This page holds numbers of 18 trajectories, no text of them." in text_of(html)
    assert data_of(html)["runs"][0]["trajectories"][0]["segments"][1]["entropies"] == [0.611]
    bare = {1: [{k: v for k, v in e.items() if k != "tokens"} for e in STEPS[1]]}
    (tmp_path / "bare").mkdir()
    write_steps(tmp_path / "bare", bare)
    said = data_of(report(tmp_path / "bare", Words()))["text"]
    assert "record_tokens = true and entropy_window = 20" in said


def test_half_characters_go_with_the_next_token(tmp_path):
    tokens = list("é!é ok".encode())
    window = [0.91, 0.12, 0.33, 0.44]
    records = [record(0, 0, 0.2, tokens=[65]), record(0, 1, 0.91, tokens=tokens, window=window)]
    write_steps(tmp_path, {1: [records[0] | {"window": [0.2]}, records[1]]})
    (trajectory,) = data_of(report(tmp_path, Bytes()))["runs"][0]["trajectories"]
    start, second = trajectory["segments"]
    assert (start["tokens"], start["rest"], start["entropies"]) == (["A"], "", [0.2])
    assert second["entropies"] == window
    assert (second["tokens"], second["rest"]) == (
        ["", "é", "!", ""],
        "é ok",
    )  # the fourth is the first half of é


def test_a_huge_token_is_cut_with_its_length(tmp_path):
    class Huge(Words):
        WORDS = ("x" * 1_000_000, "y")

    write_steps(tmp_path, {1: [record(0, 0, 0.2), record(0, 1, 0.7)]})
    html = report(tmp_path, Huge())
    assert len(html) < 500_000
    assert "[a token of 1,000,000 characters]" in html


def test_untrusted_text_stays_text(tmp_path):
    write_steps(tmp_path, {1: [record(0, 0, 0.2), record(0, 1, 0.7, tokens=[5, 5], tool=HOSTILE)]})
    html = report(tmp_path, Words())
    names = []
    parser = HTMLParser()
    parser.handle_starttag = lambda name, attributes: names.append((name, dict(attributes)))
    parser.feed(html)
    assert [attributes.get("type") for name, attributes in names if name == "script"] == [
        "application/json",
        None,
    ]
    assert not any("onerror" in attributes for _, attributes in names)
    assert all(a["src"].startswith("data:image/") for name, a in names if name == "img")
    block = html.split('id="data">')[1].split("</script>")[0]
    assert "<" not in block
    assert "\x1b" not in html
    assert "\u202e" not in html
    (trajectory,) = data_of(html)["runs"][0]["trajectories"]
    segment = trajectory["segments"][1]
    assert "".join(segment["tokens"]) + segment["rest"] == 2 * HOSTILE.replace("\x1b", r"\x1b").replace(
        "\u202e", r"\u202e"
    )


def test_the_policy_lets_run_what_is_in_the_page_and_nothing_else(plain):
    html = plain
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)[1].replace(
        "&#x27;", "'"
    )
    for name in ("script", "style"):
        (code,) = re.findall(f"<{name}>(.*?)</{name}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert " style=" not in html
    assert "connect-src" not in policy
    assert not re.search(r'(?:src|href)="(?!data:image/|#)', html)


@given(st.text(st.characters(), max_size=60))
@example(HOSTILE)
@example("]]></div></style></script><!--")
def test_any_text_comes_back_from_the_page_as_it_went_in(text):
    html = page(Document("t", "", ""), [tag("p", text, title=text)])
    html.encode()  # lone surrogates, too, can be written
    read, titles = [], []
    parser = HTMLParser()
    parser.handle_data = read.append
    parser.handle_starttag = lambda name, attributes: titles.append(dict(attributes).get("title"))
    parser.feed(html[html.index("<p") : html.index("</p>")])
    shown = "".join(read)
    assert shown == titles[0]
    if text.isprintable():
        assert shown == text


def test_the_command_writes_the_page_and_names_what_is_wrong_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_steps(tmp_path, STEPS)
    assert main(["report", ".", "-o", "page.html"]) == 0
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob(".page*"))
    capsys.readouterr()
    for words, message in (
        (["-o", "nowhere/page.html"], "there is no directory nowhere; make it first"),
        (["--trajectories", "-1"], "from 0 on"),
    ):
        assert main(["report", ".", *words]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    write_steps(tmp_path, {1: [record(0, 0, 0.5)], 2: [record(0, 0, 0.5)], 3: [record(0, 0, 0.5)]})
    assert main(["report", ".", "-o", "starts.html"]) == 0
    assert "No tool was called" in text_of((tmp_path / "starts.html").read_text())


def test_several_runs_stand_beside_each_other_under_their_own_names(tmp_path, capsys):
    for name in ("arpo", "grpo"):
        (tmp_path / name).mkdir()
        write_steps(tmp_path / name, {1: STEPS[1]})
    page, arpo, grpo = (str(tmp_path / name) for name in ("page.html", "arpo", "grpo"))
    assert main(["report", arpo, f"other={grpo}", "-o", page, "--no-text"]) == 0
    html = (tmp_path / "page.html").read_text()
    assert [run["name"] for run in data_of(html)["runs"]] == ["arpo", "other"]
    assert "no text of them" in text_of(html)
    assert main(["report", f"a={arpo}", f"a={grpo}", "-o", page]) == 2
    assert "two runs are called a; give each its own name: NAME=DIR" in capsys.readouterr().err


def test_made_up_data_say_so(tmp_path, capsys):
    assert main(["report", "--simulate", "-o", str(tmp_path / "page.html")]) == 0
    assert "SIMULATED data, not a measurement." in text_of((tmp_path / "page.html").read_text())
    for words, message in (([], "give step files, or --simulate"), ([".", "--simulate"], "not both")):
        assert main(["report", *words, "-o", str(tmp_path / "page.html")]) == 2
        assert message in capsys.readouterr().err


def test_a_run_without_a_branch_has_no_figure_of_branches(tmp_path, monkeypatch):
    monkeypatch.setattr(static_figures, "FIGURES", {"branching": FIGURES["branching"]})
    window = [0.1] * 20
    starts = [record(s, 0, 0.2, window=window, tokens=[1] * 20) for s in range(6)]
    records = [one | {"window": [one["entropy"], *window[1:]], "parent_idx": None} for start in starts
               for one in (start, start | record(start["sample_idx"], 1, 0.4, tokens=[1] * 20))]  # fmt: skip
    write_steps(tmp_path, {1: records})
    assert "Where the loop branched: no trajectory is a branch" in report(tmp_path)
    branch = record(6, 1, 0.4, tokens=[1] * 20, window=[0.4, *window[1:]], parent_idx=0)
    write_steps(tmp_path, {1: [*records, branch]})
    assert '<figure id="figure-branching-0"' in report(tmp_path)


def test_the_pages_figures_show_nats_where_the_vocabulary_is_known(tmp_path):
    write_steps(tmp_path, {1: STEPS[1]})
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path), "-o", str(page)]) == 0
    assert "Normalised: nats" not in page.read_text()
    (tmp_path / "entropy_run.json").write_text('[{"run": 0, "vocab_size": 1000}]')
    assert main(["report", str(tmp_path), "-o", str(page)]) == 0
    assert "Normalised: nats / ln(1,000)." in page.read_text().replace("\u00a0", " ")


def test_a_rescored_run_whose_model_is_gone_is_reported_without_trajectories(tmp_path, capsys):
    write_steps(tmp_path, {1: [e | {"source": "rescored"} for e in STEPS[1]]})
    step = {"file": "gone.jsonl", "digest": "", "model": str(tmp_path / "gone")}
    (tmp_path / "rescore.json").write_text(json.dumps({"settings": {"window": 1}, "steps": {"1": step}}))
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "page.html")]) == 0
    assert "without trajectories: " in capsys.readouterr().err
    page = (tmp_path / "page.html").read_text()
    assert "give the report the run's tokenizer" in data_of(page)["text"]
    assert "Rescored withgone (1 step)" in text_of(page)
    assert str(tmp_path) not in page


def test_another_runs_tokenizer_is_one_line_with_the_option(tmp_path, capsys, monkeypatch):
    write_steps(tmp_path, {1: [record(0, 0, 0.2, tokens=[99]), record(0, 1, 0.7, tokens=[99])]})
    transcriber = Transcriber(Words())
    monkeypatch.setattr("arpo_entropy_recorder.commands.report._transcriber", lambda *_: transcriber)
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "page.html")]) == 2
    assert "error: --model: the tokenizer does not know the recorded token ids" in capsys.readouterr().err


@pytest.fixture(scope="module")
def chinese(tmp_path_factory, few_figures):
    """The page of STEPS in Chinese."""
    directory = tmp_path_factory.mktemp("chinese")
    write_steps(directory, STEPS)
    return make_page([read_run("run", read_steps([directory]))], FigureWords(chinese=FIGURE_CHINESE))


def test_every_word_of_the_script_exists_in_chinese(chinese):
    assets = resources.files("arpo_entropy_recorder.report") / "assets"
    said = {"start"}
    for file in (assets / "js").iterdir():
        said |= {
            json.loads(f'"{text}"') for text in re.findall(r'\bsay\(\s*"((?:[^"\\]|\\.)*)"', file.read_text())
        }
    for element in ElementTree.fromstring((assets / "explore.html").read_text()).iter():
        said |= {text.strip() for text in (element.text, element.tail) if text and text.strip()}
        said |= {element.get("aria-label")} - {None}
    assert len(said) > 60
    assert said == CHINESE.keys()
    for english, translated in CHINESE.items():
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", translated))
    assert data_of(chinese)["words"] == CHINESE
    assert '<html lang="zh">' in chinese


def test_in_chinese_answer_and_headings_are_so(chinese):
    body = chinese.split("</style>")[1].split("<script")[0]
    text = text_of(body)
    assert "是：工具反馈后的熵高于初始熵。平均变化 +0." in text
    assert "本页含 18 条轨迹的数值，不含其文本。" in text
    # What is left in English are names, and the controls, which the script puts into Chinese.
    shown = re.sub('(?s)<div id="explore".*?(?=<div id="printed">)', "", body)
    headings = re.findall(r"<(?:h1|h2|h3|th|caption|dt)\b[^>]*>([^<]+)<", shown)
    assert len(headings) > 30
    assert {word for word in headings if word.isascii()} == {"n", "token id", "search", "1", "2"}
