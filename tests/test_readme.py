"""The README says what the code does: its schema table, its settings and its links are checked against it."""

import re
from pathlib import Path

import pytest

from arpo_entropy_recorder.schema import FIELDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TYPE_NAMES = {int: "int", float: "float", str: "str", bool: "bool", list: "list", type(None): "null"}


def schema_row(field):
    types = [TYPE_NAMES[kind] for kind in field.types if not (kind is int and float in field.types)]
    key = f"**`{field.name}`**" if field.required else f"`{field.name}`"
    return f"| {key} | {' or '.join(types)} | {field.meaning} |"


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_the_schema_table_is_the_schemas(field):
    assert schema_row(field) in README.splitlines()


def test_every_setting_is_in_the_readme_and_no_other():
    source = (ROOT / "arpo_entropy_recorder" / "settings.py").read_text(encoding="utf-8")
    variables = set(re.findall(r"ARPO_ENTROPY_[A-Z_]+", source))
    assert variables == set(re.findall(r"ARPO_ENTROPY_[A-Z_]+", README)) - {"ARPO_ENTROPY_ROLLOUT"}


def test_every_link_into_the_repository_leads_somewhere():
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets


def test_no_placeholder_is_left():
    assert not re.search(r"@@|TODO|TBD", README)
