"""One self-contained page that answers: does the policy become uncertain after tool results, and where?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from xml.etree.ElementTree import Element

from arpo_entropy_recorder.analysis.analysis import Analysis, gather
from arpo_entropy_recorder.analysis.selection import Selection
from arpo_entropy_recorder.atomic import written_whole
from arpo_entropy_recorder.report.facts import RunFacts
from arpo_entropy_recorder.report.highest import Highest
from arpo_entropy_recorder.report.markup import page, tag
from arpo_entropy_recorder.report.sections import QUESTION, figures, footer, headline, numbers, settings
from arpo_entropy_recorder.report.trajectories import highest_places, trajectory_section
from arpo_entropy_recorder.report.transcript import Transcriber, Transcript
from arpo_entropy_recorder.step_files.read import Step


@dataclass
class Gathered(Analysis):
    """What the page is made of: the analysis, and the trajectories to show."""

    highest: Highest = field(default_factory=lambda: Highest(0))

    def add(self, step: Step) -> None:
        super().add(step)
        self.highest.add(step)


def make_report(
    steps: Iterable[Step],
    transcriber: Transcriber | None = None,
    trajectories: int = 20,
    selection: Selection | None = None,
    vocab_size: int | None = None,
) -> str:
    """The page, as HTML, on recorded `steps`, read once.

    With a `transcriber` it shows up to `trajectories` trajectories, those with the highest entropies after a
    tool result, as far as the records hold tokens. With a `vocab_size` the figures have nats on a second axis.
    Raises UserError where no record is a start or after a tool call.
    """
    facts = RunFacts()
    watched = facts.watch(steps)
    gathered = gather(watched, lambda: Gathered(highest=Highest(trajectories)), selection, vocab_size)
    chosen = gathered.highest.trajectories()
    transcripts = [found for t in chosen if transcriber and (found := transcriber.read(t))]
    body = [
        tag("a", "Skip to the numbers", href="#numbers", class_="skip"),
        tag(
            "main",
            headline(gathered),
            figures(gathered),
            numbers(gathered),
            *_trajectories(transcripts, facts, transcriber, trajectories),
            settings(facts, gathered),
        ),
        footer(),
    ]
    assets = files(__package__) / "assets"
    style, script = (assets.joinpath(f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return page(f"Entropy report: {QUESTION}", style, script, body)


def write_report(html: str, path: Path) -> None:
    """Write the page under a temporary name and rename it to `path`. Raises UserError."""
    with written_whole(path) as tmp_path:
        tmp_path.write_text(html, encoding="utf-8")


def _trajectories(
    transcripts: list[Transcript], facts: RunFacts, transcriber: Transcriber | None, most: int
) -> Iterator[Element]:
    if transcripts:
        yield highest_places(transcripts)
        yield trajectory_section(transcripts)
    elif most:
        if not facts.has_tokens:
            why = "The records hold no tokens: record with record_tokens = true, or rescore the run's dump."
        elif transcriber is None:
            why = "The records hold tokens: give the report the run's tokenizer to read them."
        else:
            why = "No trajectory with a tool result has all of its tokens recorded."
        yield tag("section", tag("h2", "Trajectories"), tag("p", why, class_="note"))
