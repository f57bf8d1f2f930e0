"""Captions broken into lines, in English and in Chinese, whose lines may end between almost any two characters."""

# ruff: noqa: RUF001

from __future__ import annotations

import re

from rich.cells import cell_len

NO_BREAK = "\u00a0"
# Within "n = 200", "95 %", "(n - 1)", "± 1", "60 steps", "1 to 60", and between a number and its Chinese unit.
TOGETHER = re.compile(
    r" (?=[=%±<+-](?:\W|$))|(?<= [=±<-]) |(?<=[\d%]) (?=[\u4e00-\u9fff]|steps|to )|(?<=\d to) "
)
# After a space, or before or after a Chinese character, though not before closing and after opening punctuation.
CLOSING, OPENING = "，。；：、）%", "（"
CHINESE = "\u4e00-\u9fff"
BREAKS = re.compile(
    rf"(?<= )|(?<=[{CHINESE}{CLOSING}])(?![ {NO_BREAK}{CLOSING}])|(?<![{OPENING}{NO_BREAK}])(?=[{CHINESE}{OPENING}])"
)


def kept_together(text: str) -> str:
    """`text` with no-break spaces within its quantities."""
    return TOGETHER.sub(NO_BREAK, text)


def wrapped(text: str, cells: int) -> list[str]:
    """`text` in lines of at most `cells` cells where its breaks allow; a Chinese character takes two."""
    lines = [""]
    for piece in BREAKS.split(kept_together(text)):
        if lines[-1] and cell_len((lines[-1] + piece).rstrip(" ")) > cells:
            lines.append("")
        lines[-1] += piece
    return [line.replace(NO_BREAK, " ").rstrip() for line in lines]
