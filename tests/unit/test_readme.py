"""The README and docs say what the code does: schema table, settings, commands and links are checked against it."""

import json
import re
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
from schema_table import schema_row

from arpo_entropy_recorder.cli import COMMANDS, Parser, main
from arpo_entropy_recorder.figures.catalogue import FIGURES, RUN_FIGURES
from arpo_entropy_recorder.recorder.settings import Settings
from arpo_entropy_recorder.step_files.decode import decode
from arpo_entropy_recorder.step_files.schema import FIELDS

ROOT = Path(__file__).resolve().parents[2]
README, ARPO, RECORDS = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/arpo.md", "docs/records.md")
)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_the_schema_table_is_the_schemas(field):
    assert schema_row(field) in RECORDS.splitlines()


def test_every_setting_is_in_its_table_and_no_other():
    rows = re.findall(r"(?m)^\| `(\w+)` \| `(ARPO_ENTROPY_.*?)` \| `?(.*?)`? \| (.*) \|$", ARPO)
    table = {setting.key: setting for setting in Settings.table().values()}
    assert [key for key, *_ in rows if key not in table] == []
    assert len(rows) == len(table)
    for key, variable, default, meaning in rows:
        setting = table[key]
        switches = {True: "on", False: "off"}
        written = switches[setting.default] if isinstance(setting.default, bool) else str(setting.default)
        assert (variable, default) == (setting.variable, written)
        assert meaning.startswith(setting.meaning)


def headings(text):
    """The anchors of a page."""
    return {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"(?m)^#+ (.*)$", text)
    }


SCRIPT = re.compile(r"(?:^|\s|arpo-entropy-recorder/)((?:scripts|benchmarks|tests)/[\w/]+\.(?:py|sh))(.*)")
FOLDERS = (".", "docs", "benchmarks", "tests")
PAGES = sorted(str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))


def code_of(page):
    """Every line of a page's code blocks, and every piece of code in its text."""
    text = re.sub(r"\\\n +", "", (ROOT / page).read_text(encoding="utf-8"))
    for place, part in enumerate(re.split(r"(?m)^```.*$", text)):
        yield from (
            part.splitlines() if place % 2 else map(" ".join, map(str.split, re.findall(r"`([^`]+)`", part)))
        )


@pytest.mark.parametrize("page", PAGES)
def test_every_link_into_the_repository_leads_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    images = [(source, "") for source in re.findall(r'<img src="([^"]+)"', text)]
    links = re.findall(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)", text)
    for target, anchor in links + images:
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in headings(path.read_text(encoding="utf-8")), anchor


def options_of(name):
    """A command's options; None if it hands those that it does not know to another program."""
    parser = Parser()
    import_module(f"arpo_entropy_recorder.commands.{name}").configure(parser)
    options = {option for action in parser._actions for option in action.option_strings}
    return None if parser.get_default("passes_on") else options


def options_in(words):
    return {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_option_that_is_named_exists(page):
    for line in code_of(page):
        if not (named := re.search(r"(?:^|[\s/])arpo-entropy (\w+)(.*)", line)):
            continue
        assert named[1] in COMMANDS, line
        words = named[2].partition(" #")[0].split()
        if (options := options_of(named[1])) is not None:
            assert options_in(words) <= options, line
        figures = {word for flag, word in pairwise(words) if flag in ("-f", "--figure")}
        assert figures <= {*FIGURES, *RUN_FIGURES, "NAME"}, line


@pytest.mark.parametrize("page", ["README.md", "docs/figures.md", "docs/reading.md"])
def test_every_option_that_stands_alone_is_some_commands(page):
    known = set().union(*(options_of(name) or () for name in COMMANDS))
    named = [line for line in code_of(page) if line.startswith("--")]
    assert named
    assert options_in(word for line in named for word in line.split()) <= known


@pytest.mark.parametrize("page", PAGES)
def test_every_script_that_is_named_exists_with_its_options(page):
    for line in code_of(page):
        for script, words in SCRIPT.findall(line):
            text = (ROOT / script).read_text(encoding="utf-8")
            # argparse knows --like-this and --like_this
            assert [
                w for w in re.findall(r"--[a-z][\w-]+", words.partition(" #")[0]) if w not in text
            ] == [], line


def test_the_example_record_is_one():
    (line,) = re.findall(r'(?m)^\{"global_step".*$', RECORDS)
    assert len(decode(f"[{line}]".encode(), "records.md")["entropy"]) == 1
    assert set(json.loads(line)) <= {field.name for field in FIELDS}


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_is_named_exists(page):
    targets = set(re.findall(r"^([a-z0-9.-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = {
        name for line in code_of(page) for name in re.findall(r"^(?:\$ )?make ([a-z0-9.-]*[a-z0-9])", line)
    }
    assert named <= targets


def test_what_stats_prints_is_what_it_prints(capsys):
    (shown,) = re.findall(r"(?s)```console\n\$ arpo-entropy (stats \S+\n.*?)```", README)
    command, _, shown = shown.partition("\n")
    name, directory = command.split()
    assert main([name, str(ROOT / directory)]) == 0
    assert shown.split() == capsys.readouterr().out.split()


@pytest.mark.parametrize("page", PAGES)
def test_no_placeholder_is_left(page):
    assert not re.search(r"@@|TODO|TBD|<this", (ROOT / page).read_text(encoding="utf-8"))
