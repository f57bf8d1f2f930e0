"""What a page says of itself: whose text it holds, and by which rule its trajectories were taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from arpo_entropy_recorder.figures.words import counted
from arpo_entropy_recorder.report.join import AMBIGUOUS, JOINED, MISSING, UNREADABLE

if TYPE_CHECKING:
    from arpo_entropy_recorder.report.page import RunPage


def holds(runs: Sequence[RunPage]) -> str:
    """The page's first line: whether there is text of the rollouts in it."""
    transcripts = [found for run in runs for found in run.transcripts if found]
    n = sum(len(run.trajectories) for run in runs)
    if not n:
        return "This page holds numbers only, no text of the rollouts."
    scores = any(t.dumped and t.dumped.score is not None for run in runs for t in run.trajectories)
    if not transcripts:
        with_scores = " and scores" if scores else ""
        return f"This page holds numbers{with_scores} of {counted(n, 'trajectory', 'trajectories')}, no text of them."
    parts = ["what the policy wrote"]
    parts += ["prompts"] if any(found.prompt is not None for found in transcripts) else []
    results = any(part.result is not None for found in transcripts for part in found.rounds)
    parts += ["tool results"] if results else []
    parts += ["scores"] if scores else []
    listed = ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]
    return f"This page holds {counted(len(transcripts), 'trajectory', 'trajectories')} with {listed}."


def rule(run: RunPage) -> str:
    """How the trajectories were taken, and how many were joined with the dump."""
    words = (
        "From each tenth of the steps some trajectories of high, middle and low entropy, by their mean after tool "
        f"results: {len(run.trajectories):,} in all."
    )
    if any("followed" in t.why for t in run.trajectories):
        words += " Among them one prompt, followed through the training."
    if run.gathered.join is not None:
        counts = run.gathered.join.counts
        words += (
            f" Joined with the dump by what the policy wrote: {counts[JOINED]:,} trajectories; ambiguous "
            f"{counts[AMBIGUOUS]:,}, without a line {counts[MISSING]:,}"
        )
        words += f", lines that cannot be read {counts[UNREADABLE]:,}." if counts[UNREADABLE] else "."
    return words


def why_no_text(runs: Sequence[RunPage]) -> str:
    """What it takes to see what the policy wrote, where a page has no text."""
    if not any(run.facts.has_tokens for run in runs):
        window = any(run.facts.window > 1 for run in runs)
        more = "" if window else " and entropy_window = 20 (their entropies)"
        return (
            f"The records hold no tokens: to read what was written, record with record_tokens = true{more}."
        )
    if not any(run.has_tokenizer for run in runs):
        return "The records hold tokens: give the report the run's tokenizer to read them."
    return "No trajectory with a tool result has all of its tokens recorded."
