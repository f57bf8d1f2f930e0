"""`arpo-entropy serve` as a process, over a stand-in for `vllm serve` that tells what it was given."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
    (tmp_path / "MODEL").mkdir()
    (tmp_path / "MODEL" / "config.json").write_text("{}")
    path = os.pathsep.join(
        [str(tmp_path / "path"), str(plugged_in), str(ROOT), os.environ.get("PYTHONPATH", "")]
    )
    started = []

    def run(*words, program=None, **environment):
        if not program and not any(word.startswith("--port") for word in words):
            words = [*words, "--port", "0"]
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
        "MODEL", "--port", "0", "-o", "out", "--window", "20", "--text-results", "-O3",
        "--api-key=k", VLLM_PLUGINS="own",
    )  # fmt: skip
    said = json.loads(process.stdout.readline())
    assert said["words"] == ["serve", "MODEL", "--port", "0", "-O3", "--api-key=k"]
    environment = said["environment"]
    assert environment["ARPO_ENTROPY_LIVE"] == "1"
    assert environment["ARPO_ENTROPY_WINDOW"] == "20"
    assert environment["ARPO_ENTROPY_TEXT_RESULTS"] == "1"
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


def test_under_nohup_the_end_of_the_session_ends_nothing(start):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = start("MODEL", "-o", "out")
    finally:
        signal.signal(signal.SIGHUP, before)
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=2)
    process.terminate()
    assert json.loads(process.communicate(timeout=120)[0]) == {"signal": signal.SIGTERM}


SIGNALLED = """
import os, signal, subprocess, sys
from arpo_entropy_recorder.cli import main
start = subprocess.Popen.__init__
def started(self, *args, **kwargs):
    start(self, *args, **kwargs)
    os.kill(os.getpid(), signal.SIGTERM)
subprocess.Popen.__init__ = started
sys.exit(main(["serve", "MODEL", "-o", "out", "--port", "0"]))
"""


def test_a_signal_at_the_servers_start_ends_it(start, temporary):
    process = start(program=SIGNALLED)
    assert process.wait(timeout=120) == 0
    assert "0 records in" in process.stderr.read()
    assert list(temporary.iterdir()) == []


def test_the_servers_failure_is_the_commands(start):
    process = start("MODEL", "-o", "out", "--fails")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 3
    assert "vLLM ended with status 3" in err


def refused(process, *said):
    """One line on stderr that says it all, status 2, and vLLM was not started."""
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert err.count("\n") == 1
    for words in said:
        assert words in err


NO_MODELS = {
    "empty": "empty: not a model",
    "./nowhere": "./nowhere: not a model: no such directory",
    "/nowhere": "/nowhere: not a model: no such directory",
    "checkpoints/run/step_200": "no such directory, and no hub name",
    "file.txt": "file.txt: not a model but a file",
    "broken": "broken/config.json: not a JSON object",
    "list": "list/config.json: not a JSON object",
    "locked": "locked/config.json: not a JSON object",
}


@pytest.mark.parametrize("model", NO_MODELS)
def test_what_is_no_model_is_one_line(start, tmp_path, model):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").touch()
    for name, config in {"broken": b'{"model_type": ', "list": b"[]", "locked": b"\xff"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_bytes(config)
    refused(start(model, "-o", "out"), NO_MODELS[model])
    assert not (tmp_path / "out").exists()


LEFT_TO_VLLM = {
    "a GGUF file": ["weights.gguf"],
    "one of another name": ["sha256-abc"],
    "a directory of one": ["gguf"],
    "one on the hub": ["owner/name:Q4_K_M"],
    "Mistral's form": ["mistral"],
    "object storage": ["s3://bucket/model"],
    "a config elsewhere": ["gguf-to-be", "--hf-config-path=other"],
    "another loader": ["a/b/c", "--load-format", "own"],
    "another token": ["a/b", "--hf-token=own"],
}


@pytest.mark.parametrize("what", LEFT_TO_VLLM)
def test_what_may_be_a_model_is_left_to_vllm(start, tmp_path, what):
    (tmp_path / "weights.gguf").touch()
    (tmp_path / "sha256-abc").write_bytes(b"GGUF" + bytes(60))
    for path in ("gguf/w.gguf", "mistral/params.json", "gguf-to-be/w.bin"):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).touch()
    said = json.loads(start(*LEFT_TO_VLLM[what], "-o", "out").stdout.readline())
    assert said["words"][: 1 + len(LEFT_TO_VLLM[what])] == ["serve", *LEFT_TO_VLLM[what]]


@pytest.fixture
def hub(tmp_path):
    """The environment of a hub that knows one model, and a gated one."""
    pytest.importorskip("huggingface_hub", reason="it comes with vLLM: make test")
    answers = {
        "/owner/known/": (200, ""),
        "/owner/flaky/": (200, ""),
        "/owner/gated/": (403, "GatedRepo"),
        "/owner/odd/": (500, ""),
    }

    lost = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            if self.path.startswith("/owner/flaky/") and not lost:
                lost.append(self.path)
                return self.connection.shutdown(socket.SHUT_RDWR)
            status, code = next(
                (a for p, a in answers.items() if self.path.startswith(p)), (404, "RepoNotFound")
            )
            self.send_response(status)
            for name, value in {
                "X-Error-Code": code,
                "ETag": "e",
                "X-Repo-Commit": "c",
                "Content-Length": "2",
            }.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_CACHE": str(tmp_path / "hub" / "hub"), "TRANSFORMERS_CACHE": "", "VLLM_USE_MODELSCOPE": "",
        "HF_HUB_OFFLINE": "0", "NO_PROXY": "*", "no_proxy": "*",
    }  # fmt: skip
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "why"), [("owner/unknown", "not a model"), ("owner/gated", "accept its terms")]
)
def test_a_name_that_the_hub_does_not_give_is_one_line(start, hub, name, why):
    refused(start(name, "-o", "out", **hub), f"{name}: ", why, "HF_TOKEN")


def test_a_connection_that_is_lost_once_is_no_refusal(start, hub):
    assert json.loads(start("owner/flaky", "-o", "out", **hub).stdout.readline())["words"][1] == "owner/flaky"


def test_a_name_that_vllm_looks_up_in_a_file_is_left_to_it(start, hub, tmp_path):
    redirected = hub | {"VLLM_MODEL_REDIRECT_PATH": str(tmp_path / "redirect.txt")}
    process = start("owner/unknown", "-o", "out", **redirected)
    assert json.loads(process.stdout.readline())["words"][1] == "owner/unknown"


@pytest.mark.parametrize("name", ["owner/known", "owner/odd"])
def test_a_name_that_the_hub_may_give_is_handed_on(start, hub, name):
    assert json.loads(start(name, "-o", "out", **hub).stdout.readline())["words"][1] == name


def test_a_name_in_the_cache_needs_no_hub(start, hub, tmp_path):
    (tmp_path / "hub" / "hub" / "models--owner--unknown").mkdir(parents=True)
    process = start("owner/unknown", "-o", "out", **hub)
    assert json.loads(process.stdout.readline())["words"][1] == "owner/unknown"


@pytest.mark.parametrize("change", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:1"}], ids=str)
def test_a_hub_that_cannot_be_asked_is_one_line(start, hub, change):
    refused(
        start("owner/known", "-o", "out", **(hub | change)), "hub cannot be asked", "connect this machine"
    )


@pytest.mark.parametrize("how", ["--port {}", "--port={} --host=127.0.0.1", "--host 127.0.0.1 --port {}"])
def test_a_port_in_use_is_one_line(start, how):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(start("MODEL", "-o", "out", *how.format(port).split()), f"port {port}", "give another --port")


@pytest.mark.parametrize("words", [["--uds", "socket"], ["--por", "0"]], ids=" ".join)
def test_a_port_that_is_not_listened_on_is_not_tried(start, words):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        process = start("MODEL", "-o", "out", "--port", port, *words)
        assert words[0] in json.loads(process.stdout.readline())["words"]


def test_no_option_of_vllms_is_needed():
    from arpo_entropy_recorder.commands.serve import _options

    assert _options([]) == {}
    assert _options(["--uds", "s", "--enforce-eager"]) == {"uds": "s", "enforce_eager": ""}


def test_a_model_behind_vllms_options_is_one_line(start):
    refused(start("--port", "0", "MODEL", "-o", "out"), "MODEL comes first")


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
