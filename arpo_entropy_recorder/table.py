"""The numbers behind the figure as a table for the terminal."""

from __future__ import annotations

from rich.table import Table

from .schema import HIGH_ENTROPY
from .statistics import Group, Rounds


def round_table(rounds: Rounds) -> Table:
    """One row a round (n, mean, sd, share above 0.6), the start's above them and all rounds' below."""
    table = Table(title="Normalised entropy of the first token", title_justify="left", title_style="bold")
    table.add_column("round", no_wrap=True)
    for name in ("n", "mean", "sd", f"share > {HIGH_ENTROPY}"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row("0 (start)", *_cells(rounds.initial), end_section=True)
    for number, group in sorted(rounds.by_round.items()):
        table.add_row(str(number), *_cells(group))
    table.add_section()
    table.add_row("after a tool", *_cells(rounds.after_tool), style="bold")
    return table


def _cells(group: Group) -> tuple[str, ...]:
    if not group.n:
        return ("0", "-", "-", "-")
    sd = f"{group.sd:.4f}" if group.n > 1 else "-"
    return (f"{group.n:,}", f"{group.mean:.4f}", sd, f"{group.share_above:.1%}")
