"""HTML from a tree of elements: whatever text goes in is escaped on its way out, so none of it is ever markup."""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from collections.abc import Iterable
from math import isfinite
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, tostring

import orjson

DASH = "\u2013"
# Lets the script of a served page ask for the next version.
CONNECTS = "connect-src 'self'; "
Child = Element | str | None


def tag(name: str, /, *children: Child | Iterable[Child], **attributes: str) -> Element:
    """An element. `class_` and `for_` are the attributes of these names; `data_x` becomes `data-x`."""
    element = Element(name, {key.rstrip("_").replace("_", "-"): visible(v) for key, v in attributes.items()})
    for child in children:
        for one in [child] if child is None or isinstance(child, str | Element) else child:
            _append(element, one)
    return element


def visible(text: str) -> str:
    """`text` with characters that a page cannot show or must not obey escaped: control characters as `\\x1b`.

    Bidirectional controls (Unicode category Cf) could otherwise put words in another order than they have.
    """
    if text.isascii() and text.isprintable():
        return text  # as an image's 50,000 characters are
    return "".join(
        c if _is_harmless(c) else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


class Document(NamedTuple):
    """A document's title, its one style and script, and its language."""

    title: str
    style: str
    script: str
    lang: str = "en"


def page(document: Document, body: Iterable[Element], data: Any = None, connects: bool = False) -> str:
    """A whole document whose policy lets run its style and script, known by their hashes, and nothing else.

    `data`, of plain JSON types, is there for the script. With `connects` it may ask the server that it came from.
    """
    title, style, script, lang = document
    policy = (
        f"default-src 'none'; img-src data:; style-src {_source(style)}; script-src {_source(script)}; "
        f"{CONNECTS if connects else ''}base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        # A policy applies only to what follows it.
        Element("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        _raw("style", style),
    )
    block = _raw("script", json_block(data))
    block.attrib.update({"type": "application/json", "id": "data"})
    whole = tag("html", head, tag("body", *body, block, _raw("script", script)), lang=lang)
    return "<!doctype html>\n" + tostring(whole, encoding="unicode", method="html") + "\n"


def json_block(data: Any) -> str:
    """JSON in which no `<` opens anything."""
    return orjson.dumps(data).decode().replace("<", r"\u003c")


def image(data: bytes, kind: str, alt: str, width: int) -> Element:
    """An image within the page, `width` pixels wide: a script in an SVG that is shown this way does not run."""
    return tag("img", src=f"data:{kind};base64,{base64.b64encode(data).decode()}", alt=alt, width=str(width))


def decimal(value: float, sign: str = "", digits: int = 4) -> str:
    """A number with a true minus; a dash where it is not defined. `sign` "+" gives positive ones a plus."""
    return f"{value:{sign}.{digits}f}".replace("-", "\u2212") if isfinite(value) else DASH


def scrollable(table: Element, label: str) -> Element:
    """A wide table in a box that scrolls on its own, with the keyboard too."""
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=label)


def _append(element: Element, child: Child) -> None:
    if isinstance(child, Element):
        element.append(child)
    elif child and len(element):
        element[-1].tail = (element[-1].tail or "") + visible(child)
    elif child:
        element.text = (element.text or "") + visible(child)


def _raw(name: str, code: str) -> Element:
    """A style or script of our own, which is written as it is."""
    assert f"</{name}" not in code
    element = Element(name)
    element.text = code
    return element


def _source(code: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def _is_harmless(character: str) -> bool:
    return character in "\n\t\u200d" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
