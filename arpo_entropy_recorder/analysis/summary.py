"""The numbers behind the figures, for a program (JSON) or a spreadsheet (CSV), and what to know of them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from math import exp, isfinite
from typing import Any, TextIO

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.pairs import Pairs
from arpo_entropy_recorder.analysis.ratio import Ratio, ratio_of
from arpo_entropy_recorder.analysis.statistics import START, Group, nats_of
from arpo_entropy_recorder.analysis.trend import Phase
from arpo_entropy_recorder.analysis.verdict import answer, tool_trends

COLUMNS = (
    "group",
    "step",
    "round",
    "tool",
    "token",
    "n",
    "mean",
    "sd",
    "low",
    "high",
    "share_above",
    "nats",
    "choices",
)
CHANGES = "change_round"
# The parts of an analysis that are told here.
PARTS = ("steps", "tools", "positions", "pairs", "first_tokens")


def summarise(analysis: Analysis, remedy: str = "a window's mean") -> dict[str, Any]:
    """Everything as plain types for JSON: what is `told` of the analysis, and its `groups`.

    Each group has n, mean, sd (n - 1), `low` and `high` of the mean's 95 % interval, and share_above 0.6, and where
    the vocabulary is known the mean in nats and the effective choices, which are exp(mean nats); null where not
    defined, as the share of a group of changes.
    """
    groups = [
        {**labels, **_numbers(labels["group"], group, analysis.vocab_size)}
        for labels, group in _groups(analysis)
    ]
    return {**told(analysis, remedy), "groups": groups}


def told(analysis: Analysis, remedy: str = "a window's mean") -> dict[str, Any]:
    """The answer, what it rests on and whose records they are, as plain types for JSON.

    `trend` is null below 20 steps; `ratio` and `paired` pool all steps. `first_tokens` has the token id that begins
    most of the starts, and most of the segments after a tool result, with its count, of the `n` whose token is known.
    `remedy` is named in the answer where nearly all segments begin with the same token.
    """
    test = analysis.pairs.test()
    return {
        "answer": answer(analysis, remedy),
        "trend": _trend(analysis.pairs),
        "ratio": _ratio(analysis.pairs.steps.tolist(), ratio_of(analysis.pairs.sums.sum(0))),
        "tools": {
            tool: {"first": _phase(trend.first), "last": _phase(trend.last)}
            for tool, trend in tool_trends(analysis.pairs).items()
        },
        "paired": {name: plain(value) for name, value in asdict(test).items()},
        "first_tokens": {
            "after_tool" if token.after_tool else "initial": {
                "token_id": token.token_id,
                "count": token.count,
                "n": token.n,
            }
            for token in analysis.first_tokens.commonest()
        },
        "kind": analysis.kind,
        "vocab_size": analysis.vocab_size,
        "sources": dict(analysis.origins.sources),
        "incomplete": analysis.origins.incomplete,
        "unsure": analysis.origins.unsure,
        "inexact": analysis.origins.inexact,
        "without_prompt": analysis.pairs.without_prompt,
        "left_out": dict(analysis.left_out),
    }


def write_csv(analysis: Analysis, file: TextIO) -> None:
    """Write the groups of `summarise` as CSV, one per line; a cell is empty where a column does not apply."""
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for labels, group in _groups(analysis):
        writer.writerow({**labels, **_numbers(labels["group"], group, analysis.vocab_size)})


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


def _trend(pairs: Pairs) -> dict[str, Any] | None:
    """The trend; beside each phase's n the share of its trajectories that were given a tool result."""
    trend = pairs.trend()
    if trend is None:
        return None
    return {
        **{
            name: {**_phase(phase), "with_tool": plain(pairs.with_tool(phase.span))}
            for name, phase in (("first", trend.first), ("last", trend.last))
        },
        "level": {
            "first": plain(trend.first.ratio.after),
            "last": plain(trend.last.ratio.after),
            "ratio": plain(trend.level),
            "low": plain(trend.level_low),
            "high": plain(trend.level_high),
        },
        "since": trend.since,
        "since_low": trend.since_low,
        "since_high": trend.since_high,
    }


def _phase(phase: Phase) -> dict[str, Any]:
    return _ratio((phase.first, phase.last), phase.ratio)


def _ratio(steps: Sequence[int], ratio: Ratio) -> dict[str, Any]:
    names = ("ratio", "low", "high", "n", "after", "before")
    values = {name: plain(getattr(ratio, name)) for name in names}
    return {"steps": [int(steps[0]), int(steps[-1])] if len(steps) else None, **values}


def _numbers(name: str, group: Group, vocab_size: int | None) -> dict[str, Any]:
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
    nats = None if vocab_size is None else nats_of(group.mean, vocab_size)
    numbers["nats"] = nats
    numbers["choices"] = None if nats is None or name == CHANGES else exp(nats)
    return {key: plain(value) for key, value in numbers.items()}


def plain(value: Any) -> Any:
    """The value, or None for NaN and infinity, which JSON does not have."""
    return None if isinstance(value, float) and not isfinite(value) else value
