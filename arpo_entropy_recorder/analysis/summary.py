"""The numbers behind the figures, for a program (JSON) or a spreadsheet (CSV), and what to know of them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict
from math import isfinite
from typing import Any, TextIO

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.statistics import START, Group

COLUMNS = ("group", "step", "round", "tool", "token", "n", "mean", "sd", "low", "high", "share_above")
CHANGES = "change_round"


def summarise(analysis: Analysis) -> dict[str, Any]:
    """Everything as plain types for JSON: `groups`, the paired test and its `answer`, and whose records they are.

    Each group has n, mean, sd (n - 1), `low` and `high` of the mean's 95 % interval, and share_above 0.6;
    null where not defined, as the share of a group of changes.
    """
    test = analysis.pairs.test()
    return {
        "answer": test.answer,
        "paired": {name: _plain(value) for name, value in asdict(test).items()},
        "kind": analysis.kind,
        "sources": dict(analysis.origins.sources),
        "incomplete": analysis.origins.incomplete,
        "unsure": analysis.origins.unsure,
        "left_out": dict(analysis.left_out),
        "groups": [{**labels, **_numbers(labels["group"], group)} for labels, group in _groups(analysis)],
    }


def write_csv(analysis: Analysis, file: TextIO) -> None:
    """Write the groups of `summarise` as CSV, one per line; a cell is empty where a column does not apply."""
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for labels, group in _groups(analysis):
        writer.writerow({**labels, **_numbers(labels["group"], group)})


def _groups(analysis: Analysis) -> Iterator[tuple[dict[str, Any], Group]]:
    rounds = analysis.rounds
    yield {"group": "initial"}, rounds.initial
    yield {"group": "after_tool"}, rounds.after_tool
    for number, group in sorted(rounds.by_round.items()):
        yield {"group": "round", "round": number}, group
    for tool, by_round in sorted(analysis.tools.groups.items()):
        yield {"group": "tool", "tool": tool}, analysis.tools.totals[tool]
        for number, group in sorted(by_round.items()):
            yield {"group": "tool_round", "tool": tool, "round": number}, group
    for step, cells in sorted(analysis.steps.cells.items()):
        for number, group in sorted(cells.items()):
            name = "step_initial" if number == START else "step_round"
            yield {"group": name, "step": step, "round": number}, group
    for name, groups in (
        ("token", analysis.positions.after_tool),
        ("token_initial", analysis.positions.initial),
    ):
        for at, group in enumerate(groups, 1):
            yield {"group": name, "token": at}, group
    for number, group in sorted(analysis.pairs.by_round.items()):
        yield {"group": CHANGES, "round": number}, group


def _numbers(name: str, group: Group) -> dict[str, Any]:
    low, high = group.interval()
    numbers: dict[str, float | None] = {
        "n": group.n,
        "mean": group.mean,
        "sd": group.sd,
        "low": low,
        "high": high,
    }
    # 0.6 marks a high entropy; for a change it means nothing.
    numbers["share_above"] = None if name == CHANGES else group.share_above
    return {key: _plain(value) for key, value in numbers.items()}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value
