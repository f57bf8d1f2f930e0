"""A run in training at a glance: its last step beside its first and last phase, as a screen or as lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.notes import notes
from arpo_entropy_recorder.analysis.pairs import Pairs
from arpo_entropy_recorder.analysis.ratio import A, B, N, Ratio, ratio_of
from arpo_entropy_recorder.analysis.trend import phases
from arpo_entropy_recorder.analysis.verdict import answer, interval, short
from arpo_entropy_recorder.errors import printable

COLUMNS = ("steps", "prompts", "before", "after", "ratio", "level")
BARS = "▁▂▃▄▅▆▇█"
MIN_SPAN = 2.0  # a sparkline's highest bar over its lowest, at least: values closer than this look alike
LABEL = 7  # width of a sparkline's name
NONE = "no trajectory has an entropy before and after a tool result"


class WatchScreen:
    """What `rich` draws of an analysis with `pairs` and `first_tokens`, as wide as the terminal.

    `remedy` is what the reader may do where nearly all segments begin alike, `told` lines to stand below.
    """

    def __init__(self, analysis: Analysis, remedy: str, told: Sequence[str] = ()) -> None:
        self.analysis, self.remedy, self.told = analysis, remedy, told

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        pairs = self.analysis.pairs
        yield _table(pairs)
        if not options.ascii_only:
            yield from _lines_of_bars(pairs, options.max_width)
        yield Text("")
        yield Text(printable(answer(self.analysis, self.remedy)), style="bold")
        for line in (*notes(self.analysis), *self.told):
            yield Text(printable(line))


def step_lines(pairs: Pairs, rows: Iterable[int]) -> Iterator[str]:
    """What the steps of these rows of `pairs.steps` hold, a line each."""
    steps, sums, given = pairs.steps, pairs.sums, pairs.counts[:, 1]
    first = phases(sums[:, N])[0]
    for row in rows:
        ratio = ratio_of(sums[row])
        if not ratio.n:
            yield f"step {steps[row]}: {NONE}{'' if given[row] else ', and none was given a tool result'}"
            continue
        level = short(_level(ratio, sums, row))
        parts = (
            f"after {short(ratio.after)}",
            f"before {short(ratio.before)}",
            "no ratio"
            if np.isnan(ratio.ratio)
            else f"ratio {short(ratio.ratio)}x {interval(ratio.low, ratio.high)}",
            "" if level == "-" else f"level {level}x of steps {steps[first][0]} to {steps[first][-1]}",
            f"prompts {ratio.n:,}",
        )
        yield f"step {steps[row]}: {', '.join(filter(None, parts))}"


def sparkline(values: np.ndarray) -> str:
    """Bars of float64[n] values on a log scale; a blank where a value is NaN."""
    positive = values[values > 0]
    if not len(positive):
        return "".join(" " if np.isnan(value) else BARS[0] for value in values)
    low, high = np.log(positive.min()), np.log(positive.max())
    widen = max(np.log(MIN_SPAN) - (high - low), 0) / 2
    with np.errstate(divide="ignore"):
        height = (np.log(values) - low + widen) / (high - low + 2 * widen) * len(BARS)
    return "".join(
        " " if np.isnan(value) else BARS[int(np.clip(value, 0, len(BARS) - 1))] for value in height.tolist()
    )


def _table(pairs: Pairs) -> Table:
    """First and last phase, or all steps where there are few, and the last step."""
    steps, sums = pairs.steps, pairs.sums
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == COLUMNS[0] else "right", no_wrap=True)
    trend = pairs.trend()
    spans = [trend.first.span, trend.last.span] if trend else [slice(0, len(steps))]
    last = len(steps) - 1
    for row, span in enumerate([*spans, slice(last, last + 1)]):
        ratio, inside = ratio_of(sums[span].sum(0)), steps[span]
        is_last = row == len(spans)
        name = f"last: {inside[-1]}" if is_last else f"{inside[0]} to {inside[-1]}"
        level = _level(ratio, sums, last) if is_last or (trend and row) else np.nan
        cells = (f"{ratio.n:,}", *map(short, (ratio.before, ratio.after)), _x(ratio.ratio), _x(level))
        table.add_row(name, *cells, style="bold" if is_last else None)
    return table


def _lines_of_bars(pairs: Pairs, width: int) -> Iterator[Text]:
    """After-tool entropy and ratio over the steps, with their first and last value."""
    sums = pairs.sums
    room = max(min(len(sums), width - LABEL - 26), 1)
    binned = np.add.reduceat(sums, np.linspace(0, len(sums), room, endpoint=False).astype(int), axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        after, ratio = binned[:, A] / binned[:, N], binned[:, A] / binned[:, B]
    for name, values, unit in (("after", after, ""), ("ratio", ratio, "x")):
        known = values[np.isfinite(values)].tolist()
        ends = f"  {short(known[0])}{unit} -> {short(known[-1])}{unit}" if known else ""
        values = np.where(np.isinf(values), np.nan, values)
        yield Text(f"{name:{LABEL}}{sparkline(values)}{ends}", no_wrap=True, overflow="crop")


def _level(ratio: Ratio, sums: np.ndarray, row: int) -> float:
    """After-tool entropy against the mean of the first phase's prompts; NaN for a row of that phase itself."""
    first = phases(sums[:, N])[0]
    n, after, *_ = sums[first].sum(0)
    return float(ratio.after / (after / n)) if row >= first.stop and after > 0 else np.nan


def _x(value: float) -> str:
    return "-" if np.isnan(value) else f"{short(value)}x"
