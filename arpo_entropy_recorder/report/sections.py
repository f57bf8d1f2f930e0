"""The sections of the report that are made of statistics: answer, figures, tables, settings."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from io import BytesIO
from math import isfinite
from xml.etree.ElementTree import Element

from matplotlib import rc_context
from matplotlib.figure import Figure

from arpo_entropy_recorder import __version__
from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.notes import reasons_of, selected, warnings
from arpo_entropy_recorder.analysis.statistics import Group
from arpo_entropy_recorder.analysis.verdict import basis, tool_lines, verdict
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.catalogue import FIGURES, FigureSpec, draw
from arpo_entropy_recorder.figures.picture import METADATA
from arpo_entropy_recorder.figures.style import rc_of, take_words
from arpo_entropy_recorder.figures.words import counted
from arpo_entropy_recorder.report.facts import RunFacts
from arpo_entropy_recorder.report.markup import DASH, decimal, image, scrollable, tag
from arpo_entropy_recorder.step_files.schema import HIGH_ENTROPY

QUESTION = "Does the policy become uncertain after tool results?"
# A vector picture is sharper; above this many bytes its points weigh more than pixels do.
MAX_SVG_BYTES = 300_000
CSS_INCH = 96  # pixels
HALF_ROW = 8.5  # inches: the words in a wider figure would be too small in half of a row


def headline(analysis: Analysis) -> Element:
    test, rounds, rests_on = analysis.pairs.test(), analysis.rounds, basis(analysis.pairs)
    tiles = [
        (
            "Before any tool call",
            decimal(rounds.initial.mean),
            f"mean of {counted(rounds.initial.n, 'record')}",
        ),
        (
            "After a tool result",
            decimal(rounds.after_tool.mean),
            f"mean of {counted(rounds.after_tool.n, 'record')}",
        ),
        ("Above 0.6 after a tool", f"{rounds.after_tool.share_above:.0%}", "share of records"),
        (
            "Change within a trajectory",
            decimal(test.change, "+"),
            f"95 % interval {decimal(test.low, '+')} to {decimal(test.high, '+')}"
            if isfinite(test.low)
            else "too few for an interval",
        ),
        ("Effect size", decimal(test.effect, digits=2), f"d_z, over {test.size}"),
    ]
    return tag(
        "header",
        [tag("p", line, class_="warning") for line in [*warnings(analysis), *selected(analysis)]],
        tag("p", "Entropy report", class_="eyebrow"),
        tag("h1", QUESTION),
        tag(
            "p",
            tag("strong", f"{verdict(analysis.pairs)}."),
            f"{rests_on[:1].upper()}{rests_on[1:]}.",
            [f" {line}" for line in tool_lines(analysis.pairs)],
            class_="answer",
        ),
        tag(
            "dl",
            [
                tag("div", tag("dt", name), tag("dd", value), tag("dd", note, class_="note"))
                for name, value, note in tiles
            ],
            class_="tiles",
        ),
        tag(
            "p",
            "Entropy is that of the first token's distribution over the whole vocabulary, in nats over "
            "ln(vocabulary size): 0 is certain, 1 is uniform.",
            class_="note",
        ),
    )


def figures(analysis: Analysis) -> Element:
    shown, lacking = [], []
    for spec in FIGURES.values():
        if len(analysis.rounds.steps) < spec.min_steps:
            lacking.append(f"{spec.heading}: one step only")
            continue
        try:
            figure = draw(spec.name, analysis)
        except UserError as error:
            lacking.append(f"{spec.heading}: {error}")
        else:
            shown.append(_figure(spec, figure))
    notes = tag("ul", [tag("li", line) for line in lacking], class_="note") if lacking else None
    return tag(
        "section",
        tag("h2", "Figures"),
        tag("div", shown, class_="figures"),
        tag("p", "Not drawn:", class_="note") if lacking else None,
        notes,
        id="figures",
    )


def _figure(spec: FigureSpec, figure: Figure) -> Element:
    """The picture with its words as text around it; a link's target is shown in full size by the style sheet."""
    caption, alt = take_words(figure), f"{spec.alt} The numbers are in the tables below."
    return tag(
        "figure",
        tag("h3", spec.heading),
        tag("div", _picture(figure, alt), class_="picture"),
        tag(
            "figcaption",
            f"{caption} ",
            tag(
                "a",
                "Full size",
                href=f"#figure-{spec.name}",
                class_="larger",
                aria_label=f"Full size: {spec.heading}",
            ),
            tag("a", "Fit to the page", href="#figures", class_="smaller"),
        ),
        id=f"figure-{spec.name}",
        class_="wide" if figure.get_figwidth() > HALF_ROW else "half",
    )


def _picture(figure: Figure, alt: str) -> Element:
    def rendered(kind: str) -> bytes:
        data = BytesIO()
        with rc_context(rc_of()):
            figure.savefig(data, format=kind, metadata=METADATA[kind])
        return data.getvalue()

    vector, width = rendered("svg"), round(figure.get_figwidth() * CSS_INCH)
    if len(vector) <= MAX_SVG_BYTES:
        return image(vector, "image/svg+xml", alt, width)
    return image(rendered("png"), "image/png", alt, width)


def numbers(analysis: Analysis) -> Element:
    rounds, tools = analysis.rounds, analysis.tools
    by_round = [("0 (start)", rounds.initial), *((str(r), g) for r, g in sorted(rounds.by_round.items()))]
    tables = [_table("By tool-call round", "Round", by_round, ("after any tool result", rounds.after_tool))]
    if tools.totals:
        tables.append(_table("By tool, after its results", "Tool", sorted(tools.totals.items())))
    changes = [(str(number), group) for number, group in sorted(analysis.pairs.by_round.items())]
    if changes:
        tables.append(_table("Change against the trajectory's own start", "Round", changes, signed=True))
    return tag(
        "section",
        tag("h2", "Numbers"),
        tag("p", "sd: sample standard deviation (n - 1). 95 % interval of the mean, taking records as independent: ",
            "percentile bootstrap, 999 resamples; normal above n = 200; none below n = 5.", class_="note"),
        *tables,
        id="numbers",
    )  # fmt: skip


def _table(
    caption: str,
    first: str,
    groups: Iterable[tuple[str, Group]],
    total: tuple[str, Group] | None = None,
    signed: bool = False,
) -> Element:
    heads = ["n", "Mean", "sd", "Interval from", "to", *([] if signed else [f"Share above {HIGH_ENTROPY}"])]

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
        class_="sortable numbers",
    )
    return scrollable(table, caption)


def settings(facts: RunFacts, analysis: Analysis) -> Element:
    rows = [*facts.rows(), ("Shown", f"{analysis.kind} records")]
    if analysis.left_out:
        rows.append(("Left out", reasons_of(analysis.left_out)))
    return tag(
        "section",
        tag("h2", "The run, as its files tell"),
        tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in rows], class_="settings"),
    )


def footer() -> Element:
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return tag("footer", tag("p", f"Made by arpo-entropy {__version__} on {made}. This page loads nothing."))
