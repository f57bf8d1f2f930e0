"""The plug-in that vLLM loads in each process: inert outside of a job, and never an engine's failure."""

import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JOB = {"ARPO_ENTROPY_JOB": "ab" * 32, "ARPO_ENTROPY_COLLECTOR": "tcp://127.0.0.1:9"}
PROGRAM = """
import json, sys
from arpo_entropy_recorder.live.plugin import register
before = set(sys.modules)
register()
register()
print(json.dumps([sorted(n for n in before if n.startswith("arpo_")), sorted(set(sys.modules) - before)]))
"""
# A vLLM of a few lines: a worker whose engine is set up by `initialize_from_config`.
STAND_IN = """
class WorkerWrapperBase:
    worker = "a worker"
    def initialize_from_config(self, configs):
        return ["set up", configs]
"""
PARAMS = """
class SamplingParams:
    def __init__(self, extra_args):
        self.extra_args = extra_args
    def __repr__(self):
        return f"SamplingParams({self.extra_args})"
"""
SHOW = """
from arpo_entropy_recorder.live.plugin import register
register()
register()
from vllm.sampling_params import SamplingParams
marked = {"arpo_entropy": ["key", "code"]}
shown = [SamplingParams(args) for args in (marked, marked | {"other": 1}, {"other": 1}, {}, None)]
print(shown, shown[0].extra_args == {"arpo_entropy": ["key", "code"]})
"""
SET_UP = """
from arpo_entropy_recorder.live.plugin import register
register()
register()
import arpo_entropy_recorder.live.worker as worker
calls = []
def start_recording(of):
    calls.append(of)
    if {fails}:
        raise RuntimeError("broken on purpose")
worker.start_recording = start_recording
from {module} import WorkerWrapperBase
print(WorkerWrapperBase().initialize_from_config(7), calls)
"""


def run(program, environment=(), path=()):
    """stdout and stderr of a new process with nothing of a job in its environment but `environment`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ARPO_ENTROPY_")}
    clean["PYTHONPATH"] = os.pathsep.join([*map(str, path), str(ROOT)])
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env=clean | dict(environment), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


def stand_in(folder, module):
    """A package `vllm` whose `module` has the worker."""
    path = folder.joinpath(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True)
    # A package without it would not come before an installed vllm.
    for package in [path.parent, *path.parent.parents][: module.count(".")]:
        (package / "__init__.py").touch()
    path.write_text(STAND_IN)
    (folder / "vllm" / "sampling_params.py").write_text(PARAMS)
    return folder


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"ARPO_ENTROPY_DIR": "/x"},
        {"ARPO_ENTROPY_JOB": "ab" * 32},
        {"ARPO_ENTROPY_COLLECTOR": "tcp://a:1"},
    ],
    ids=str,
)
def test_outside_of_a_job_nothing_else_is_imported(environment):
    out, err = run(PROGRAM, environment)
    own, more = json.loads(out)
    assert own == ["arpo_entropy_recorder", "arpo_entropy_recorder.live", "arpo_entropy_recorder.live.plugin"]
    assert more == []
    assert err == ""


@pytest.mark.parametrize("own", [{}, {"ARPO_ENTROPY_LIVE": "1"}], ids=["verl's or ARPO's", "a server's"])
def test_requests_are_followed_by_a_variable_of_its_own(tmp_path, own):
    vllm = stand_in(tmp_path, "vllm.v1.worker.worker_base")
    out, _ = run(PROGRAM, JOB | {"ARPO_ENTROPY_DIR": "/x"} | own, [vllm])
    assert ("arpo_entropy_recorder.live.serve.seam" in json.loads(out)[1]) == bool(own)


def test_switched_off_no_engine_is_touched():
    out, err = run(PROGRAM, JOB | {"ARPO_ENTROPY_DISABLE": "1"})
    assert not {name.partition(".")[0] for name in json.loads(out)[1]} & {"vllm", "torch", "zmq"}
    assert err == ""


def test_warnings_are_shown_where_the_root_logger_hides_them(tmp_path):
    # As a package does that vLLM's server imports (model_hosting_container_standards).
    program = (
        "import logging; from arpo_entropy_recorder.live.plugin import register; register(); "
        "logging.getLogger().setLevel(logging.ERROR); "
        "logging.getLogger('arpo_entropy_recorder.live.serve.channel').warning('said')"
    )
    _, err = run(program, JOB, [stand_in(tmp_path, "vllm.v1.worker.worker_base")])
    assert err == "said"


@pytest.mark.parametrize("module", ["vllm.v1.worker.worker_base", "vllm.worker.worker_base"])
def test_a_worker_starts_recording_once_its_engine_is_set_up(tmp_path, module):
    program = SET_UP.format(fails=False, module=module)
    out, err = run(program, JOB, [stand_in(tmp_path, module)])
    assert (out, err) == ("['set up', 7] ['a worker']", "")


def test_what_fails_in_the_worker_is_logged_and_the_engine_starts(tmp_path):
    module = "vllm.v1.worker.worker_base"
    out, err = run(SET_UP.format(fails=True, module=module), JOB, [stand_in(tmp_path, module)])
    assert out == "['set up', 7] ['a worker']"
    assert err.startswith("entropy recorder: not recording in this process: broken on purpose\nTraceback")


def test_marks_are_kept_and_not_shown(tmp_path):
    out, err = run(SHOW, JOB, [stand_in(tmp_path, "vllm.v1.worker.worker_base")])
    shown = ["None", "{'other': 1}", "{'other': 1}", "{}", "None"]
    assert out == f"[{', '.join(f'SamplingParams({args})' for args in shown)}] True"
    assert err == ""


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"ARPO_ENTROPY_JOB": "secret"}, "ARPO_ENTROPY_JOB is not a token"),
        ({"ARPO_ENTROPY_WINDOW": "many"}, "ARPO_ENTROPY_WINDOW='many' is not a number of tokens"),
        ({"ARPO_ENTROPY_COLLECTOR": "nowhere"}, "ARPO_ENTROPY_COLLECTOR='nowhere' is no address"),
    ],
)
def test_an_invalid_setting_is_one_line_and_no_failure(change, line):
    _, err = run(PROGRAM.replace("register()\n", "", 1), JOB | change)
    assert err.startswith(f"entropy recorder: not recording in this process: {line}")
    assert "\n" not in err
    assert "secret" not in err


def test_the_package_announces_it_to_vllm_and_no_logits_processor():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.partition('[project.entry-points."vllm.general_plugins"]\n')[2].partition("\n\n")[0]
    name, _, value = section.partition(" = ")
    assert name == "arpo_entropy"
    assert callable(EntryPoint(name, value.strip('"'), "vllm.general_plugins").load())
    assert "vllm.logits_processors" not in text
