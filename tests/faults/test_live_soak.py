"""A server's long run: thousands of requests come and go, and neither the collector nor the worker grows."""

import json
import os
from pathlib import Path

import pytest
from engines import KIND
from own_process import BOUNDED, environment_with, run_alone
from summary_line import Summary

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(KIND != "v1", reason="an engine of the recent vLLM in a process of its own"),
]
ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "helpers" / "live_soak.py"
REQUESTS = int(os.environ.get("ARPO_SOAK_REQUESTS", "5000"))
GROWTH_MB = 20.0


def test_thousands_of_requests_leave_nothing_behind(toy_agent, plugged_in, tmp_path, capsys):
    environment = environment_with(plugged_in, **BOUNDED)
    run_alone(PROGRAM, [toy_agent, tmp_path, REQUESTS], environment, 2400)
    report = json.loads((tmp_path / "soak.json").read_text())
    status = report["status"]
    warm = [sizes for so_far, *sizes in report["memory"] if so_far >= REQUESTS // 5]
    growth = [max(after) - before for before, after in zip(warm[0], zip(*warm, strict=True), strict=True)]
    summary = Summary("live soak", attempts=REQUESTS, survivors=report["served"], expected=report["served"])
    summary.found = report["recorded"]
    grown = f"collector {growth[0]:+.1f} MB, worker {growth[1]:+.1f} MB"
    summary.note = f"; {report['seconds']:.0f} s, {grown}, lost {status['lost']}"
    summary.show(capsys)
    assert report["recorded"] + status["values_missing"] == report["served"]
    assert status["values_missing"] == sum(status["lost"].values())
    assert max(growth) < GROWTH_MB
