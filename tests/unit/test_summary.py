"""The table, the JSON and the CSV hold the same numbers, and they are the records'."""

import csv
import io
import json
import statistics as oracle
from collections import Counter

import numpy as np
import pytest
from made_steps import make_run, make_step
from rich.console import Console

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.analysis.notes import notes
from arpo_entropy_recorder.analysis.summary import summarise, write_csv
from arpo_entropy_recorder.analysis.table import round_table
from arpo_entropy_recorder.figures.catalogue import draw


def plain_groups(steps):
    """{(group, step, round, tool): entropies}, in plain Python."""
    groups = {}
    for step in steps:
        columns = (step.columns[name].tolist() for name in ("round", "is_after_tool_call", "tool", "entropy"))
        for number, after, tool, entropy in zip(*columns, strict=True):
            if entropy != entropy:
                continue
            labels = [("step_round" if after else "step_initial", step.global_step, number, None)]
            if after:
                labels += [("after_tool", *[None] * 3), ("round", None, number, None)]
                labels += [("tool", None, None, tool), ("tool_round", None, number, tool)]
            else:
                labels += [("initial", *[None] * 3)]
            for label in labels:
                groups.setdefault(label, []).append(entropy)
    return groups


def test_the_json_has_the_numbers_of_every_group():
    steps = list(make_run())
    summary = summarise(analyse(steps))
    json.dumps(summary, allow_nan=False)
    expected = plain_groups(steps)
    found = {
        tuple(group.get(key) for key in ("group", "step", "round", "tool")): group
        for group in summary["groups"]
        if not group["group"].startswith(("token", "change"))
    }
    assert found.keys() == expected.keys()
    for label, values in expected.items():
        group = found[label]
        assert group["n"] == len(values)
        assert group["mean"] == pytest.approx(oracle.fmean(values))
        assert group["share_above"] == sum(value > 0.6 for value in values) / len(values)
        assert group["sd"] == (pytest.approx(oracle.stdev(values)) if len(values) > 1 else None)
        assert (group["low"] is None) == (len(values) < 5)
    changes = [group for group in summary["groups"] if group["group"] == "change_round"]
    assert changes
    assert {group["share_above"] for group in changes} == {None}, "a change has no high or low"
    assert summary["answer"].startswith(("Yes", "No"))


def test_the_csv_has_the_same_groups():
    analysis = analyse(make_run())
    file = io.StringIO()
    write_csv(analysis, file)
    lines = list(csv.DictReader(io.StringIO(file.getvalue())))
    groups = summarise(analysis)["groups"]
    assert len(lines) == len(groups)
    for line, group in zip(lines, groups, strict=True):
        assert {key: value for key, value in line.items() if value} == {
            key: str(value) for key, value in group.items() if value is not None
        }


def test_the_table_shows_nothing_where_nothing_is_defined():
    analysis = analyse([make_step([(1, True, 0.7)])])
    table = round_table(analysis)
    cells = [tuple(map(str, row)) for row in zip(*(column.cells for column in table.columns), strict=True)]
    assert cells[0] == ("0 (start)", "0", "-", "-", "-", "-")
    assert cells[1] == ("1", "1", "0.7000", "-", "-", "100.0%")


LONG = "retrieve_from_long_term_memory"


@pytest.mark.parametrize(
    ("width", "name", "columns"),
    [(200, LONG, 6), (80, "  retrieve_from_long", 6), (60, "  retrieve_from", 5), (50, "  retrieve_f", 4),
     (40, "  retrieve", 3)],
)  # fmt: skip
def test_on_a_narrow_terminal_names_are_cut_and_columns_go_but_no_digits(width, name, columns):
    records = [(number, number > 0, 0.1234 + number / 7) for number in range(3) for _ in range(40)]
    tools = np.array([LONG if number else None for number, *_ in records], object)
    analysis = analyse([make_step(records, tool=tools)])
    console = Console(width=width, file=io.StringIO())
    table = round_table(analysis, console.width)
    console.print(table)
    text = console.file.getvalue()
    assert name in text
    assert len(table.columns) == columns
    for column in table.columns[1:]:
        for cell in column.cells:
            assert cell in text
    assert text.count("…") == (width < 200)
    assert max(map(len, text.splitlines())) <= width


def test_what_was_left_out_is_told():
    analysis = analyse([make_step([(1, True, 0.7)])])
    analysis.left_out = Counter(greedy=2)
    assert summarise(analysis)["left_out"] == {"greedy": 2}


def test_one_stale_step_is_no_plural():
    analysis = analyse([make_step([(1, True, 0.7)])])
    analysis.left_out = Counter({"stale steps": 1, "greedy": 1})
    assert notes(analysis) == ["Left out: 1 greedy, 1 stale step."]
    analysis.left_out = Counter({"stale steps": 2})
    assert notes(analysis) == ["Left out: 2 stale steps."]


def test_table_notes_and_captions_name_a_kind_that_is_not_sampled():
    analysis = analyse([make_step([(1, True, 0.5)], validate=True)])
    assert notes(analysis) == ["Only validation records."]
    assert "Only validation records." in draw("rounds", analysis).get_supxlabel()


def seen(steps):
    """Everything that table, notes and figure say."""
    analysis = analyse(steps)
    figure = draw("rounds", analysis)
    lines = " ".join([str(round_table(analysis).title), *notes(analysis)])
    return lines, f"{figure.axes[0].get_title('left')} {figure.get_supxlabel()}".replace("\n", " ")


def test_records_that_are_simulated_say_so_wherever_they_come_from():
    records = [(0, False, 0.2), (1, True, 0.7), (1, True, 0.6)]
    made_up = make_step(records, source=np.full(3, "simulated", object))
    assert summarise(analyse([made_up]))["sources"] == {"simulated": 3}
    for said in seen([made_up]):
        assert "SIMULATED" in said
        assert "mixed" not in said
    for said in seen([made_up, make_step([(1, True, 0.5)], validate=True)]):
        assert "Left out: 1 validation." in said
    for said in seen([make_step(records)]):
        assert "simulated" not in said.lower()
        assert "mixed" not in said


def test_records_of_several_sources_are_not_pooled_in_silence():
    live, again = make_step([(1, True, 0.7)] * 3), make_step([(1, True, 0.7)] * 2, 2)
    again.columns["source"] = np.full(2, "rescored", object)
    for said in seen([live, again]):
        assert "Records of several sources are mixed: 3 recorded, 2 rescored." in said
    again.columns["source"][0] = "simulated"
    for said in seen([live, again]):
        assert "3 recorded, 1 rescored, 1 simulated" in said
        assert "SIMULATED" in said


def test_records_of_calls_that_are_not_whole_are_told():
    step = make_step([(1, True, 0.7)] * 3, incomplete=np.array([True, False, True]))
    for said in seen([step]):
        assert "Records of calls that were not recorded whole: 2." in said


def test_trajectories_without_a_prompt_beside_others_with_one_are_told():
    def made(names):
        sample = np.tile(np.arange(3), 2)
        prompt = np.tile(np.array(names, object), 2)
        return analyse(
            [make_step([(0, False, 0.2)] * 3 + [(1, True, 0.7)] * 3, sample_idx=sample, prompt=prompt)]
        )

    line = "Trajectories whose prompt is not known, counted as one each: 2."
    assert line in notes(made(["p", None, None]))
    assert summarise(made(["p", None, None]))["without_prompt"] == 2
    for names in (["p", "p", "q"], [None, None, None]):
        assert not notes(made(names))


def test_records_of_unsure_lineage_are_told():
    step = make_step([(1, True, 0.7)] * 3, unsure=np.array([True, False, True]))
    for said in seen([step]):
        assert "Records whose tool, round or parent is not sure: 2." in said
