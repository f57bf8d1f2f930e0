"""What a reader must know of the records behind a figure or table: where they are from, what was left out.

`words` translates: it takes an English text and the values of its fields, as `str.format` does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from arpo_entropy_recorder.analysis.analysis import KINDS, NULL, Analysis
from arpo_entropy_recorder.analysis.choices import MEAN
from arpo_entropy_recorder.errors import printable, shorten

SOURCES = ("recorded", "rescored", "imported", "simulated")


def notes(analysis: Analysis, words: Callable[..., str] = str.format, with_steps: bool = False) -> list[str]:
    """A sentence for each: the warnings, with `with_steps` the global steps, and what was left out."""
    lines, steps = warnings(analysis, words), sorted(analysis.rounds.steps)
    with_steps |= analysis.selection.steps is not None
    if with_steps and len(steps) == 1:
        lines.append(words("Step {step}.", step=steps[0]))
    elif with_steps and steps:
        values = {"count": len(steps), "first": steps[0], "last": steps[-1]}
        lines.append(words("{count:,} steps, {first} to {last}.", **values))
    lines += selected(analysis, words)
    if analysis.left_out:
        lines.append(words("Left out: {reasons}.", reasons=reasons_of(analysis.left_out, words)))
    if analysis.selection.over == MEAN and analysis.left_out[NULL]:
        lines.append(words("Records without a window are counted as without an entropy."))
    return lines


def selected(analysis: Analysis, words: Callable[..., str] = str.format) -> list[str]:
    """A sentence for each choice of the reader's but that of steps."""
    selection, lines, rounds = analysis.selection, [], sorted(analysis.rounds.by_round)
    if selection.tool is not None:
        lines.append(words("Only after {tool}.", tool=shorten(printable(selection.tool))))
    if selection.rounds is not None:
        lines.append(words("Only rounds {first} to {last}.", first=rounds[0], last=rounds[-1]))
    if selection.over == MEAN:
        lines.append(words("Means over the recorded window, not the first token alone."))
    return lines


def warnings(analysis: Analysis, words: Callable[..., str] = str.format) -> list[str]:
    """A sentence for each: the records are made up, of several sources, incomplete, not sure, or no training's."""
    lines, origins = [], analysis.origins
    if origins.simulated:
        lines.append(words("SIMULATED data, not a measurement."))
    if len(origins.sources) > 1:
        # A file may name a source of its own.
        sources = ", ".join(
            f"{count:,} {words(name) if name in SOURCES else shorten(printable(name))}"
            for name, count in sorted(origins.sources.items())
        )
        lines.append(words("Records of several sources are mixed: {sources}.", sources=sources))
    if origins.sources["imported"]:
        found = "; ".join(dict.fromkeys(filter(None, origins.imports.values()))) or "?"
        lines.append(words("Imported: {source}.", source=shorten(printable(found), 120)))
    if not analysis.has_results:
        lines.append(words("No tool was called: these are the trajectories' starts alone."))
    if origins.inexact:
        lines.append(
            words("Records whose prompt or turns may not be the policy's: {n:,}.", n=origins.inexact)
        )
    if origins.incomplete:
        lines.append(words("Records of calls that were not recorded whole: {n:,}.", n=origins.incomplete))
    if origins.unsure:
        lines.append(words("Records whose tool, round or parent is not sure: {n:,}.", n=origins.unsure))
    if lone := analysis.pairs.without_prompt:
        lines.append(words("Trajectories whose prompt is not known, counted as one each: {n:,}.", n=lone))
    if analysis.kind != KINDS[0]:
        lines.append(words("Only {kind} records.", kind=words(analysis.kind)))
    return lines


def reasons_of(left_out: Counter[str], words: Callable[..., str] = str.format) -> str:
    """What was left out and how often: "3 greedy, 1 stale step"."""
    return ", ".join(
        # "stale steps" and "padding rows" are the nouns among the reasons; no Chinese word ends in an s
        f"{count:,} {words(reason).removesuffix('s' if count == 1 else '')}"
        for reason, count in sorted(left_out.items())
    )
