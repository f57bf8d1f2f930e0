"""Words on figures: all of them have a Chinese form, and a font is asked for, never guessed."""

# ruff: noqa: RUF001

import ast
from functools import cache
from pathlib import Path
from string import Formatter
from types import SimpleNamespace

import pytest
from matplotlib import font_manager
from rich.cells import cell_len

import arpo_entropy_recorder
from arpo_entropy_recorder.analysis.analysis import KINDS
from arpo_entropy_recorder.analysis.pairs import PROMPTS, TRAJECTORIES
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures import words as module
from arpo_entropy_recorder.figures.catalogue import FIGURES
from arpo_entropy_recorder.figures.chinese import CHINESE
from arpo_entropy_recorder.figures.words import ENGLISH, MISSING_FONT, choose_words, counted
from arpo_entropy_recorder.figures.wrap import wrapped
from arpo_entropy_recorder.report.chinese import CHINESE as PAGE
from arpo_entropy_recorder.report.sections import QUESTION

NO_FONT = SimpleNamespace(
    ttflist=[SimpleNamespace(name="DejaVu Sans", fname="DejaVuSans.ttf")], addfont=lambda _: None
)


# The page's text and the answer on it; all else is on figures.
ON_PAGE = ("report/", "analysis/verdict.py")


@cache
def literals():
    """(file, text) of every text that the package hands to `words(...)`, or to `words.count(n, ...)` for many."""
    package, found = Path(arpo_entropy_recorder.__file__).parent, set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                text = node.args[{"words": slice(0, 1), "count": slice(2, 3)}.get(name, slice(0))]
                if text and isinstance(text[0], ast.Constant):
                    found.add((path.relative_to(package).as_posix(), text[0].value))
    return found


def test_every_text_on_a_figure_has_a_chinese_form_with_the_same_fields():
    texts = {text for file, text in literals() if not file.startswith(ON_PAGE)}
    assert len(texts) > 30
    assert not texts - CHINESE.keys()
    assert not set(KINDS) - CHINESE.keys()
    for english, chinese in {**CHINESE, **PAGE}.items():
        fields = [
            sorted(name for _, name, _, _ in Formatter().parse(text) if name) for text in (english, chinese)
        ]
        assert fields[0] == fields[1], english


def test_every_text_on_the_page_has_a_chinese_form_and_only_one():
    texts = {text for file, text in literals() if file.startswith(ON_PAGE)} | {
        QUESTION,
        PROMPTS,
        TRAJECTORIES,
    }
    texts |= {text for spec in FIGURES.values() for text in (spec.heading, spec.alt)}
    assert texts - CHINESE.keys() == PAGE.keys()


@pytest.mark.parametrize(
    ("lang", "environment", "chinese"),
    [
        ("en", {"LANG": "zh_CN.UTF-8"}, False),
        ("zh", {}, True),
        ("auto", {"LANG": "zh_CN.UTF-8"}, True),
        ("auto", {"LC_ALL": "en_GB.UTF-8", "LANG": "zh_CN.UTF-8"}, False),
        ("auto", {"LC_ALL": "", "LANG": "zh_TW"}, True),
        ("auto", {}, False),
    ],
)
def test_the_language_is_the_one_asked_for_or_the_locales(monkeypatch, lang, environment, chinese):
    monkeypatch.setattr(module, "cjk_family", lambda: "Some CJK Font")
    words, warning = choose_words(lang, environment)
    assert warning is None
    assert words("Global step") == ("全局训练步" if chinese else "Global step")
    assert ("Some CJK Font" in words.families) == chinese
    assert words("Step {step}.", step=7) == ("训练步 7。" if chinese else "Step 7.")


def test_without_a_font_the_labels_are_english_and_one_line_names_the_package(monkeypatch):
    monkeypatch.setattr(font_manager, "fontManager", NO_FONT)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: ["/fonts/Latin.ttf"])
    words, warning = choose_words("zh")
    assert words is ENGLISH
    assert warning == MISSING_FONT
    assert "fonts-wqy-microhei" in warning
    assert "\n" not in warning


def test_a_font_installed_after_matplotlib_listed_them_is_found(monkeypatch):
    def addfont(path):
        if "broken" in path:
            raise RuntimeError("no font")
        manager.ttflist.append(SimpleNamespace(name="WenQuanYi Micro Hei", fname=path))

    manager = SimpleNamespace(ttflist=list(NO_FONT.ttflist), addfont=addfont)
    monkeypatch.setattr(font_manager, "fontManager", manager)
    monkeypatch.setattr(
        font_manager, "findSystemFonts", lambda: ["DejaVuSans.ttf", "broken.ttf", "wqy-microhei.ttc"]
    )
    assert module.cjk_family() == "WenQuanYi Micro Hei"


def test_another_language_is_refused():
    with pytest.raises(UserError, match=r"^fr: "):
        choose_words("fr")


def test_a_count_has_its_noun_in_the_right_number():
    assert [counted(n, "step") for n in (0, 1, 2, 1234)] == ["0 steps", "1 step", "2 steps", "1,234 steps"]
    assert [counted(n, "trajectory", "trajectories") for n in (1, 2)] == ["1 trajectory", "2 trajectories"]


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("Bars: mean ± 1 sd (n - 1); a 95 % interval above n = 200, p = 0.1. 60 steps, 1 to 60.",
         ["± 1", "(n - 1)", "95 %", "n = 200", "p = 0.1", "60 steps"]),
        ("误差棒：均值的 95 % 区间（n > 200 时用正态近似，n - 1），指南中的 0.6。共 60 个训练步，1 至 60。",
         ["95 % 区", "n - 1", "60 个", "）", "（n"]),
    ],
)  # fmt: skip
def test_lines_break_neither_within_a_quantity_nor_before_a_closing_mark(text, whole):
    for cells in range(16, 60):
        lines = wrapped(text, cells)
        assert "".join("".join(lines).split()) == "".join(text.split())
        assert not any(line[0] in "，。；：）" for line in lines)
        for piece in whole:
            assert any(piece in line for line in lines), (cells, lines)


def test_chinese_lines_are_full_but_for_a_word_that_does_not_fit():
    lines = wrapped("虚线：" + "指南中高熵的标准 ARPO 论文称工具反馈后的熵通常高于此值" * 3, 40)
    assert all(34 <= cell_len(line) <= 40 for line in lines[:-1])
