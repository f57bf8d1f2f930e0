"""Commands run as a person types them, and the files that they are given."""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from arpo_entropy_recorder.cli import main

ROOT = Path(__file__).resolve().parents[2]


SCRIPT = ROOT / "scripts" / "plot_entropy.py"


ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


PNG = b"\x89PNG\r\n\x1a\n"


def run(*words, cwd, **kwargs):
    """Run Python with `words` in a process of its own."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env=ENVIRONMENT,
        **kwargs,
    )


class Done(NamedTuple):
    """What a command left behind, under the names that subprocess uses."""

    returncode: int
    stdout: str
    stderr: str


def in_this_process(command):
    """Call what a program runs: starting Python and importing matplotlib costs a second each time."""
    # Real files, because a command may redirect the descriptor of its output.
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        try:
            with redirect_stdout(stdout), redirect_stderr(stderr):
                status = command()
        except SystemExit as end:  # argparse ends --help and --version in this way
            status = end.code or 0
        printed = []
        for stream in (stdout, stderr):
            stream.seek(0)
            printed.append(stream.read())
    return Done(status, *printed)


def arpo_entropy(*words, cwd):
    """Run a command in this process, as if it were started in `cwd`."""
    before = Path.cwd()
    try:
        os.chdir(cwd)
        return in_this_process(lambda: main([str(word) for word in words]))
    finally:
        os.chdir(before)


def record(entropy, number=1, sample=0, **more):
    return {
        "sample_idx": sample,
        "round": number,
        "entropy": entropy,
        "is_after_tool_call": number > 0,
        **more,
    }


def write_step(path, *records):
    path.write_text(json.dumps(records))
    return path


def assert_refused(result, *words, cwd):
    """One line on stderr with all of `words`, exit status 2, no picture."""
    assert result.returncode == 2, result
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("arpo-entropy: error: ")
    for word in words:
        assert word in result.stderr
    assert "Traceback" not in result.stderr
    assert not [path for path in Path(cwd).iterdir() if path.suffix in {".png", ".pdf", ".svg"}]
    assert not list(Path(cwd).glob(".*"))
