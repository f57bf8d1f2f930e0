"""Tools by a list in one line: `python,search=COMMAND`."""

from __future__ import annotations

import re

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rollout.tools.python import PythonTool
from arpo_entropy_recorder.rollout.tools.search import load_search
from arpo_entropy_recorder.rollout.tools.tool import Tool


def load_tools(specification: str, *, timeout: float = 30.0) -> dict[str, Tool]:
    """The tools named in a comma-separated list, by tag.

    `python` runs model-written code on this machine (see `tools.python` for its limits), `search=COMMAND` gives a
    command the query on stdin, and `search=FILE.json` looks it up in a JSON object of results by query.
    `timeout` is in seconds, for each call. Raises UserError for a tool that does not exist or cannot work.
    """
    tools: dict[str, Tool] = {}
    # A comma starts the next tool only before a bare name, so that `search=cut -d, -f1` is one command.
    for item in filter(None, re.split(r",(?=\w*(?:=|,|$))", specification.strip())):
        name, _, value = item.partition("=")
        if name in tools:
            raise UserError(f"{name}: named twice; name it once")
        if name == "python" and not value:
            tools[name] = PythonTool(timeout=timeout)
        elif name == "search":
            tools[name] = load_search(value, timeout=timeout)
        else:
            raise UserError(
                f"{item!r}: unknown tool; use python, search=COMMAND or search=FILE.json, "
                "and a script for a command with commas in it"
            )
    return tools
