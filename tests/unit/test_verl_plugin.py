"""What verl's processes import: nothing without a directory, hooks behind verl's own modules with one."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from arpo_entropy_recorder.live.trajectory import Books, Trajectory
from arpo_entropy_recorder.live.verl import loop, trainer

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = "arpo_entropy_recorder.live.verl.plugin"
HEAVY = {"torch", "vllm", "ray", "zmq", "transformers"}


def fake_verl(path, version):
    """A package of that name and version, with the modules of an agent loop."""
    (path / "verl" / "utils").mkdir(parents=True)
    (path / "verl" / "__init__.py").write_text(
        f"__version__ = {version!r}\nimport os\n"
        "for name in os.environ.get('VERL_USE_EXTERNAL_MODULES', '').split():\n"
        "    __import__(name)\n"
    )
    (path / "verl" / "utils" / "__init__.py").touch()
    (path / "verl" / "utils" / "tracking.py").write_text(
        "class Tracking:\n    def log(self, data, step, backend=None):\n        return data, step, backend\n"
    )
    return path


def python(code, path, **variables):
    """(what `code` printed last, as JSON, and its stderr) in a process that finds the packages in `path`."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ARPO_ENTROPY", "VERL_"))}
    environment |= {"PYTHONPATH": os.pathsep.join([str(path), str(ROOT)]), **variables}
    result = subprocess.run(
        [sys.executable, "-c", f"import json, sys\n{code}"],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1]), result.stderr


LOADED = "\nprint(json.dumps(sorted(m for m in sys.modules if m.startswith('arpo_entropy'))))"
HOOKED = "\nprint(json.dumps(hasattr(verl.utils.tracking.Tracking.log, '__wrapped__')))"


@pytest.mark.parametrize("variables", [{}, {"ARPO_ENTROPY_DIR": "x", "ARPO_ENTROPY_DISABLE": "1"}])
def test_without_a_directory_nothing_else_is_imported(variables, tmp_path):
    loaded, _ = python(f"import {PLUGIN}{LOADED}", tmp_path, **variables)
    parts = PLUGIN.split(".")
    assert loaded == [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def test_hooks_load_no_engine_and_no_ray(tmp_path):
    loaded, _ = python(
        f"import {PLUGIN}\nprint(json.dumps(sorted(m for m in sys.modules if '.' not in m)))", tmp_path,
        ARPO_ENTROPY_DIR="x",
    )  # fmt: skip
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize("version", ["0.6.1", "0.9.1", "0.10.0.dev"])
def test_external_module_hooks_newer_verls(version, tmp_path):
    variables = {"ARPO_ENTROPY_DIR": "x", "VERL_USE_EXTERNAL_MODULES": "arpo_entropy_recorder.verl"}
    code = "import verl\nimport verl.utils.tracking" + HOOKED
    is_hooked, errors = python(code, fake_verl(tmp_path, version), **variables)
    assert is_hooked
    assert errors == ""


def test_verl_without_a_place_is_refused_in_one_line(tmp_path):
    code = "import verl\nimport arpo_entropy_recorder.verl\nimport verl.utils.tracking" + HOOKED
    is_hooked, errors = python(code, fake_verl(tmp_path, "0.5.0"), ARPO_ENTROPY_DIR="x")
    assert not is_hooked
    assert errors.splitlines() == [
        "entropy recorder: not recording: verl 0.5's agent loop has no place for it; use verl 0.6.1 or later"
    ]


def test_wrong_setting_is_one_line_and_verl_goes_on(tmp_path):
    variables = {"ARPO_ENTROPY_DIR": "x", "ARPO_ENTROPY_WINDOW": "none"}
    code = f"import verl\nimport {PLUGIN}\nimport verl.utils.tracking{HOOKED}"
    is_hooked, errors = python(code, fake_verl(tmp_path, "0.9.1"), **variables)
    assert not is_hooked
    assert len(errors.splitlines()) == 1
    assert "ARPO_ENTROPY_WINDOW='none'" in errors


def test_hook_that_fails_does_not_stop_the_import(tmp_path):
    (tmp_path / "target.py").write_text("value = 1\n")
    code = (
        "from arpo_entropy_recorder.live.imports import after_imports\n"
        "seen = []\n"
        "hooks = {'target': lambda module: seen.append(module.value) or 1 / 0}\n"
        "after_imports(hooks)\nafter_imports(hooks)\nimport target\n"
        "print(json.dumps(seen))"
    )
    seen, errors = python(code, tmp_path)
    assert seen == [1]
    assert "no hook on target" in errors
    assert "ZeroDivisionError" in errors


def test_hook_runs_on_a_module_that_is_there(tmp_path):
    (tmp_path / "target.py").write_text("value = 1\n")
    code = (
        "import target\nfrom arpo_entropy_recorder.live.imports import after_imports\n"
        "after_imports({'target': lambda module: setattr(module, 'value', 2)})\nprint(json.dumps(target.value))"
    )
    assert python(code, tmp_path)[0] == 2


def test_without_ray_a_log_passes_unchanged(tmp_path):
    code = (
        f"import {PLUGIN}\nfrom verl.utils.tracking import Tracking\n"
        "print(json.dumps(Tracking().log({'training/global_step': 1}, 1, backend='console')))"
    )
    (tmp_path / "ray.py").write_text("def is_initialized():\n    return False\n")
    logged, errors = python(code, fake_verl(tmp_path, "0.9.1"), ARPO_ENTROPY_DIR="x")
    assert logged == [{"training/global_step": 1}, 1, "console"]
    assert errors == ""


class OwnParser:
    """More than content and calls, as nobody forbids."""

    async def extract_tool_calls(self, ids):
        return "text", [SimpleNamespace(name="search")], "reasoning"


class DecoratedParser(OwnParser):
    """As by a decorator that is no coroutine function."""

    def extract_tool_calls(self, ids):
        return super().extract_tool_calls(ids)


class PlainParser:
    __slots__ = ()

    def extract_tool_calls(self, ids):
        return "text", []


@pytest.mark.parametrize(
    ("parser", "names"), [(OwnParser(), ["search"]), (DecoratedParser(), ["search"]), (PlainParser(), None)]
)
def test_what_a_parser_of_someones_own_returns_is_handed_on(parser, names):
    books = Books(Trajectory(1, False, "g"))
    expected = parser.extract_tool_calls([1])
    loop.follow_parser(parser)  # one with slots stays as it is
    reset = loop._RUNNING.set(loop.Running(books, None))
    try:
        returned = parser.extract_tool_calls([1])
        if names:
            returned, expected = asyncio.run(returned), asyncio.run(expected)
    finally:
        loop._RUNNING.reset(reset)
    assert returned == expected
    assert books._parsed == names


def test_the_calls_of_a_plain_function_are_told_too():
    books = Books(Trajectory(1, False, "g"))
    reset = loop._RUNNING.set(loop.Running(books, None))
    try:
        assert loop.telling(PlainParser().extract_tool_calls)([1]) == ("text", [])
    finally:
        loop._RUNNING.reset(reset)
    assert books._parsed == []


def test_the_end_of_a_log_is_the_trainers_whatever_happens(monkeypatch):
    def fail(*args):
        raise ImportError("sys.meta_path is None, Python is likely shutting down")

    monkeypatch.setattr(trainer.MEMBERSHIP, "ask", fail)
    trainer.write_rest()


def test_runtime_environment_has_settings_and_no_token(monkeypatch):
    from arpo_entropy_recorder.live.verl.trainer import with_settings

    monkeypatch.setenv("ARPO_ENTROPY_DIR", "x")
    monkeypatch.setenv("ARPO_ENTROPY_JOB", "secret")
    monkeypatch.setenv("ARPO_ENTROPY_COLLECTOR", "ipc:///x")
    handed_on = with_settings({"env_vars": {"NCCL_DEBUG": "WARN"}})["env_vars"]
    assert handed_on["ARPO_ENTROPY_DIR"] == str(Path("x").absolute())
    assert handed_on["NCCL_DEBUG"] == "WARN"
    assert not handed_on.keys() & {"ARPO_ENTROPY_JOB", "ARPO_ENTROPY_COLLECTOR"}
