"""The part of the report that is read: trajectories with their first tokens shaded, highest entropies first."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from xml.etree.ElementTree import Element

from arpo_entropy_recorder.figures.words import counted
from arpo_entropy_recorder.report.highest import Trajectory
from arpo_entropy_recorder.report.markup import DASH, decimal, scrollable, tag
from arpo_entropy_recorder.report.transcript import Round, Transcript
from arpo_entropy_recorder.step_files.schema import RESULT_TAG

PLACES = 20
# Characters shown of a text: its beginning, and its end.
HEAD, TAIL = 1200, 400
CONTEXT = 60


def highest_places(transcripts: Sequence[Transcript]) -> Element:
    """A table of the segments that start after a tool result with the highest entropies."""
    places = [
        (part.record.entropies[0], f"{number}-{segment}", number, transcript, part)
        for number, transcript in enumerate(transcripts, start=1)
        for segment, part in enumerate(transcript.rounds, start=1)
        if part.record.is_after_tool_call and isfinite(part.record.entropies[0])
    ]
    places.sort(key=lambda place: -place[0])
    rows = [
        tag(
            "tr",
            tag("td", _shaded(f"{entropy:.3f}", entropy)),
            tag("td", tag("bdi", *_opening(part)), class_="text"),
            tag("td", part.record.tool or DASH),
            tag("td", str(part.record.round)),
            tag("td", str(transcript.trajectory.global_step)),
            tag("td", tag("a", f"No. {number}", href=f"#trajectory-{place}")),
        )
        for entropy, place, number, transcript, part in places[:PLACES]
    ]
    heads = ("Entropy", "What the policy wrote there", "After", "Round", "Step", "Trajectory")
    table = tag(
        "table",
        tag("caption", "First tokens after a tool result, among the trajectories below"),
        tag("thead", tag("tr", [tag("th", head, scope="col") for head in heads])),
        tag("tbody", rows),
        class_="sortable",
    )
    return tag(
        "section",
        tag("h2", "Where the entropy is highest"),
        scrollable(table, "Highest entropies"),
        id="places",
    )


def trajectory_section(transcripts: Sequence[Transcript]) -> Element:
    """All transcripts, with what the page's script needs to sort and filter them."""
    tools = sorted({tool for transcript in transcripts for tool in transcript.trajectory.tools})
    return tag(
        "section",
        tag("h2", "Trajectories"),
        _legend(),
        _controls(tools, len(transcripts)),
        tag("div", [_article(t, number) for number, t in enumerate(transcripts, start=1)], id="list"),
        id="trajectories",
    )


def _legend() -> Element:
    values = [(level / 10) ** 2 for level in range(0, 11, 2)]
    steps = [tag("li", _shaded(f"{value:.2f}", value)) for value in values]
    return tag(
        "div",
        tag("p", "Shaded: a segment's first tokens, by their entropy. The number before a segment is that of its "
            "first token.", class_="note"),
        tag("ul", steps, class_="legend", aria_label="Shades of entropy"),
    )  # fmt: skip


def _controls(tools: Sequence[str], count: int) -> Element:
    orders = {
        "highest": "highest entropy after a tool",
        "rise": "rise over the start",
        "start": "entropy at the start",
        "step": "step",
    }
    return tag(
        "div",
        tag("label", "Sort by ", tag("select", [tag("option", w, value=o) for o, w in orders.items()], id="order")),
        tag("label", "Tool ", tag("select", tag("option", "all", value=""),
                                  [tag("option", tool, value=tool) for tool in tools], id="tool")),
        tag("label", "Contains ", tag("input", type="search", id="words", autocomplete="off")),
        tag("output", counted(count, "trajectory", "trajectories"), id="shown", for_="order tool words"),
        class_="controls",
        id="controls",
        hidden="hidden",
    )  # fmt: skip


def _article(transcript: Transcript, number: int) -> Element:
    t = transcript.trajectory
    rise = t.highest - t.initial
    known = {"highest": t.highest, "rise": rise, "start": t.initial}
    data = {f"data_{name}": f"{value:.6f}" for name, value in known.items() if isfinite(value)}
    title = f"No. {number}: step {t.global_step}, trajectory {t.sample_idx}"
    prompt = None
    if transcript.prompt is not None:
        prompt = tag(
            "details",
            tag("summary", "Prompt"),
            tag("div", *_cut(transcript.prompt), class_="text", dir="auto"),
        )
    return tag(
        "article",
        tag("h3", title, id=f"trajectory-{number}"),
        tag("p", _about(t), class_="note"),
        prompt,
        tag(
            "ol",
            [_round(part, f"{number}-{segment}") for segment, part in enumerate(transcript.rounds, start=1)],
        ),
        data_step=str(t.global_step),
        data_tools=" ".join(t.tools),
        aria_labelledby=f"trajectory-{number}",
        **data,
    )


def _about(t: Trajectory) -> str:
    parts = [f"Highest after a tool: {t.highest:.3f}"]
    if isfinite(t.initial):
        parts.append(f"at its start: {t.initial:.3f} ({decimal(t.highest - t.initial, '+', 3)})")
    if t.dp_rank is not None:
        parts.append(f"data-parallel rank {t.dp_rank}")
    if t.call:
        parts.append(f"call {t.call}")
    if t.parent_idx is not None:
        parts.append(f"branched from trajectory {t.parent_idx}, which holds its beginning")
    return "; ".join(parts)


def _round(part: Round, place: str) -> Element:
    """One segment. `place` numbers it within the page: after a cut a round has several."""
    record, result = part.record, None
    if record.is_after_tool_call:
        tool = record.tool or "a tool"
        if part.result is None:
            words = [tag("p", f"Result of {tool}; its text was not recorded", class_="who")]
        else:
            text = tag("div", *_cut(_unwrapped(part.result)), class_="text", dir="auto")
            words = [tag("p", f"Result of {tool}", class_="who"), text]
        result = tag("div", words, class_="result")
    value = record.entropies[0]
    badge = _shaded(f"{value:.3f}", value) if isfinite(value) else tag("span", "null")
    shaded = [
        _shaded(text, entropy, title=f"entropy {entropy:.3f}") if isfinite(entropy) else tag("span", text)
        for text, entropy in zip(part.tokens, record.entropies, strict=False)
        if text
    ]
    return tag(
        "li",
        result,
        tag("div",
            tag("p", "Policy, ", f"round {record.round} ", badge, class_="who"),
            tag("div", *shaded, *_cut(part.rest), class_="text", dir="auto"),
            class_="policy", id=f"trajectory-{place}"),
    )  # fmt: skip


def _unwrapped(result: str) -> str:
    """A result's text without its tags, which the page's layout stands for."""
    opening, closing = f"<{RESULT_TAG}>", f"</{RESULT_TAG}>"
    return result.strip().removeprefix(opening).removesuffix(closing).strip("\n")


def _opening(part: Round) -> list[Element | str]:
    first = part.tokens[0] if part.tokens else ""
    rest = ("".join(part.tokens[1:]) + part.rest)[:CONTEXT]
    return [_shaded(first or "\u200d", part.record.entropies[0]), rest]


def _shaded(text: str, entropy: float, **attributes: str) -> Element:
    """Text on a ground of one of eleven shades, e0 to e10: by the root, so that low entropies differ, too."""
    return tag("mark", text, class_=f"e{round(10 * float(entropy) ** 0.5)}", **attributes)


def _cut(text: str) -> list[Element | str]:
    """A long text without its middle."""
    if len(text) <= HEAD + TAIL + 100:
        return [text]
    left_out = f" [{len(text) - HEAD - TAIL:,} characters left out] "
    return [text[:HEAD], tag("em", left_out), text[-TAIL:]]
