"""An engine that steps in another process, as `LLM` starts it by default: reached by extension or by pickle."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from engines import KIND

PROGRAM = Path(__file__).parents[1] / "helpers" / "other_process.py"
KEYS = ("sample_idx", "prompt_idx", "parent_idx", "round", "tool", "is_after_tool_call")

pytestmark = pytest.mark.skipif(
    KIND != "v1", reason="the V0 engine steps in this process; V2 is like V1 here"
)


@pytest.fixture(scope="module", params=["extension", "pickle"])
def recorded(request, toy_agent, tmp_path_factory):
    """What the program recorded, and its report."""
    out = tmp_path_factory.mktemp(request.param)
    command = [sys.executable, str(PROGRAM), str(toy_agent), str(out), request.param]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads((out / "report.json").read_text())
    assert report["client"] == "SyncMPClient"
    return out, report


def test_records_come_back_from_another_process(recorded, oracle):
    out, report = recorded
    assert not report["history"], "the buffer is beside the logits, so this process has none"
    for step in ("1", "2"):
        records = json.loads((out / f"entropy_step_{step}.json").read_text())
        assert [[entry[key] for key in KEYS] for entry in records] == [
            [segment[key] for key in KEYS] for segment in report[step]
        ]
        assert any(entry["is_after_tool_call"] for entry in records)
        for entry, segment in zip(records, report[step], strict=True):
            expected = oracle.window_nats(segment["context"], segment["tokens"][:2], 0.8)
            assert [e * oracle.norm for e in entry["window"]] == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("recorded", ["pickle"], indirect=True)
def test_without_either_the_one_error_says_what_to_do(recorded):
    error = recorded[1]["error"]
    assert error.count("\n") == 0
    assert error.startswith("entropy recorder: the engine runs in another process; ")
    for remedy in ("VLLM_ENABLE_V1_MULTIPROCESSING=0", "worker_extension_cls=", "ARPO_ENTROPY_DISABLE=1"):
        assert remedy in error
