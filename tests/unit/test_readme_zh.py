"""README.zh.md says what README.md says: section by section the same code, numbers and links."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def sections(name):
    """(level, text) of each section of a page; a heading inside of a code block is none."""
    parts = re.split(r"(?m)^```", (ROOT / name).read_text(encoding="utf-8"))
    text = "```".join(part if place % 2 == 0 else part.replace("#", "\0") for place, part in enumerate(parts))
    found = re.split(r"(?m)^(#+) ", text)[1:]
    return [
        (len(level), body.replace("\0", "#")) for level, body in zip(found[::2], found[1::2], strict=True)
    ]


ENGLISH, CHINESE = sections("README.md"), sections("README.zh.md")


def code(text):
    """The lines of code blocks without their comments, and the pieces of code in the text."""
    blocks = re.findall(r"(?ms)^```(.*?)^```", text)
    lines = [re.sub(r"\s+#.*", "", line) for block in blocks for line in block.splitlines()]
    pieces = re.findall(r"`([^`]+)`", re.sub(r"(?ms)^```.*?^```", "", text))
    return lines, sorted(" ".join(piece.split()) for piece in pieces)


def numbers(text):
    return sorted(re.findall(r"\d+(?:[.,]\d+)*", text))


def links(text):
    """What is linked or shown, without the places of headings on the page itself."""
    found = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    return sorted(re.sub(r"README(\.zh)?\.md", "README", target) for target in found if target[0] != "#")


def test_both_readmes_have_the_same_sections():
    assert [level for level, _ in ENGLISH] == [level for level, _ in CHINESE]
    assert len(ENGLISH) > 8


@pytest.mark.parametrize("part", [code, numbers, links])
def test_each_section_has_the_same_in_both_readmes(part):
    for (_, english), (_, chinese) in zip(ENGLISH, CHINESE, strict=True):
        title = english.partition("\n")[0]
        assert part(english) == part(chinese), title
