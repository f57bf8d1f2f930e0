"""Which tags a run's tool results have, where the user has not said it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from arpo_entropy_recorder.rescore.segments import ANSWER_TAG, FENCE, pattern
from arpo_entropy_recorder.step_files.schema import NO_TOOLS, RESULT_TAG

# Taken for results by themselves where every one of them follows a call.
KNOWN_TAGS = ("information", ANSWER_TAG, "observation", "tool_result", "interpreter", FENCE)
_AFTER_CALL = re.compile(r"</([A-Za-z][\w.-]*)>\s{0,8}<([A-Za-z][\w.-]*)>")


@dataclass
class TagCounts:
    """Counts over responses: results by tag, the same tags elsewhere (`strays`), and pairs of adjacent tags."""

    tools: tuple[str, ...]
    results: Counter[str] = field(default_factory=Counter)
    strays: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, text: str, tags: Sequence[str] = (RESULT_TAG, *KNOWN_TAGS)) -> None:
        for tag in tags:
            opening = tag if tag == FENCE else f"<{tag}>"
            if opening in text:
                rest, count = pattern(self.tools, (tag,)).subn("", text)
                self.results[tag] += count
                self.strays[tag] += rest.count(opening)
        self.pairs.update(_AFTER_CALL.findall(text))

    def certain(self) -> tuple[str, ...]:
        """ARPO's own tag, and the known tags that are there and follow a call of a known tool each time."""
        return (RESULT_TAG, *(tag for tag in KNOWN_TAGS if self.results[tag] and not self.strays[tag]))

    def doubtful(self) -> list[str]:
        """The known tags that follow a call of a known tool at times, but not each time."""
        return [tag for tag in KNOWN_TAGS if self.results[tag] and self.strays[tag]]

    def elsewhere(self) -> list[str]:
        """The known tags that are there and never follow a call of a known tool."""
        return [tag for tag in KNOWN_TAGS if self.strays[tag] and not self.results[tag]]

    def likely(self) -> tuple[str, str, int] | None:
        """The most frequent pair of a closing tag and the tag right after it that may be call and result."""
        for (tool, tag), count in self.pairs.most_common():
            if tool not in {*NO_TOOLS, tag} and tag not in {*NO_TOOLS, *self.tools}:
                return tool, tag, count
        return None
