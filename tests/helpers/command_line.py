"""Commands run as a person types them, in a process of their own, and the files that they are given."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


SCRIPT = ROOT / "scripts" / "plot_entropy.py"


ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


PNG = b"\x89PNG\r\n\x1a\n"


def run(*words, cwd, **kwargs):
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env=ENVIRONMENT,
        **kwargs,
    )


def arpo_entropy(*words, cwd, **kwargs):
    return run("-m", "arpo_entropy_recorder", *words, cwd=cwd, **kwargs)


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
