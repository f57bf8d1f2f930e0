"""The V1 engine's second model runner: what is recorded from an engine, once more in a process of its own.

A process has one kind of model runner, chosen before vLLM is imported. Without a GPU it runs under Triton's
interpreter: see tests/helpers/engines.py.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from engines import KIND

TESTS = [str(Path(__file__).with_name(name)) for name in ("test_recording.py", "test_live_tap.py")]


@pytest.mark.skipif(KIND != "v1", reason="runs from the process of the recent vLLM's first model runner")
def test_recording_holds_on_the_second_model_runner():
    environment = os.environ | {"ARPO_TEST_ENGINE": "v2"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout[-8000:]
    print(done.stdout.splitlines()[-1])
