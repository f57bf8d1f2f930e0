"""What a page says of itself: whose text it holds, and by which rule its trajectories were taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from arpo_entropy_recorder.figures.words import Words
from arpo_entropy_recorder.report.join import AMBIGUOUS, CUT, JOINED, MISSING, UNREADABLE

if TYPE_CHECKING:
    from arpo_entropy_recorder.report.page import RunPage


def holds(runs: Sequence[RunPage], words: Words) -> str:
    """The page's first line: whether there is text of the rollouts in it."""
    transcripts = [found for run in runs for found in run.transcripts if found]
    n = sum(len(run.trajectories) for run in runs)
    if not n:
        return words("This page holds numbers only, no text of the rollouts.")
    scores = any(t.dumped and t.dumped.score is not None for run in runs for t in run.trajectories)
    if not transcripts:
        parts = [words("numbers"), *([words("scores")] if scores else [])]
        shown = words.count(n, "1 trajectory", "{n:,} trajectories")
        return words(
            "This page holds {parts} of {trajectories}, no text of them.",
            parts=_listed(parts, words), trajectories=shown,
        )  # fmt: skip
    parts = [words("what the policy wrote")]
    parts += [words("prompts")] if any(found.prompt is not None for found in transcripts) else []
    results = any(part.result is not None for found in transcripts for part in found.rounds)
    parts += [words("tool results")] if results else []
    parts += [words("scores")] if scores else []
    shown = words.count(len(transcripts), "1 trajectory", "{n:,} trajectories")
    return words(
        "This page holds {trajectories} with {parts}.", trajectories=shown, parts=_listed(parts, words)
    )


def _listed(parts: Sequence[str], words: Words) -> str:
    return words(" and ").join(filter(None, (words(", ").join(parts[:-1]), parts[-1])))


def rule(run: RunPage, words: Words) -> str:
    """How the trajectories were taken, and how many were joined with the dump."""
    said = [
        words(
            "From each tenth of the steps some trajectories of high, middle and low entropy, by their mean after "
            "tool results: {n:,} in all.",
            n=len(run.trajectories),
        )
    ]
    if any("followed" in t.why for t in run.trajectories):
        said.append(words("Among them one prompt, followed through the training."))
    if run.gathered.join is not None:
        counts = run.gathered.join.counts
        said.append(
            words(
                "Joined with the dump by what the policy wrote: {joined:,} trajectories; ambiguous {ambiguous:,}, "
                "without a line {missing:,}.",
                joined=counts[JOINED], ambiguous=counts[AMBIGUOUS], missing=counts[MISSING],
            )
        )  # fmt: skip
        if counts[CUT]:
            said.append(words("Of the joined, {n:,} have a line that the trainer cut.", n=counts[CUT]))
        if counts[UNREADABLE]:
            said.append(words("Lines of the dump that cannot be read: {n:,}.", n=counts[UNREADABLE]))
    return words(" ").join(said)


def why_no_text(runs: Sequence[RunPage], words: Words) -> str:
    """What it takes to see what the policy wrote, where a page has no text."""
    if not any(run.facts.has_tokens for run in runs):
        if any(run.facts.window > 1 for run in runs):
            return words(
                "The records hold no tokens: to read what was written, record with record_tokens = true."
            )
        return words(
            "The records hold no tokens: to read what was written, record with record_tokens = true and "
            "entropy_window = 20 (their entropies)."
        )
    if not any(run.has_tokenizer for run in runs):
        return words("The records hold tokens: give the report the run's tokenizer to read them.")
    return words("No trajectory with a tool result has all of its tokens recorded.")
