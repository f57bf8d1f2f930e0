"""The words on a figure, in English or Chinese, and the font that Chinese needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from arpo_entropy_recorder.errors import UserError

LANGUAGES = ("auto", "en", "zh")
# Families with Chinese glyphs, by how well they go with figures. Debian's fonts-wqy-microhei has the fourth.
CJK_FAMILIES = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Noto Sans CJK JP",  # the name under which matplotlib finds Noto's collection of all CJK languages
    "PingFang SC",
    "Hiragino Sans GB",
    "Heiti SC",
    "Microsoft YaHei",
    "SimHei",
    "Droid Sans Fallback",
)
MISSING_FONT = (
    "labels are in English: no font with Chinese glyphs was found; install one "
    "(Debian, Ubuntu: fonts-wqy-microhei; CentOS, RHEL: wqy-microhei-fonts)"
)


@dataclass(frozen=True)
class Words:
    """Call it with English words to get them in the figure's language; `{name}` is filled from keywords."""

    families: tuple[str, ...] = ("DejaVu Sans",)
    title_weight: str = "bold"
    chinese: Mapping[str, str] | None = None

    def __call__(self, english: str, /, **values: object) -> str:
        return (self.chinese[english] if self.chinese is not None else english).format(**values)

    def count(self, n: int, one: str, several: str) -> str:
        """`one` for a count of 1, else `several`, an English text with the field `n`; Chinese has no plural."""
        return self(one if n == 1 and self.chinese is None else several, n=n)


ENGLISH = Words()


def counted(n: int, one: str, several: str = "") -> str:
    """A count with its noun in English: "1 step", "2 steps"; `several` where an s does not make the plural."""
    return f"{n:,} {one if n == 1 else several or one + 's'}"


def choose_words(lang: str, environment: Mapping[str, str] = os.environ) -> tuple[Words, str | None]:
    """The words for `lang` ("auto" takes the locale), and a line for the person where a font is missing.

    Raises UserError for a `lang` that is not among LANGUAGES.
    """
    if lang not in LANGUAGES:
        raise UserError(f"{lang}: no language of the labels; give one of {', '.join(LANGUAGES)}")
    if lang == "auto":
        locale = next((environment[n] for n in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(n)), "")
        lang = "zh" if locale.lower().startswith("zh") else "en"
    if lang == "en":
        return ENGLISH, None
    family = cjk_family()
    if family is None:
        return ENGLISH, MISSING_FONT
    from arpo_entropy_recorder.figures.chinese import CHINESE

    return Words((*ENGLISH.families, family), "normal", CHINESE), None


def cjk_family() -> str | None:
    """The first of CJK_FAMILIES that matplotlib's font manager knows or, installed since, gets to know."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    found = _first_known(manager)
    if found is None:
        known = {entry.fname for entry in manager.ttflist}
        for path in set(font_manager.findSystemFonts()) - known:
            try:
                manager.addfont(path)
            except Exception:  # skip a broken font of the system
                continue
        found = _first_known(manager)
    return found


def _first_known(manager: object) -> str | None:
    names = {entry.name for entry in manager.ttflist}  # type: ignore[attr-defined]
    return next((family for family in CJK_FAMILIES if family in names), None)
