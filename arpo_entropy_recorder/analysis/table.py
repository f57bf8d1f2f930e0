"""The table of rounds and tools that a person reads in a terminal, as wide as that."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import isfinite

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.choices import MEAN
from arpo_entropy_recorder.analysis.statistics import Group
from arpo_entropy_recorder.step_files.schema import HIGH_ENTROPY

NUMBERS = ("n", "mean", "sd", "95 % of mean", f"share > {HIGH_ENTROPY}")
# Columns to drop where there is no room, the first one first.
DISPENSABLE = ("95 % of mean", "sd", f"share > {HIGH_ENTROPY}")
TOTAL = "after a tool"
# A column adds a space on both sides and the line before it, which may be a space, too; behind the last there is one.
COLUMN_ADDS = 3


def round_table(analysis: Analysis, width: int = 80) -> Table:
    """One row per round (n, mean, sd, interval, share above 0.6), the start's above them and the totals below.

    It fits into `width` characters, of some 40 at least: tools' names are cut to the room that the numbers leave,
    and on a narrow terminal a column goes rather than digits.
    """
    rounds, tools = analysis.rounds, analysis.tools.totals
    rows = [("0 (start)", _cells(rounds.initial))]
    rows += [(str(number), _cells(group)) for number, group in sorted(rounds.by_round.items())]
    rows += [(TOTAL, _cells(rounds.after_tool))]
    rows += [(f"  {tool}", _cells(group)) for tool, group in sorted(tools.items())]
    shown, room = _fitting([cells for _, cells in rows], width)
    mark = " (SIMULATED)" if analysis.origins.simulated else ""
    what = "the recorded window, mean" if analysis.selection.over == MEAN else "the first token"
    table = Table(title=f"Normalised entropy of {what}{mark}", title_justify="left", title_style="bold")
    table.add_column("round", no_wrap=True)
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    last = len(rounds.by_round)
    for index, (label, cells) in enumerate(rows):
        # As plain text: a tool's name may look like markup.
        cut = Text(label)
        cut.truncate(room, overflow="ellipsis")
        table.add_row(
            cut,
            *(cells[column] for column in shown),
            style="bold" if label == TOTAL else None,
            end_section=index in (0, last),
        )
    return table


def width_of(rows: Collection[Mapping[str, str]], columns: Collection[str]) -> int:
    """How many characters wide a table is that has the `columns` of the rows' cells, under their names."""
    widths = (
        max(cell_len(text) for text in (name, *(row.get(name, "") for row in rows))) for name in columns
    )
    return sum(width + COLUMN_ADDS for width in widths) + 1


def _fitting(rows: list[dict[str, str]], width: int) -> tuple[list[str], int]:
    """The columns of numbers that there is room for, and what they leave to the names."""
    shown = list(NUMBERS)
    for dropped in (None, *DISPENSABLE):
        if dropped is not None:
            shown.remove(dropped)
        # The column of the names adds what every column does.
        room = width - width_of(rows, shown) - COLUMN_ADDS
        if room >= len(TOTAL):
            break
    return shown, max(room, len(TOTAL))


def _cells(group: Group) -> dict[str, str]:
    if not group.n:
        return dict(zip(NUMBERS, ("0", "-", "-", "-", "-"), strict=True))
    low, high = group.interval()
    sd = f"{group.sd:.4f}" if group.n > 1 else "-"
    interval = f"{low:.4f}-{high:.4f}" if isfinite(low) else "-"
    numbers = (f"{group.n:,}", f"{group.mean:.4f}", sd, interval, f"{group.share_above:.1%}")
    return dict(zip(NUMBERS, numbers, strict=True))
