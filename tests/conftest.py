"""What tests of several files share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def arpo_root():
    """The ARPO clone named by ARPO_ROOT; none of its code is kept here."""
    if not os.environ.get("ARPO_ROOT"):
        pytest.skip("ARPO_ROOT names no ARPO clone: make test-arpo ARPO_ROOT=path/to/ARPO")
    root = Path(os.environ["ARPO_ROOT"]).resolve()
    if not root.is_dir():
        pytest.fail(f"ARPO_ROOT={root} is not a directory")
    return root
