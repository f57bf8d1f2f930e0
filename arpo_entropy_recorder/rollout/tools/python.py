"""The `python` tool: runs code that a model wrote, in a process of its own under the system's limits.

The limits (CPU and wall-clock time, memory, file size, no further processes or threads, no inherited
descriptors or environment, an empty working directory that is deleted) keep an honest mistake from hurting the
run. They are no jail: the code can still read what its user can read, use the network and signal that user's
processes. Started by root, it runs as the user nobody.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rollout.tools.sandbox import NOBODY
from arpo_entropy_recorder.rollout.tools.tool import ToolError

SANDBOX = Path(__file__).with_name("sandbox.py").read_text(encoding="utf-8")
REASONS: dict[int, str] = {
    -signal.SIGXCPU: "CPU time used up",
    -signal.SIGKILL: "killed, out of memory or of CPU time",
}


class PythonTool:
    """Callable with code, returns what it prints, its last expression's value included.

    `timeout` in seconds bounds wall-clock and CPU time, `memory` in bytes the address space, `file_size` in bytes
    every file it writes and all that it prints; the policy is shown the first `output` characters of that.
    """

    def __init__(
        self, *, timeout: float = 10.0, memory: int = 1 << 30, file_size: int = 1 << 20, output: int = 8192
    ):
        self.timeout, self.output = timeout, output
        limits = (math.ceil(timeout), memory, file_size)
        # -s -S: the standard library alone, nothing from this environment's site-packages
        self._command = [sys.executable, "-s", "-S", "-c", SANDBOX, *map(str, limits)]
        try:
            works = self("import math, random, threading\nmath.factorial(3) * 7") == "42"
        except (OSError, ToolError) as error:
            raise UserError(f"python: its sandbox does not start here ({error}); leave python out") from error
        if not works:
            raise UserError("python: its sandbox does not compute here; leave python out")

    def __call__(self, content: str, /) -> str:
        # Files, not pipes: the size limit then bounds the output too, and nothing here can block on a reader.
        with (
            tempfile.TemporaryFile() as code,
            tempfile.TemporaryFile() as printed,
            tempfile.TemporaryFile() as complaint,
            tempfile.TemporaryDirectory(prefix="python-tool-", ignore_cleanup_errors=True) as directory,
        ):
            code.write(content.encode("utf-8", "replace"))
            code.seek(0)
            if os.geteuid() == 0:
                os.chown(directory, NOBODY, NOBODY)
            process = subprocess.Popen(
                self._command,
                stdin=code,
                stdout=printed,
                stderr=complaint,
                cwd=directory,
                # A fixed hash seed: a set prints in the same order run after run.
                env={"HOME": directory, "LANG": "C.UTF-8", "PYTHONUTF8": "1", "PYTHONHASHSEED": "0"},
                start_new_session=True,
            )
            try:
                status = process.wait(self.timeout)
            except subprocess.TimeoutExpired:
                raise ToolError(f"Execution timed out after {self.timeout:g} s.") from None
            finally:
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            if status:
                reason = REASONS.get(status, f"exit status {status}")
                raise ToolError(self._read(complaint) or f"Execution failed: {reason}.")
            return self._read(printed)

    def _read(self, file: IO[bytes]) -> str:
        file.seek(0)
        text = file.read(4 * self.output).decode("utf-8", "replace").strip()
        return text if len(text) <= self.output else text[: self.output] + " [cut]"
