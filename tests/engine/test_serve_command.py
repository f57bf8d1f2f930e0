"""`arpo-entropy serve` as a process, over a stand-in for `vllm serve` that tells what it was given."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from package_metadata import announce

pytest.importorskip("zmq", reason="ZeroMQ comes with vLLM: make test")

ROOT = Path(__file__).parents[2]
SERVER = """
import json, os, signal, sys, time
def told(number, frame):
    print(json.dumps({"signal": number}), flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, told)
ours = {k: v for k, v in os.environ.items() if k.startswith(("ARPO_", "VLLM_PLUGINS"))}
print(json.dumps({"words": sys.argv[1:], "environment": ours, "mask": os.umask(0)}), flush=True)
if "--fails" in sys.argv:
    sys.exit(3)
time.sleep(300)
"""


@pytest.fixture
def temporary():
    """The command's TMPDIR: short, as a socket's path has at most 107 bytes and a worker's `tmp_path` is long."""
    with tempfile.TemporaryDirectory(prefix="serve-") as name:
        yield Path(name)


@pytest.fixture
def start(tmp_path, temporary, plugged_in):
    """Start the command with these words; the process, whose server says its first line."""
    package = tmp_path / "path" / "vllm" / "entrypoints" / "cli"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parents[1]):
        (folder / "__init__.py").touch()
    (package / "main.py").write_text(SERVER)
    announce(tmp_path / "path", "vllm", "0.32.0")
    path = os.pathsep.join(
        [str(tmp_path / "path"), str(plugged_in), str(ROOT), os.environ.get("PYTHONPATH", "")]
    )
    started = []

    def run(*words, program=None, **environment):
        words = ["-c", program] if program else ["-m", "arpo_entropy_recorder", "serve", *words]
        process = subprocess.Popen(
            [sys.executable, *words],
            env=os.environ | {"PYTHONPATH": path, "TMPDIR": str(temporary)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=120)


def test_options_of_vllm_are_handed_on(start):
    process = start(
        "MODEL", "--port", "8000", "-o", "out", "--window", "20", "-O3", "--api-key=k", VLLM_PLUGINS="own"
    )
    said = json.loads(process.stdout.readline())
    assert said["words"] == ["serve", "MODEL", "--port", "8000", "-O3", "--api-key=k"]
    environment = said["environment"]
    assert environment["ARPO_ENTROPY_LIVE"] == "1"
    assert environment["ARPO_ENTROPY_WINDOW"] == "20"
    assert environment["VLLM_PLUGINS"] == "own,arpo_entropy"
    assert said["mask"] != 0o077


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_and_leaves_nothing(start, temporary, number):
    process = start("MODEL", "-o", "out")
    process.stdout.readline()
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    if number == signal.SIGTERM:
        assert json.loads(out) == {"signal": signal.SIGTERM}
    assert process.returncode == 0
    assert "0 records in" in err
    assert list(temporary.iterdir()) == []


def test_the_servers_failure_is_the_commands(start):
    process = start("MODEL", "-o", "out", "--fails")
    assert process.wait(timeout=120) == 3


def test_a_directory_that_cannot_be_made_is_one_line(start, tmp_path):
    (tmp_path / "file").touch()
    process = start("MODEL", "-o", "file/out")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err.count("\n") == 1
    assert "--output" in err


def test_a_second_server_in_one_directory_is_one_line(start, temporary):
    first = start("MODEL", "-o", "out")
    first.stdout.readline()
    second = start("MODEL", "-o", "out")
    _, err = second.communicate(timeout=120)
    assert second.returncode == 2
    assert err.count("\n") == 1
    assert len(list(temporary.iterdir())) == 2, "the first one's folders"


def test_a_package_without_its_plug_in_is_one_line(start):
    # As in an environment where it was installed before it had one.
    hide = "import importlib.metadata as m; m.entry_points = lambda **wanted: (); import sys; "
    main = "from arpo_entropy_recorder.cli import main; sys.exit(main(['serve', 'MODEL', '-o', 'out']))"
    process = start("MODEL", program=hide + main)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "plug-in" in err
    assert err.count("\n") == 1


def test_the_token_is_in_no_command_line(start):
    process = start("MODEL", "-o", "out")
    said = json.loads(process.stdout.readline())
    token = said["environment"]["ARPO_ENTROPY_JOB"]
    assert token not in " ".join(said["words"])
    assert token not in Path(f"/proc/{process.pid}/cmdline").read_text()
