"""benchmarks/gpu.py keeps what each part gave, whatever becomes of the others; the parts themselves need a GPU."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def gpu(monkeypatch):
    torch = ModuleType("torch")
    torch.cuda = SimpleNamespace(is_available=lambda: True, get_device_name=lambda: "a card")
    torch.__version__ = "2"
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu

    return gpu


def test_a_part_that_fails_or_hangs_takes_nothing_from_the_others(gpu, tmp_path, monkeypatch, capsys):
    parts = [
        gpu.Part("first", 60, ["-c", "print('| a row | 1 |')"]),
        gpu.Part("failing", 60, ["-c", "print('| half | 2 |'); raise SystemExit(3)"]),
        gpu.Part("hanging", 1, ["-c", "import time; print('begun', flush=True); time.sleep(60)"]),
        gpu.Part("lacking", 60, ["-c", ""], ("no_such_module",)),
        gpu.Part("last", 60, ["-c", "import os; print('| of', os.environ['PART'], '|')"], (), {"PART": "3"}),
    ]
    monkeypatch.setattr(gpu, "parts", lambda: parts)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(tmp_path)])
    assert gpu.main() == 2
    rows = (tmp_path / "rows.md").read_text()
    assert [row for row in rows.splitlines() if row.startswith("|")] == [
        "| a row | 1 |",
        "| half | 2 |",
        "| of 3 |",
    ]
    assert "a card" in rows
    assert "failing: FAILED with status 3" in rows
    assert "hanging: FAILED: not done after 1 s" in rows
    assert "lacking: not run: no no_such_module" in rows
    assert (tmp_path / "hanging.txt").read_text() == "begun\n"
    assert capsys.readouterr().out.count("\n") == 5


def test_every_file_that_a_part_names_is_there(gpu):
    for part in gpu.parts():
        for word in part.words:
            if word.endswith(".py"):
                assert (ROOT / word).is_file()
