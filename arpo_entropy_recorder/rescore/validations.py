"""Validation dumps among training dumps: verl writes both as `<step>.jsonl` where both are given one directory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from arpo_entropy_recorder.rescore.dumps import Dump

# verl's `_validate` dumps the reward under this key, its training dumps have it only if the reward function adds it.
MARK = "reward"


@dataclass(frozen=True)
class Shape:
    """What tells one step's dump from another's: its keys, its prompts, and how often each is answered."""

    file: Path
    global_step: int
    is_marked: bool
    prompts: frozenset[str]
    answers: frozenset[int]


def shape_of(dump: Dump) -> Shape:
    """The shape of a dump."""
    counts = Counter(str(line.prompt) for line in dump.lines)
    return Shape(
        dump.file, dump.global_step, MARK in dump.keys, frozenset(counts), frozenset(counts.values())
    )


def find_validations(shapes: Sequence[Shape]) -> tuple[set[tuple[Path, int]], list[Shape]]:
    """The dumps (file and step) that are validations, and those that may be.

    Those with verl's mark are, if others have none and either answer their prompts another number of times, or do
    not share the one set of prompts that all marked dumps ask.
    """
    marked = [shape for shape in shapes if shape.is_marked]
    others = [shape for shape in shapes if not shape.is_marked]
    if not marked:
        return set(), []
    answers = [frozenset().union(*(shape.answers for shape in side)) for side in (marked, others)]
    same_questions = len(marked) > 1 and len({shape.prompts for shape in marked}) == 1
    distinct = others and all(shape.prompts != marked[0].prompts for shape in others)
    if others and (not answers[0] & answers[1] or (same_questions and distinct)):
        return {(shape.file, shape.global_step) for shape in marked}, []
    return set(), marked if others or answers[0] == {1} else []
