"""The README and docs say what the code does: schema table, settings and links are checked against it."""

import json
import re
from pathlib import Path

import pytest
from schema_table import schema_row

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


PAGES = (
    "README.md",
    "docs/arpo.md",
    "docs/verl.md",
    "docs/records.md",
    "docs/rollouts.md",
    "tests/README.md",
)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_into_the_repository_leads_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)", text):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in headings(path.read_text(encoding="utf-8")), anchor


def test_the_example_record_is_one():
    (line,) = re.findall(r'(?m)^\{"global_step".*$', README)
    assert len(decode(f"[{line}]".encode(), "README.md")["entropy"]) == 1
    assert set(json.loads(line)) <= {field.name for field in FIELDS}


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z0-9.-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"make ([a-z0-9.-]*[a-z0-9])", README + ARPO)) <= targets


def test_no_placeholder_is_left():
    assert not re.search(r"@@|TODO|TBD|<this", README + ARPO + RECORDS)
