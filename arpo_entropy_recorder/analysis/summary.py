"""The numbers behind the figures, for a table, a program (JSON) or a spreadsheet (CSV)."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from math import isfinite
from typing import Any, TextIO

from rich.table import Table
from rich.text import Text

from arpo_entropy_recorder.analysis.selection import KINDS
from arpo_entropy_recorder.analysis.statistics import START, Group
from arpo_entropy_recorder.figures.about import origin_lines
from arpo_entropy_recorder.figures.gallery import Analysis
from arpo_entropy_recorder.schema import HIGH_ENTROPY
from arpo_entropy_recorder.step_files.layout import shorten

COLUMNS = ("group", "step", "round", "tool", "token", "n", "mean", "sd", "low", "high", "share_above")


def summarise(analysis: Analysis, left_out: Counter[str]) -> dict[str, Any]:
    """Everything as plain types for JSON: `groups`, the paired test and its `answer`, and whose records they are.

    Each group has n, mean, sd (n - 1), `low` and `high` of the mean's 95 % interval, and share_above 0.6;
    null where not defined.
    """
    test = analysis.pairs.test()
    return {
        "answer": test.answer,
        "paired": {name: _plain(value) for name, value in asdict(test).items()},
        "kind": analysis.kind,
        "sources": dict(analysis.origins.sources),
        "incomplete": analysis.origins.incomplete,
        "left_out": dict(left_out),
        "groups": [{**labels, **_numbers(group)} for labels, group in _groups(analysis)],
    }


def write_csv(analysis: Analysis, file: TextIO) -> None:
    """Write the groups of `summarise` as CSV, one a line; a cell is empty where a column does not apply."""
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for labels, group in _groups(analysis):
        writer.writerow({**labels, **_numbers(group)})


def round_table(analysis: Analysis) -> Table:
    """One row a round (n, mean, sd, share above 0.6), the start's above them and the totals below."""
    mark = " (SIMULATED)" if analysis.origins.simulated else ""
    table = Table(
        title=f"Normalised entropy of the first token{mark}", title_justify="left", title_style="bold"
    )
    table.add_column("round", no_wrap=True)
    for name in ("n", "mean", "sd", "95 % of mean", f"share > {HIGH_ENTROPY}"):
        table.add_column(name, justify="right", no_wrap=True)
    rounds, tools = analysis.rounds, analysis.tools.totals
    table.add_row("0 (start)", *_cells(rounds.initial), end_section=True)
    for number, group in sorted(rounds.by_round.items()):
        table.add_row(str(number), *_cells(group))
    table.add_section()
    table.add_row("after a tool", *_cells(rounds.after_tool), style="bold")
    for tool, group in sorted(tools.items()):
        # Plain text: a model may write what looks like markup.
        table.add_row(Text(f"  {shorten(tool, 16)}"), *_cells(group))
    return table


def notes(analysis: Analysis, left_out: Counter[str]) -> list[str]:
    """What a person must know of the records behind the numbers: where they are from, what was left out."""
    lines = origin_lines(analysis.origins)
    if analysis.kind != KINDS[0]:
        lines.append(f"Only {analysis.kind} records: there are no others.")
    if left_out:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items()))
        lines.append(f"Left out: {reasons}.")
    return lines


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
        yield {"group": "change_round", "round": number}, group


def _numbers(group: Group) -> dict[str, Any]:
    low, high = group.interval()
    numbers = {"n": group.n, "mean": group.mean, "sd": group.sd, "low": low, "high": high}
    return {name: _plain(value) for name, value in {**numbers, "share_above": group.share_above}.items()}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value


def _cells(group: Group) -> tuple[str, ...]:
    if not group.n:
        return ("0", "-", "-", "-", "-")
    low, high = group.interval()
    sd = f"{group.sd:.4f}" if group.n > 1 else "-"
    interval = f"{low:.4f}-{high:.4f}" if isfinite(low) else "-"
    return (f"{group.n:,}", f"{group.mean:.4f}", sd, interval, f"{group.share_above:.1%}")
