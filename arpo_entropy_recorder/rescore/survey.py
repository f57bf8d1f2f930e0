"""What is understood of a run's dumps before a model is loaded: keys, results, prompts, validations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.rescore.dumps import read_dumps
from arpo_entropy_recorder.rescore.line import Line
from arpo_entropy_recorder.rescore.masks import owned_runs
from arpo_entropy_recorder.rescore.result_tags import TagCounts
from arpo_entropy_recorder.rescore.retokenize import Retokenizer
from arpo_entropy_recorder.rescore.segments import FENCE
from arpo_entropy_recorder.rescore.settings import RescoreSettings, SettingError
from arpo_entropy_recorder.rescore.validations import Shape, find_validations, shape_of
from arpo_entropy_recorder.step_files.schema import RESULT_TAG


@dataclass
class Survey:
    """Counts over a run's lines. `tags` are those of its results, `validations` the (file, step) of validations.

    `unmarked` prompts are used without turn markers, of `ambiguous` ones the plainest reading.
    """

    lines: int = 0
    bad: list[UserError] = field(default_factory=list)
    unmarked: int = 0
    ambiguous: int = 0
    ids_differ: int = 0
    readings: Counter[str] = field(default_factory=Counter)
    tags: tuple[str, ...] = (RESULT_TAG,)
    results: Counter[str] = field(default_factory=Counter)
    masked_results: int = 0
    stray_tags: list[str] = field(default_factory=list)
    validations: set[tuple[Path, int]] = field(default_factory=set)
    perhaps_validations: list[Shape] = field(default_factory=list)

    def sentences(self) -> list[str]:
        """What was understood, a sentence for each."""
        several = len(self.readings) > 1
        lines = [
            f"{reading} ({count:,} lines)" if several else reading
            for reading, count in self.readings.most_common()
        ]
        of = f"of {self.lines:,} lines"
        if self.bad:
            lines.append(f"{len(self.bad):,} more cannot be used, the first: {self.bad[0]}")
        if self.unmarked:
            lines.append(f"{self.unmarked:,} {of} without turn markers, which could not be put back")
        if self.ambiguous:
            lines.append(
                f"{self.ambiguous:,} {of} whose prompt may be several turns: read as one user's turn"
            )
        if not self.unmarked and not self.ambiguous:
            lines.append(f"{self.lines:,} lines, all with their turn markers")
        if self.ids_differ:
            lines.append(
                f"{self.ids_differ:,} {of} whose token ids (another tokenizer's?) are not their text: text is used"
            )
        lines += [f"{count:,} results in {shown_tag(tag)}" for tag, count in self.results.items() if count]
        if self.masked_results:
            lines.append(f"{self.masked_results:,} results by mask")
        lines += [
            f"{shown_tag(tag)} follows no known call: taken for the policy's writing"
            for tag in self.stray_tags
        ]
        if self.validations:
            lines.append(f"validations, kept apart: {_names(file for file, _ in self.validations)}")
        if self.perhaps_validations:
            names = _names(shape.file for shape in self.perhaps_validations)
            lines.append(f"perhaps validations, read as training: {names}; leave out what is none")
        return lines


def shown_tag(tag: str) -> str:
    """A tag as it stands in a text."""
    return tag if tag == FENCE else f"<{tag}>"


def survey(
    files: Sequence[Path], settings: RescoreSettings, load: Callable[[str], Any], skip_bad: bool = False
) -> tuple[Survey, Retokenizer]:
    """Read all dumps once; returns what was found, and how the dumps' lines are read by it.

    `load` gives the tokenizer of `settings.model`; it is called when a file could be read. With `skip_bad` lines that
    cannot be used are left out and counted.
    Raises UserError where no line can be used, and SettingError where it is not certain what the results are.
    If no line can be used, the first line's error is raised: a file that is no dump has no tags either.
    """
    found, shapes = Survey(), list[Shape]()
    tagged, masked = TagCounts(settings.tools), TagCounts(settings.tools)
    retokenizer: Retokenizer | None = None
    for file in files:
        for dump in read_dumps(file, found.bad.append if skip_bad else None, dict(settings.keys)):
            retokenizer = retokenizer or Retokenizer(
                load(settings.model), settings.tools, several_turns=settings.several_turns
            )
            shapes.append(shape_of(dump))
            found.readings.update({str(reading): count for reading, count in dump.readings.items()})
            for line in dump.lines:
                _add(found, line, retokenizer, tagged, masked, settings)
    if retokenizer is None:
        if found.bad:
            raise found.bad[0]
        raise UserError(
            f"{printable(settings.rollout_dir)}: empty: no trajectory in it; give what trainer.rollout_data_dir named"
        )
    found.validations, found.perhaps_validations = find_validations(shapes)
    if masked.results.total() and not found.masked_results and "mask" not in dict(settings.keys):
        raise SettingError(
            "keys",
            "is not given, and the mask counts what the tags show as tools' results as the policy's; say mask=KEY "
            "for another mask, or mask= to go by the tags",
        )
    _choose_tags(found, tagged, settings)
    return found, retokenizer.with_tags(found.tags)


def _add(
    found: Survey,
    line: Line,
    retokenizer: Retokenizer,
    tagged: TagCounts,
    masked: TagCounts,
    settings: RescoreSettings,
) -> None:
    found.lines += 1
    read = retokenizer.as_read(line)
    try:
        prompt = retokenizer.prompt_of(read)
    except UserError:
        return  # raised again, with its line, when that is scored
    found.ambiguous += prompt.is_ambiguous
    found.unmarked += not prompt.is_exact and not prompt.is_ambiguous
    found.ids_differ += read is not line
    counts = tagged
    if read.mask is not None:
        counts = masked
        found.masked_results += max(len(owned_runs(read.mask)) - 1, 0)
    counts.add(retokenizer.text_of(read), *([settings.tags] if settings.tags else []))


def _choose_tags(found: Survey, counts: TagCounts, settings: RescoreSettings) -> None:
    calls = " or ".join(f"</{tool}>" for tool in settings.tools)
    if settings.tags is None:
        for tag in counts.doubtful():
            results, everywhere = counts.results[tag], counts.results[tag] + counts.strays[tag]
            raise SettingError(
                "result_tag",
                f"is not given, and {shown_tag(tag)} follows a call ({calls}) in {results:,} of {everywhere:,} "
                f"places; name the results' tags, as {tag}, or as {RESULT_TAG} if these are none",
            )
    found.tags = settings.tags or counts.certain()
    found.stray_tags = counts.elsewhere() if settings.tags is None else []
    found.results = Counter({tag: counts.results[tag] for tag in found.tags})
    found.tags = tuple(tag for tag in found.tags if counts.results[tag] or tag == RESULT_TAG or settings.tags)
    if found.results.total() or found.masked_results:
        return
    tags = " or ".join(map(shown_tag, found.tags))
    of = f"{found.lines:,} trajectories of {printable(settings.rollout_dir)}"
    what = f"no tool result ({tags} after {calls}) in {of}"
    tool, tag, count = counts.likely() or ("", "", 0)
    where = f"<{printable(tag)}> comes right after </{printable(tool)}> {count:,} times"
    if count and tool in settings.tools:
        raise SettingError(
            "result_tag", f"is not {tag}, and there is {what}; {where}: if it is the result's, name it"
        )
    hint = f"; {where}" if count else ""
    raise SettingError("tools", f"{','.join(settings.tools)}: {what}; name the policy's tools{hint}")


def _names(files: Any) -> str:
    names = sorted({printable(file.name) for file in files})
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
