"""A training run's log as text lines, whatever it is kept in: gzip, UTF-16, lines cut at a terminal's width, JSON."""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.step_files.json_text import parse_json

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# verl's console logger writes `step:12 - actor/entropy_loss:0.312 - ...`; Ray puts `(TaskRunner pid=123) ` before it,
# and a progress bar may stand right before it.
STEP = re.compile(r"(?<![\w/.-])step:(\d{1,18}) - ")
# The rest of a step line on the next line: the end of a key or number, metrics, and what may be the start of one.
REST = re.compile(r" ?(?:- )?[\w./@+-]{0,80}(?::\S*)?(?: - [\w./@+-]+:\S*)*(?: -)?(?: [\w./@+-]*)?")
METRIC = re.compile(r"(?:^ ?|- )[\w./@+-]+:[-+.\w(]")
ITEM = re.compile(r"[\w./@+-]+:(\S*)")
# A metric of ours that may be whole, and what may be the rest of its number or another line.
OPEN_METRIC = re.compile(r"entropy/[\w./]+:[-+\d.e]*\d$")
NUMBER = re.compile(r"[\d.e+-]+")
MIN_WIDTH = 40  # a terminal's width; shorter lines are not cut by one
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: str | Path) -> str:
    """The log's text. Raises UserError for one that cannot be read."""
    try:
        data = Path(path).read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{path}: cannot be read: {reason}; give a training run's log") from error
    except (EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {error}; give a training run's log") from error
    if data.startswith(_UTF16):
        return data.decode("utf-16", "replace")
    if data[:4000].count(0) * 4 > len(data[:4000]):
        raise UserError(f"{path}: not UTF-8 (UTF-16 without its mark, perhaps); convert it")
    return data.decode("utf-8-sig", "replace")


def step_texts(text: str, path: str | Path) -> Iterator[tuple[int, str]]:
    """Each step's number and the text behind `step:N - `, in order; lines that were cut are put together.

    Raises UserError where it cannot be told whether a metric's number was cut.
    """
    for line in _joined([ANSI.sub("", line) for line in re.split(r"\r\n|\n|\r", text)], path):
        # A second step may be glued to the first one's end.
        found = list(STEP.finditer(line))
        ends = [*(match.start() for match in found[1:]), len(line)]
        for match, end in zip(found, ends, strict=False):
            yield int(match[1]), line[match.end() : end]


def _joined(lines: list[str], path: str | Path) -> Iterator[str]:
    width = _width(lines)
    at = 0
    while at < len(lines):
        line = _unwrapped(lines[at])
        at += 1
        if STEP.search(line):
            while at < len(lines) and _goes_on(line, lines[at], is_cut := len(lines[at - 1]) == width):
                if is_cut and OPEN_METRIC.search(line) and NUMBER.fullmatch(lines[at]):
                    raise UserError(
                        f"{path}: line {at}: cut at {width} columns, perhaps within a number; copy the log without "
                        "line breaks"
                    )
                # The space before a dash may have been at the line's end.
                line += " " * (lines[at].startswith("- ") and not line.endswith(" ")) + lines[at]
                at += 1
        yield line


def _goes_on(line: str, rest: str, is_cut: bool) -> bool:
    """Whether `rest` is how the step line `line` goes on; `is_cut` tells that it ends where a terminal cuts."""
    if STEP.search(rest) or not rest.strip() or REST.fullmatch(rest) is None:
        return False
    if not is_cut and METRIC.search(rest) is None:
        return False
    if line.endswith((" -", " - ")) or rest.startswith((" -", "- ")):
        return True
    # The item across the line's end: a number that is none when it is put together was whole before.
    item = ITEM.fullmatch(line.rsplit(" - ", 1)[-1] + rest.split(" - ", 1)[0])
    return item is None or not item[1] or _is_number(item[1])


def _is_number(text: str) -> bool:
    try:
        float(re.sub(r"^np\.float\d+\(([^)]*)\)?$", r"\1", text) or 0)
    except ValueError:
        return text.startswith("np.")
    return True


def _width(lines: list[str]) -> int:
    """The width at which a terminal cut the lines; 0 if none did.

    That is the longest lines' length, if a step's is among them and each of them goes on with its rest.
    """
    longest = max(map(len, lines), default=0)
    full = [at for at, line in enumerate(lines) if len(line) == longest]
    if longest < MIN_WIDTH or not any(STEP.search(lines[at]) for at in full):
        return 0
    following = [lines[at + 1] if at + 1 < len(lines) else "" for at in full]
    goes_on = all(REST.fullmatch(line) and line.strip() and not STEP.search(line) for line in following)
    return longest if goes_on else 0


def _unwrapped(line: str) -> str:
    """The text of a line that is kept in a JSON object (`{"ts": ..., "msg": "step:1 - ..."}`); any other as it is."""
    if not line.startswith("{") or "step:" not in line:
        return line
    try:
        entry = parse_json(line.encode("utf-8", "replace"))
    except ValueError:
        return line
    texts = [value for value in entry.values() if isinstance(value, str) and STEP.search(value)]
    return texts[0].replace("\n", " ") if texts else line
