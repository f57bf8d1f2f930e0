"""One self-contained page to read runs in: the answer, what the chosen steps hold, and trajectories to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

from arpo_entropy_recorder.analysis.analysis import gather
from arpo_entropy_recorder.analysis.selection import Selection
from arpo_entropy_recorder.atomic import written_whole
from arpo_entropy_recorder.figures.catalogue import FIGURES
from arpo_entropy_recorder.figures.words import ENGLISH, Words
from arpo_entropy_recorder.report.chinese import CHINESE
from arpo_entropy_recorder.report.chinese_script import CHINESE as SCRIPT
from arpo_entropy_recorder.report.facts import RunFacts
from arpo_entropy_recorder.report.gathered import Gathered
from arpo_entropy_recorder.report.holdings import holds, rule, why_no_text
from arpo_entropy_recorder.report.join import Join
from arpo_entropy_recorder.report.markup import Document, page, tag
from arpo_entropy_recorder.report.page_data import page_data, run_data
from arpo_entropy_recorder.report.reader import trajectory_data
from arpo_entropy_recorder.report.sample import Sample, Trajectory
from arpo_entropy_recorder.report.sections import QUESTION, footer, header, printed, settings
from arpo_entropy_recorder.report.transcript import Transcriber, Transcript
from arpo_entropy_recorder.step_files.read import Step

# What a page shows unless it is told otherwise.
TRAJECTORIES = 60
LIVE = "10-live.js"
# What answer, tables and static figures are made of; the script's charts have histograms.
PARTS = {"pairs", "first_tokens", "tools", *(part for spec in FIGURES.values() for part in spec.parts)}


@dataclass
class RunPage:
    """A run's part of the page: `trajectories` are those to read, with their `transcripts` where there is text."""

    name: str
    gathered: Gathered
    facts: RunFacts
    trajectories: list[Trajectory]
    transcripts: list[Transcript | None]
    has_tokenizer: bool


def read_run(
    name: str,
    steps: Iterable[Step],
    transcriber: Transcriber | None = None,
    trajectories: int = TRAJECTORIES,
    selection: Selection | None = None,
    vocab_size: int | None = None,
    join: Join | None = None,
) -> RunPage:
    """Read a run's `steps` once; about `trajectories` of it are to be read, in words if there is a `transcriber`.

    Raises UserError where no record is a start or after a tool call.
    """
    facts = RunFacts()

    def made() -> Gathered:
        return Gathered(PARTS, sample=Sample(trajectories), join=join)

    gathered = gather(facts.watch(steps), made, selection, vocab_size)
    chosen = gathered.sample.trajectories()
    transcripts = [transcriber.read(t) if transcriber else None for t in chosen]
    chosen = [found.trajectory if found else t for t, found in zip(chosen, transcripts, strict=True)]
    return RunPage(name, gathered, facts, chosen, transcripts, transcriber is not None)


def make_page(runs: Sequence[RunPage], words: Words = ENGLISH, version: str | None = None) -> str:
    """The page, as HTML. With a `version` it is a live one, which asks its server for the next."""
    chinese = words.chinese is not None
    if words.chinese is not None:
        words = replace(words, chinese={**words.chinese, **CHINESE})
    data = page_data([_data(run, words) for run in runs], SCRIPT if chinese else None)
    data |= {"text": why_no_text(runs, words), "version": version}
    body = [
        tag("aside", tag("p", holds(runs, words)), class_="holds", aria_label=words("What this page holds")),
        tag("a", words("Skip to the overview"), href="#explore", class_="skip"),
        tag(
            "main", header(runs, words), fromstring(_asset("explore.html")), *_static(runs, words), id="main"
        ),
        footer(words),
    ]
    names = sorted(file.name for file in (files(__package__) / "assets" / "js").iterdir())
    script = "".join(_asset(f"js/{name}") for name in names if name != LIVE or version is not None)
    title = f"{words('Entropy report')}: {words(QUESTION)}"
    document = Document(title, _asset("page.css"), script, "zh" if chinese else "en")
    return page(document, body, data, version is not None)


def write_report(html: str, path: Path) -> None:
    """Write the page under a temporary name, for its owner alone, and rename it to `path`. Raises UserError."""
    with written_whole(path) as tmp_path:
        tmp_path.touch(mode=0o600)
        tmp_path.write_text(html, encoding="utf-8")


def _data(run: RunPage, words: Words) -> dict[str, object]:
    tools = run.gathered.histograms.tools
    found = [
        trajectory_data(t, transcript, tools)
        for t, transcript in zip(run.trajectories, run.transcripts, strict=True)
    ]
    return run_data(run.name, run.gathered, found) | {"rule": rule(run, words)}


def _static(runs: Sequence[RunPage], words: Words) -> Iterable[Element]:
    yield tag(
        "div",
        [printed(run, index, len(runs) > 1, words) for index, run in enumerate(runs)],
        id="printed",
    )
    for run in runs:
        yield settings(run.facts, run.gathered, run.name if len(runs) > 1 else "", words)


@cache
def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")
