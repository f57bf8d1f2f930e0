"""Errors of one line, and text that is safe to show on a terminal."""

from __future__ import annotations


class UserError(Exception):
    """An error that the user can fix. Shown as one line (where, what, what to do), with exit status 2."""


def shorten(text: str, width: int = 40) -> str:
    """`text`, or its beginning where it is longer than `width` characters."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def printable(text: object) -> str:
    """`text` as it may be shown on a terminal: control and other unprintable characters are escaped."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii")
        for c in str(text)
    )
