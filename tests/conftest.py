"""What tests of several files share, and which folders of tests an environment can run."""

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no reason to fail. `--hypothesis-profile=thorough` (make test-faults) looks longer for one: all
# tests with generated input follow the profile, none has a number of its own.
UNHURRIED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=25, **UNHURRIED)
settings.register_profile("thorough", max_examples=400, **UNHURRIED)
settings.load_profile("quick")

# The packages that every test of a folder needs; unit/ needs none beyond `pip install '.[test]'`.
NEEDED = {
    "torch": ("torch", "transformers"),
    "engine": ("torch", "transformers", "vllm"),
    "arpo": ("torch", "transformers", "vllm"),
    "serve": ("torch", "transformers", "vllm.entrypoints.openai.chat_completion", "openai"),
    # Of verl 0.6 and later, not ARPO's.
    "verl": ("torch", "ray", "verl.experimental"),
    "faults": ("torch", "transformers", "vllm"),
}


def is_installed(name):
    """Whether a package is there; one inside of another is looked for without an import, which may take seconds."""
    package, *inner = name.split(".")
    spec = find_spec(package)
    return spec is not None and any(Path(place, *inner).is_dir() for place in spec.submodule_search_locations)


MISSING = {
    folder: missing
    for folder, packages in NEEDED.items()
    if (missing := [package for package in packages if not is_installed(package)])
}


def pytest_ignore_collect(collection_path):
    """Leave a folder out as a whole where one of its packages is not installed."""
    is_folder = collection_path.parent == Path(__file__).parent
    return True if is_folder and collection_path.name in MISSING else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """`-n 2` alone gives whole files to a worker, too: what their tests share is made once."""
    from xdist.scheduler import LoadFileScheduling

    if config.getoption("dist") not in ("load", "loadfile"):
        return None
    config.option.loadscopereorder = False  # xdist would begin with the files that have the most tests
    return LoadFileScheduling(config, log)


# Files that keep one worker busy for long, for minutes the first two: last, they would leave the other one idle.
LONGEST = (
    "test_runner_v2.py", "test_real_model.py",
    "test_figure_looks.py", "test_hostile.py", "test_report.py", "test_api.py", "test_figures.py", "test_commands.py",
    "test_verdict.py", "test_plot.py", "test_write.py", "test_real_data.py", "test_cli.py", "test_verl_plugin.py",
    "test_tools.py", "test_serve.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


def pytest_terminal_summary(terminalreporter):
    for folder, missing in MISSING.items():
        terminalreporter.write_line(
            f"NOT RUN: tests/{folder}, as {', '.join(missing)} is not installed: make test, or pip install it",
            yellow=True,
        )


# In the background of a script Ctrl-C is ignored, and so it would be in all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def toy_agent(tmp_path_factory):
    """The toy agent's directory."""
    from arpo_entropy_recorder.rollout.toy_agent import build_toy_agent

    return build_toy_agent(tmp_path_factory.mktemp("toy_agent"))


@pytest.fixture(scope="session")
def plugged_in(tmp_path_factory):
    """A folder whose metadata announces the plug-in as an installed package's do."""
    from package_metadata import announce_recorder

    folder = tmp_path_factory.mktemp("installed")
    announce_recorder(folder)
    return folder


@pytest.fixture(scope="session")
def llm(toy_agent):
    """The one engine of this process: a start takes tens of seconds on a CPU."""
    from engines import start_engine

    return start_engine(toy_agent)


@pytest.fixture(scope="session")
def oracle(toy_agent):
    """What transformers says of the toy agent."""
    from engines import Oracle

    return Oracle(toy_agent)


@pytest.fixture(scope="session")
def arpo_root():
    """The ARPO clone named by ARPO_ROOT; none of its code is kept here."""
    if not os.environ.get("ARPO_ROOT"):
        pytest.skip("ARPO_ROOT names no ARPO clone: make test-arpo ARPO_ROOT=path/to/ARPO")
    root = Path(os.environ["ARPO_ROOT"]).resolve()
    if not root.is_dir():
        pytest.fail(f"ARPO_ROOT={root} is not a directory")
    return root
