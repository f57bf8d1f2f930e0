"""The `search` tool: a command of the user's, or a cache of results."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rollout.tools.search_cache import LIMIT, SearchCache
from arpo_entropy_recorder.rollout.tools.tool import Tool, ToolError


def load_search(value: str, *, timeout: float = 30.0) -> Tool:
    """A cache where `value` ends in `.json`, else a command. Raises UserError if it cannot be read or found."""
    return SearchCache(Path(value)) if value.endswith(".json") else SearchCommand(value, timeout=timeout)


class SearchCommand:
    """A command that reads the query on stdin and prints the result; no shell, unless the user names one.

    It is the user's own and keeps the user's environment. A non-zero exit is a failure, told by its last line on
    stderr; after `timeout` seconds it is killed with all that it started.
    """

    def __init__(self, command: str, *, timeout: float = 30.0):
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise UserError(f"search={command}: {error}; check its quotes") from error
        if not self._command:
            raise UserError("search: needs a command or a .json file: search=COMMAND or search=FILE.json")
        if shutil.which(self._command[0]) is None:
            raise UserError(f"search={command}: no such command: {self._command[0]}")
        self.timeout = timeout

    def __call__(self, content: str, /) -> str:
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            printed, complaint = process.communicate(content.encode("utf-8", "replace"), self.timeout)
        except subprocess.TimeoutExpired:
            raise ToolError(f"Search timed out after {self.timeout:g} s.") from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        if process.returncode:
            lines = complaint.decode("utf-8", "replace").strip().splitlines()
            raise ToolError(
                f"Search failed: {lines[-1] if lines else f'exit status {process.returncode}'}"[:LIMIT]
            )
        return printed.decode("utf-8", "replace").strip()[:LIMIT]
