"""The tools that a policy may call, chosen as the command line spells them: `python,search=COMMAND`."""

from __future__ import annotations

import re
from typing import Protocol

from arpo_entropy_recorder.errors import UserError


class ToolError(Exception):
    """A call that failed. Its message is what the policy is told in place of a result."""


class Tool(Protocol):
    """Anything callable with the text between the tags. It must end by itself; what it raises is a failure."""

    def __call__(self, content: str, /) -> str: ...


def load_tools(specification: str, *, timeout: float = 30.0) -> dict[str, Tool]:
    """The tools named in a comma-separated list, by tag.

    `python` runs model-written code on this machine (see `tools.python` for its limits), `search=COMMAND` gives a
    command the query on stdin, and `search=FILE.json` looks it up in a JSON object of results by query.
    `timeout` is in seconds, for each call. Raises UserError for a tool that does not exist or cannot work.
    """
    from arpo_entropy_recorder.rollout.tools.python import PythonTool
    from arpo_entropy_recorder.rollout.tools.search import load_search

    tools: dict[str, Tool] = {}
    # A comma starts the next tool only before a bare name, so that `search=cut -d, -f1` is one command.
    for item in filter(None, re.split(r",(?=\w*(?:=|,|$))", specification.strip())):
        name, _, value = item.partition("=")
        if name in tools:
            raise UserError(f"--tools: {name} is named twice; name it once")
        if name == "python" and not value:
            tools[name] = PythonTool(timeout=timeout)
        elif name == "search":
            tools[name] = load_search(value, timeout=timeout)
        else:
            raise UserError(
                f"--tools: unknown tool {item!r}; use python, search=COMMAND or search=FILE.json, "
                "and a script for a command with commas in it"
            )
    return tools
