"""`external_lib=arpo_entropy_recorder.verl`: what a worker finds after importing that module."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACE = "a_verl.rollout.with_tools:ToolRollout"

WORKER = """
import importlib
recording = importlib.import_module("arpo_entropy_recorder.verl")
from arpo_entropy_recorder.mixin import EntropyRecorderMixin, record_entropy
"""


@pytest.fixture
def a_verl(tmp_path):
    """A package laid out as verl's: the class in a module, handed on by the package."""
    package = tmp_path / "a_verl" / "rollout"
    package.mkdir(parents=True)
    (tmp_path / "a_verl" / "__init__.py").touch()
    (package / "__init__.py").write_text("from .with_tools import ToolRollout\n")
    (package / "with_tools.py").write_text(
        "class ToolRollout:\n    def generate_sequences(self, prompts, **kwargs):\n        return prompts\n"
        "class TreeRollout(ToolRollout):\n    pass\n"
    )
    return tmp_path


def worker(code, path, place, before=""):
    """Run `code` as a worker process would, after the import of the module (and `before`, before it)."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), str(ROOT)])}
    environment.pop("ARPO_ENTROPY_ROLLOUT", None)
    if place:
        environment["ARPO_ENTROPY_ROLLOUT"] = place
    return subprocess.run(
        [sys.executable, "-c", before + WORKER + code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def succeed(code, path, place=PLACE, **kwargs):
    result = worker(code, path, place, **kwargs)
    assert result.returncode == 0, result.stderr


def test_a_class_that_would_look_itself_up_for_ever_is_refused(a_verl):
    module = a_verl / "a_verl" / "rollout" / "with_tools.py"
    more = """
def marked(method):
    return lambda self: method(self)

class OldStyle(ToolRollout):
    @marked
    def __init__(self):
        super(OldStyle, self).__init__()

class NewStyle(ToolRollout):
    def __init__(self):
        super().__init__()
        NewStyle.kind = 1
"""
    module.write_text(module.read_text() + more)
    succeed("", a_verl, "a_verl.rollout.with_tools:NewStyle")
    result = worker("", a_verl, "a_verl.rollout.with_tools:OldStyle")
    assert result.returncode != 0
    assert "OldStyle calls super(OldStyle, self)" in result.stderr
    assert "use scripts/apply_patch.sh instead" in result.stderr


def test_class_records_wherever_it_is_looked_up(a_verl):
    succeed(
        "from a_verl.rollout.with_tools import ToolRollout as looked_up_later\n"
        "from a_verl.rollout import ToolRollout as handed_on\n"
        "assert issubclass(looked_up_later, EntropyRecorderMixin)\n"
        "assert handed_on is looked_up_later\n",
        a_verl,
    )


def test_module_imported_before_is_swapped_too(a_verl):
    succeed(
        "assert issubclass(a_verl.rollout.ToolRollout, EntropyRecorderMixin)\n",
        a_verl,
        before="import a_verl.rollout.with_tools\n",
    )


def test_second_swap_and_the_patch_on_top_change_nothing(a_verl):
    succeed(
        "from a_verl.rollout.with_tools import ToolRollout\n"
        f"assert recording.swap_in({PLACE!r}) == [ToolRollout]\n"
        "assert record_entropy(ToolRollout) is ToolRollout\n"
        "import a_verl.rollout\n"
        "assert a_verl.rollout.ToolRollout is ToolRollout\n",
        a_verl,
    )


def test_several_classes_can_be_named(a_verl):
    succeed(
        "from a_verl.rollout.with_tools import ToolRollout, TreeRollout\n"
        "assert issubclass(ToolRollout, EntropyRecorderMixin)\n"
        "assert issubclass(TreeRollout, EntropyRecorderMixin)\n",
        a_verl,
        f"{PLACE}, a_verl.rollout.with_tools:TreeRollout",
    )


@pytest.mark.parametrize(
    "place", ["a_verl.rollout.with_tools:Missing", "a_verl.no_module:ToolRollout", "nonsense", " "]
)
def test_class_that_is_not_there_is_named(a_verl, place):
    result = worker("", a_verl, place)
    assert result.returncode != 0
    last = result.stderr.splitlines()[-1]
    assert "UserError" in last
    assert repr(place.strip()) in last
    assert "ARPO_ENTROPY_ROLLOUT=module:Class" in last


@pytest.mark.arpo
def test_arpo_own_class_records(arpo_root):
    tree = arpo_root / "ARPO" / "verl_arpo_entropy"
    if not tree.is_dir():
        pytest.skip(f"{arpo_root} has no ARPO/verl_arpo_entropy: ARPO's own class was NOT tried")
    succeed(
        "from verl.workers.rollout.vllm_rollout.vllm_rollout_with_tools import vLLMRolloutWithTools\n"
        "import verl.workers.rollout.vllm_rollout as package\n"
        "assert issubclass(vLLMRolloutWithTools, EntropyRecorderMixin)\n"
        "assert package.vLLMRolloutWithTools is vLLMRolloutWithTools\n"
        f"assert package.__file__.startswith({str(tree)!r}), package.__file__\n",
        tree,
        place=None,
    )
