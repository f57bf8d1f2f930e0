"""The two tools of the training as ARPO's loader wants them: a class by its path, a tag, `execute`.

ARPO's own need a conda environment and a search engine. These are our sandboxed python tool and our file of results.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arpo_entropy_recorder.rollout.tools.python import PythonTool as Python
from arpo_entropy_recorder.rollout.tools.search_cache import SearchCache
from arpo_entropy_recorder.rollout.tools.tool import Tool, ToolError


class LocalTool:
    """Executes `tool`; what a call fails with is what the policy reads."""

    trigger_tag: str
    tool: Tool

    def execute(self, content: str, **_: Any) -> str:
        try:
            return self.tool(content)
        except ToolError as error:
            return str(error)


class PythonTool(LocalTool):
    """Runs model-written code under the limits of `arpo-entropy record`; a result may be 200 characters long."""

    trigger_tag = "python"

    def __init__(self, **_: Any):
        self.tool = Python(output=200)


class SearchTool(LocalTool):
    """Looks a word up in `cache_file`, where ARPO's launch script names its cache of search results."""

    trigger_tag = "search"

    def __init__(self, cache_file: str, **_: Any):
        self.tool = SearchCache(Path(cache_file))
