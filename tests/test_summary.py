"""The table, the JSON and the CSV hold the same numbers, and they are the records'."""

import csv
import io
import json
import statistics as oracle
from collections import Counter

import pytest
from made_steps import make_run, make_step

from arpo_entropy_recorder.analysis.summary import round_table, summarise, write_csv
from arpo_entropy_recorder.figures.gallery import analyse


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
    summary = summarise(*analyse(steps))
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
    assert summary["answer"].startswith(("Yes", "No"))


def test_the_csv_has_the_same_groups():
    analysis, left_out = analyse(make_run())
    file = io.StringIO()
    write_csv(analysis, file)
    lines = list(csv.DictReader(io.StringIO(file.getvalue())))
    groups = summarise(analysis, left_out)["groups"]
    assert len(lines) == len(groups)
    for line, group in zip(lines, groups, strict=True):
        assert {key: value for key, value in line.items() if value} == {
            key: str(value) for key, value in group.items() if value is not None
        }


def test_the_table_shows_nothing_where_nothing_is_defined():
    analysis, _ = analyse([make_step([(1, True, 0.7)])])
    table = round_table(analysis)
    cells = list(zip(*(column.cells for column in table.columns), strict=True))
    assert cells[0] == ("0 (start)", "0", "-", "-", "-", "-")
    assert cells[1] == ("1", "1", "0.7000", "-", "-", "100.0%")


def test_what_was_left_out_is_told():
    analysis, _ = analyse([make_step([(1, True, 0.7)])])
    assert summarise(analysis, Counter(greedy=2))["left_out"] == {"greedy": 2}
