"""The library says what is wrong, and the command line which option helps: no option is named elsewhere."""

import ast
import re
from pathlib import Path

import pytest

import arpo_entropy_recorder

PACKAGE = Path(arpo_entropy_recorder.__file__).parent
MAY_NAME_OPTIONS = {"cli.py", "commands"}
# These still do. Empty the set once they no longer do.
NOT_YET = {"analysis", "atomic.py", "figures", "report"}
PLACES = {path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}


def option_names(place):
    files = [place] if place.suffix == ".py" else sorted(place.rglob("*.py"))
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", node.value):
                    yield f"{file.relative_to(PACKAGE)}:{node.lineno}: {option}"


def test_the_places_are_there_and_commands_do_name_options():
    assert MAY_NAME_OPTIONS | NOT_YET <= PLACES
    assert list(option_names(PACKAGE / "commands"))


@pytest.mark.parametrize("place", sorted(PLACES - MAY_NAME_OPTIONS - NOT_YET))
def test_no_option_is_named(place):
    assert list(option_names(PACKAGE / place)) == []
