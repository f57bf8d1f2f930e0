"""What tests of several files share."""

import os
import signal
from pathlib import Path

import pytest

# In the background of a script Ctrl-C is ignored, and so it would be in all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def toy_agent(tmp_path_factory):
    """The toy agent's directory."""
    from arpo_entropy_recorder.rollout.toy_agent import build_toy_agent

    return build_toy_agent(tmp_path_factory.mktemp("toy_agent"))


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
