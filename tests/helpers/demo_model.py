"""Where the demo's real model lies, and the mark of the tests that need it."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"
MODEL = MODELS / "SmolLM2-135M-Instruct-Q4_1"

needs_model = pytest.mark.skipif(not MODEL.is_dir(), reason=f"NO REAL MODEL in {MODELS}: run make model")
