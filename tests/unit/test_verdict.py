"""The answer to a long run is a trend in words, with the level beside every ratio."""

import re

import numpy as np
import pytest
from made_steps import make_step
from real_like_runs import STORIES, write_run
from rich.console import Console

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.analysis.choices import MEAN
from arpo_entropy_recorder.analysis.phase_table import phase_table
from arpo_entropy_recorder.analysis.ratio import ratio_of
from arpo_entropy_recorder.analysis.selection import Selection
from arpo_entropy_recorder.analysis.summary import summarise
from arpo_entropy_recorder.analysis.verdict import answer, headline, short, tool_trends, verdict
from arpo_entropy_recorder.step_files.read import read_steps


@pytest.fixture(scope="module")
def stories(tmp_path_factory):
    out, found = tmp_path_factory.mktemp("runs"), {}
    for story in STORIES:
        write_run(out / story, story, steps=40 if story == "collapse" else 26, prompts=24, n=4)
        found[story] = analyse(read_steps([out / story / "entropies"]))
    return found


def made(ratios, levels=None, prompts=12, tool=None, scatter=0.1):
    """An analysis of steps whose after / before is about `ratios`, of starts about `levels`."""
    random = np.random.default_rng(5)
    levels = np.full(len(ratios), 0.1) if levels is None else levels
    steps = []
    for number, (ratio, level) in enumerate(zip(ratios, levels, strict=True), 1):
        before = level * np.exp(random.normal(0, scatter, prompts))
        after = ratio * level * np.exp(random.normal(0, scatter, prompts))
        records = [(0, False, value) for value in before] + [(1, True, value) for value in after]
        sample = np.tile(np.arange(prompts), 2)
        steps.append(make_step(records, number, sample_idx=sample, prompt_idx=sample))
    return analyse(steps)


@pytest.mark.parametrize(
    ("ratios", "levels", "begins"),
    [
        (np.full(20, 2.0), None, "Holds: "),
        (np.full(20, 2.0), np.geomspace(0.1, 0.001, 20), "Faded: "),
        (np.geomspace(0.3, 2, 20), None, "Risen: "),
        (np.geomspace(0.3, 2, 20), np.geomspace(0.1, 0.001, 20), "Risen: "),
        (np.geomspace(2, 0.3, 20), None, "Gone: "),
        (np.full(20, 0.5), None, "No: "),
        (np.r_[np.full(10, 2.0), np.ones(10)], None, "No longer clear: "),
        (np.ones(20), None, "No clear difference "),
        (np.full(20, 2.0), np.r_[np.full(10, 0.1), np.zeros(10)], "No ratio at the end"),
        (
            np.full(20, 2.0),
            np.r_[np.zeros(10), np.full(10, 0.1)],
            "Tool results raise the entropy at the end; how",
        ),
        (np.full(19, 2.0), None, "Yes: after-tool entropy exceeds"),
    ],
)
def test_the_verdict_goes_by_the_last_phase(ratios, levels, begins):
    said = headline(made(ratios, levels).pairs)
    assert said.startswith(begins)
    assert "nan" not in said
    assert "\n" not in said


def test_ratio_and_level_stand_beside_each_other():
    said = headline(made(np.geomspace(2, 0.3, 40), np.geomspace(0.1, 0.01, 40)).pairs)
    number = r"[\d.]+"
    assert re.search(
        rf"start {number}x \[{number}, {number}\] in steps 1 to 5, {number}x .* in steps 36 to 40", said
    )
    assert re.search(r"below 1x since about step \d+ \(\d+ to \d+\)", said)
    assert re.search(
        rf"after tool results 0\.0\d+x \[{number}, {number}\] of the beginning \({number} -> {number}\)",
        said,
    )
    assert "below 1x since the beginning, step 1;" in headline(made(np.full(20, 0.5)).pairs)


def test_a_collapse_is_gone_since_about_when(stories):
    # 1.9 ** (1 - 1.4 share) is 1 at 0.71 of the way: step 28.
    trend = stories["collapse"].pairs.trend()
    assert verdict(stories["collapse"].pairs).startswith("Gone")
    assert trend.since_low <= trend.since <= trend.since_high
    assert 22 <= trend.since <= 37
    assert trend.level_high < 0.1


def test_a_steady_run_holds_and_names_no_tool(stories):
    said = headline(stories["hold"].pairs)
    assert said.startswith("Holds")
    assert "python" not in said
    assert "since" not in said


def test_the_tool_that_was_lost_is_named(stories):
    said = headline(stories["one_tool"].pairs)
    assert "Not so after python, which raises it no longer" in said
    assert "search" not in said
    trends = tool_trends(stories["one_tool"].pairs)
    assert trends["search"].last.ratio.low > 1 > trends["python"].last.ratio.ratio


def called(shares, levels):
    """An analysis of steps that call search by `shares` and python else, with `levels` after each at every step."""
    random = np.random.default_rng(5)
    steps = []
    for number, share in enumerate(shares, 1):
        tools = np.where(np.arange(10) < 10 * share, "search", "python").astype(object)
        after = [levels[tool][number - 1] for tool in tools] * np.exp(random.normal(0, 0.1, 10))
        before = 0.02 * np.exp(random.normal(0, 0.1, 10))
        records = [(0, False, value) for value in before] + [(1, True, value) for value in after]
        sample, tool = np.tile(np.arange(10), 2), np.r_[np.full(10, None, object), tools]
        steps.append(make_step(records, number, sample_idx=sample, prompt_idx=sample, tool=tool))
    return analyse(steps)


@pytest.mark.parametrize(
    ("search", "python", "begins"),
    [(0.2, 0.03, "Faded"), (0.08, 0.01, "No longer clear"), (0.04, 0.01, "Gone")],
)
def test_a_level_that_fell_with_the_mix_of_tools_alone_says_so(search, python, begins):
    shares = np.repeat([0.9, 0.1], 20)
    said = headline(called(shares, {"search": np.full(40, search), "python": np.full(40, python)}).pairs)
    assert said.startswith(begins)
    assert said.endswith(
        "After each tool by itself the entropy has not clearly changed; the mix of tools has."
    )


@pytest.mark.parametrize("shares", [np.full(40, 0.5), np.repeat([0.9, 0.1], 20)])
def test_a_level_that_fell_after_a_tool_is_not_put_down_to_the_mix(shares):
    fell = np.geomspace(0.2, 0.05, 40)
    said = headline(called(shares, {"search": fell, "python": fell * 0.8}).pairs)
    assert said.startswith("Faded")
    assert "the mix" not in said


def test_tokens_that_nearly_all_begin_with_are_named(stories):
    tokens = stories["hold"].first_tokens.dominant()
    assert [(token.after_tool, chr(token.token_id), token.share) for token in tokens] == [
        (False, "<", 1.0),
        (True, " ", 1.0),
    ]
    said = headline(stories["hold"].pairs, tokens, "THAT")
    assert "Token 60 makes up 100% of the starts and token 32 makes up 100% of the first tokens after" in said
    assert said.endswith("compare THAT.")


def test_of_means_over_a_window_no_first_token_is_named():
    step = make_step([(1, True, 0.5)] * 10, token_id=np.full(10, 7), window=np.full((10, 2), 0.4))
    assert "Token 7" in answer(analyse([step]), "THAT")
    assert "Token 7" not in answer(analyse([step], selection=Selection(over=MEAN)), "THAT")


@pytest.mark.parametrize(("alike", "named"), [(8, False), (9, True)])
def test_a_token_is_named_above_80_percent(alike, named):
    token_id = np.array([7] * alike + [3] * (10 - alike))
    analysis = analyse([make_step([(1, True, 0.5)] * 10, token_id=token_id)])
    assert bool(analysis.first_tokens.dominant()) == named


def test_the_json_has_the_trend(stories):
    pairs, found = stories["collapse"].pairs, summarise(stories["collapse"])
    trend = found["trend"]
    last = pairs.sums[-5:].sum(0)
    assert trend["last"]["steps"] == [36, 40]
    assert trend["first"]["steps"] == [1, 5]
    assert trend["last"]["n"] == last[0]
    assert trend["last"]["ratio"] == pytest.approx(last[1] / last[2])
    assert trend["last"]["low"] < trend["last"]["ratio"] < trend["last"]["high"] < 1
    assert trend["last"]["with_tool"] == pairs.with_tool(slice(-5, None))
    level = trend["level"]
    assert level["ratio"] == pytest.approx(level["last"] / level["first"])
    assert level["low"] < level["ratio"] < level["high"]
    assert trend["since_low"] <= trend["since"] <= trend["since_high"]
    assert found["answer"].startswith("Gone")
    assert found["ratio"]["ratio"] == pytest.approx(ratio_of(pairs.sums.sum(0)).ratio)
    assert set(found["tools"]) == {"python", "search"}


def test_without_a_ratio_or_a_trend_the_json_says_null():
    found = summarise(made(np.full(20, 2.0), np.r_[np.full(10, 0.1), np.zeros(10)]))["trend"]
    assert found["last"]["ratio"] is found["last"]["low"] is found["since"] is None
    assert found["first"]["ratio"] == pytest.approx(2, rel=0.1)
    found = summarise(made([2.0, 2.0]))
    assert found["trend"] is None
    assert found["ratio"]["ratio"] == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("width", [60, 66, 72, 78, 80, 82, 90, 100])
def test_the_phase_table_keeps_its_digits_in_any_width(stories, width):
    for story in stories.values():
        console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
        console.print(phase_table(story.pairs, width))
        text = console.export_text()
        last, python = story.pairs.trend().last.ratio, story.pairs.trend("python").last
        for cell in (
            short(last.after),
            short(last.ratio),
            f"[{short(last.low)}, {short(last.high)}]",
            f"python {python.first} to {python.last}",
            "after, last / first",
        ):
            assert cell in text
        assert "\u2026" not in text
        assert max(map(len, text.splitlines())) <= width


def test_the_phase_table_drops_columns_where_it_is_narrow(stories):
    widths = (100, 78, 70, 60)
    tables = [phase_table(stories["one_tool"].pairs, width) for width in widths]
    assert [len(table.columns) for table in tables] == [7, 6, 5, 4]
    assert ["tool:" in table.title for table in tables] == [True, False, False, False]


def test_a_short_run_has_no_phase_table():
    assert phase_table(made([2.0] * 19).pairs) is None


def test_a_long_run_without_pairs_has_no_answer():
    starts = [make_step([(0, False, 0.3)] * 4, number) for number in range(1, 26)]
    assert headline(analyse(starts).pairs).startswith("No answer: no trajectory has both")
    pair = make_step([(0, False, 0.3), (1, True, 0.6)], 1, sample_idx=np.zeros(2))
    said = headline(analyse([pair, *starts[1:]]).pairs)
    assert said.startswith("No answer for the end: of the prompts there 0 have both entropies, 5 are needed")
    assert "nan" not in said
