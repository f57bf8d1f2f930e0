"""The table of a training's first and last phase, small enough for a paper."""

from __future__ import annotations

from math import exp, isnan, nan

from rich import box
from rich.table import Table
from rich.text import Text

from arpo_entropy_recorder.analysis.pairs import Pairs
from arpo_entropy_recorder.analysis.ratio import Ratio
from arpo_entropy_recorder.analysis.statistics import nats_of
from arpo_entropy_recorder.analysis.table import width_of
from arpo_entropy_recorder.analysis.trend import Phase
from arpo_entropy_recorder.analysis.verdict import interval, short, tool_trends

COLUMNS = ("steps", "prompts", "tool", "start", "after", "ratio", "97.5 %")
# Columns to drop where there is no room, the first one first.
DISPENSABLE = ("tool", "prompts", "start")
MAX_NAME = 12


def phase_table(pairs: Pairs, width: int = 80, vocab_size: int | None = None) -> Table | None:
    """A row for each phase and one for the level, then two for each of several tools; None below 20 steps.

    Where the vocabulary is known, its caption says the means after tool results in nats and effective choices.

    It fits into `width` characters, of some 60 at least.
    """
    trend = pairs.trend()
    if trend is None:
        return None
    rows = [_row("", phase, pairs.with_tool(phase.span)) for phase in (trend.first, trend.last)]
    level = {"ratio": short(trend.level), "97.5 %": interval(trend.level_low, trend.level_high)}
    rows.append({"steps": "after, last / first", **level})
    tools = tool_trends(pairs)
    for tool, of_tool in tools.items() if len(tools) > 1 else ():
        label = Text(tool)
        label.truncate(MAX_NAME, overflow="ellipsis")
        rows += [_row(f"{label.plain} ", phase) for phase in (of_tool.first, of_tool.last)]
    shown = list(COLUMNS)
    for dropped in DISPENSABLE:
        if width_of(rows, shown) <= width:
            break
        shown.remove(dropped)
    caption = None
    if vocab_size:
        first, last = (units(phase.ratio.after, vocab_size) for phase in (trend.first, trend.last))
        caption = f"after: {first}, at the end {last}"
    title = "Ratio after / start by phase"
    if "tool" in shown:
        title += " (tool: share of trajectories with a result)"
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE,
        caption=caption,
        caption_justify="left",
    )
    for name in shown:
        table.add_column(name, justify="left" if name == COLUMNS[0] else "right", no_wrap=True)
    for index, row in enumerate(rows):
        # As plain text: a tool's name may look like markup.
        table.add_row(*(Text(row.get(name, "")) for name in shown), end_section=index == 2)
    return table


def units(entropy: float, vocab_size: int) -> str:
    """A normalised entropy in nats and as effective choices: "1.41 nats, as 4.1 equally likely tokens"."""
    nats = nats_of(entropy, vocab_size)
    return f"{short(nats)} nats, as {exp(nats):.3g} equally likely tokens"


def _row(name: str, phase: Phase, with_tool: float = nan) -> dict[str, str]:
    ratio: Ratio = phase.ratio
    return {
        "steps": f"{name}{phase.first} to {phase.last}",
        "prompts": f"{ratio.n:,}",
        "tool": "" if isnan(with_tool) else f"{with_tool:.0%}",
        "start": short(ratio.before),
        "after": short(ratio.after),
        "ratio": short(ratio.ratio),
        "97.5 %": interval(ratio.low, ratio.high),
    }
