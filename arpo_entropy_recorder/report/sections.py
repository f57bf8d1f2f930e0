"""The sections of the report that are made of statistics: answer, tiles, tables, settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from math import isfinite
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from arpo_entropy_recorder import __version__
from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.notes import reasons_of, selected, warnings
from arpo_entropy_recorder.analysis.statistics import Group
from arpo_entropy_recorder.analysis.verdict import (
    basis,
    dominant,
    formatting,
    paired_size,
    tool_lines,
    verdict,
)
from arpo_entropy_recorder.figures.words import Words
from arpo_entropy_recorder.report.facts import RunFacts
from arpo_entropy_recorder.report.markup import DASH, decimal, scrollable, tag
from arpo_entropy_recorder.report.static_figures import figures
from arpo_entropy_recorder.step_files.schema import HIGH_ENTROPY

if TYPE_CHECKING:
    from arpo_entropy_recorder.report.page import RunPage

QUESTION = "Does the policy become uncertain after tool results?"


def header(runs: Sequence[RunPage], words: Words) -> Element:
    """The question, and each run's answer."""
    return tag(
        "header",
        tag("p", words("Entropy report"), class_="eyebrow"),
        tag("h1", words(QUESTION)),
        tag("div", [_answer(run, len(runs) > 1, words) for run in runs], class_="answers"),
        tag(
            "p",
            words(
                "Entropy is that of the first token's distribution over the whole vocabulary, in nats over "
                "ln(vocabulary size): 0 is certain, 1 is uniform."
            ),
            class_="note",
        ),
    )


def _answer(run: RunPage, is_named: bool, words: Words) -> Element:
    analysis = run.gathered
    warned = [*warnings(analysis, words), *selected(analysis, words)]
    rests_on = basis(analysis.pairs, words)
    opening = formatting(dominant(analysis), words("a window's mean"), words)
    return tag(
        "div",
        tag("h2", run.name) if is_named else None,
        [tag("p", line, class_="warning") for line in warned],
        tag("p", tag("strong", words("{answer}.", answer=verdict(analysis.pairs, words))), class_="answer"),
        tag("p", words("{answer}.", answer=rests_on[:1].upper() + rests_on[1:])),
        [tag("p", line) for line in [*tool_lines(analysis.pairs, words), opening] if line],
        class_="card",
    )


def printed(run: RunPage, index: int, is_named: bool, words: Words) -> Element:
    """What is shown of a run without a script, and printed: tiles, figures and tables."""
    name = f": {run.name}" if is_named else ""
    return tag("div", _tiles(run.gathered, words), figures(run.gathered, index, name, words),
               numbers(run.gathered, index, name, words))  # fmt: skip


def _tiles(analysis: Analysis, words: Words) -> Element:
    test, rounds = analysis.pairs.test(), analysis.rounds

    def mean_of(n: int) -> str:
        return words.count(n, "mean of 1 record", "mean of {n:,} records")

    low, high = decimal(test.low, "+"), decimal(test.high, "+")
    tiles = [
        (words("Before any tool call"), decimal(rounds.initial.mean), mean_of(rounds.initial.n)),
        (words("After a tool result"), decimal(rounds.after_tool.mean), mean_of(rounds.after_tool.n)),
        (
            words("Change within a trajectory"),
            decimal(test.change, "+"),
            words("95 % interval {low} to {high}", low=low, high=high)
            if isfinite(test.low)
            else words("too few for an interval"),
        ),
        (
            words("Effect size"),
            decimal(test.effect, digits=2),
            words("d_z, over {size}", size=paired_size(test, words)),
        ),
    ]
    rows = [
        tag("div", tag("dt", name), tag("dd", value), tag("dd", note, class_="note"))
        for name, value, note in tiles
    ]
    return tag("dl", rows, class_="tiles")


def numbers(analysis: Analysis, index: int, name: str, words: Words) -> Element:
    rounds, tools = analysis.rounds, analysis.tools
    by_round = [
        (words("0 (start)"), rounds.initial),
        *((str(number), group) for number, group in sorted(rounds.by_round.items())),
    ]
    every = (words("after any tool result"), rounds.after_tool)
    tables = [_table(words("By tool-call round"), words("Round"), by_round, words, every)]
    if tools.totals:
        of_tools = sorted(tools.totals.items())
        tables.append(_table(words("By tool, after its results"), words("Tool"), of_tools, words))
    changes = [(str(number), group) for number, group in sorted(analysis.pairs.by_round.items())]
    if changes:
        caption = words("Change against the trajectory's own start")
        tables.append(_table(caption, words("Round"), changes, words, signed=True))
    return tag(
        "section",
        tag("h2", words("Numbers") + name),
        tag("p", words(
            "sd: sample standard deviation (n - 1). 95 % interval of the mean, taking records as independent: "
            "percentile bootstrap, 999 resamples; normal above n = 200; none below n = 5."
        ), class_="note"),
        *tables,
        id=f"numbers-{index}",
    )  # fmt: skip


def _table(
    caption: str,
    first: str,
    groups: Iterable[tuple[str, Group]],
    words: Words,
    total: tuple[str, Group] | None = None,
    signed: bool = False,
) -> Element:
    heads = ["n", words("Mean"), words("sd"), words("Interval from"), words("to")]
    heads += [] if signed else [words("Share above {high}", high=HIGH_ENTROPY)]

    def row(name: str, group: Group) -> Element:
        sign = "+" if signed else ""
        low, high = group.interval()
        cells = [f"{group.n:,}", decimal(group.mean, sign), decimal(group.sd)]
        cells += [decimal(low, sign), decimal(high, sign)]
        if not signed:
            cells.append(f"{group.share_above:.1%}" if group.n else DASH)
        return tag("tr", tag("th", name, scope="row"), [tag("td", cell) for cell in cells])

    table = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", [tag("th", head, scope="col") for head in (first, *heads)])),
        tag("tbody", [row(*group) for group in groups]),
        tag("tfoot", row(*total)) if total else None,
        class_="numbers",
    )
    return scrollable(table, caption)


def settings(facts: RunFacts, analysis: Analysis, name: str, words: Words) -> Element:
    rows = [*facts.rows(words), (words("Shown"), words("{kind} records", kind=words(analysis.kind)))]
    if analysis.left_out:
        rows.append((words("Left out"), reasons_of(analysis.left_out, words)))
    return tag(
        "section",
        tag("h2", words("{run}, as its files tell", run=name or words("The run"))),
        tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in rows], class_="settings"),
    )


def footer(words: Words) -> Element:
    values = {"version": __version__, "made": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")}
    text = words("Made by arpo-entropy {version} on {made}. This page loads nothing.", **values)
    return tag("footer", tag("p", text))
