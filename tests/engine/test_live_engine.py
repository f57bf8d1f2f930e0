"""AsyncLLM, as servers and verl use it, with the plug-in found by vLLM itself: helpers/live_engine.py's report."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from engines import KIND

PROGRAM = Path(__file__).parents[1] / "helpers" / "live_engine.py"
ROOT = Path(__file__).parents[2]
WINDOW = 4

pytestmark = pytest.mark.skipif(
    KIND != "v1", reason="an engine of the recent vLLM in a process of its own; V2's is test_live_tap.py's"
)


@pytest.fixture(scope="module")
def report(toy_agent, plugged_in, tmp_path_factory):
    out = tmp_path_factory.mktemp("live")
    path = os.pathsep.join([str(ROOT), str(plugged_in), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(PROGRAM), str(toy_agent), str(out)]
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((out / "report.json").read_text()) | {"log": done.stdout + done.stderr}


def worst_difference(requests, oracle):
    """The largest difference from a transformers forward pass in nats; each value is there."""
    worst = 0.0
    for request in requests:
        prompt, tokens, nats = request["prompt"], request["tokens"][:WINDOW], request["nats"]
        assert len(nats) == len(tokens)
        with torch.no_grad():
            logits = oracle.model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        log_p = torch.log_softmax(logits.double() / (request["temperature"] or 1.0), -1)
        right = -(log_p.exp() * log_p).sum(-1)
        worst = max([worst, *(abs(a - b) for a, b in zip(nats, right.tolist(), strict=True))])
    return worst


def test_every_request_of_many_at_once_is_recorded(report, oracle):
    requests = report["recorded"]
    assert len(requests) == 48
    assert worst_difference(requests, oracle) < 1e-4


def test_an_aborted_request_goes_on_under_a_key_of_its_own(report):
    aborted = [request for request in report["recorded"] if len(request["tokens"]) <= 3]
    assert len(aborted) == 12
    assert len({request["key"] for request in report["recorded"]}) == 48


def test_without_a_collector_requests_are_served(report):
    assert len(report["without_collector"]) == 12
    assert all(request["tokens"] for request in report["without_collector"])


def test_a_new_collector_gets_what_comes_after(report, oracle):
    assert worst_difference(report["afterwards"], oracle) < 1e-4


def test_the_collector_knows_the_worker(report):
    (worker,) = report["status"]["workers"]
    assert worker["runner"].endswith("ModelRunner")
    assert worker["refused"] is None


def test_the_engine_writes_no_file_and_logs_no_mark(report):
    assert report["written"] == []
    for request in report["recorded"]:
        assert request["key"] not in report["log"]
