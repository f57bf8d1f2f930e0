"""AsyncLLM, as servers and verl use it, with the plug-in found by vLLM itself: helpers/live_engine.py's report."""

import pytest
from engines import KIND
from live_engine import start, worst_difference

from arpo_entropy_recorder.live.job import new_token
from arpo_entropy_recorder.live.mark import MARK, new_mark
from arpo_entropy_recorder.live.redact import redact_marks

pytestmark = pytest.mark.skipif(
    KIND != "v1", reason="an engine of the recent vLLM in a process of its own; V2's is test_live_tap.py's"
)


@pytest.fixture(scope="module")
def report(toy_agent, plugged_in, tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    return start(toy_agent, folder, plugged_in) | {"traces": (folder / "traces").read_bytes()}


def test_every_request_of_many_at_once_is_recorded(report, oracle):
    requests = report["recorded"]
    assert len(requests) == 48
    assert worst_difference(requests, oracle) < 1e-4


def test_an_aborted_request_goes_on_under_a_key_of_its_own(report):
    aborted = [request for request in report["recorded"] if request["aborted"]]
    assert len(aborted) == 12
    # How many tokens arrive with the one that ends a request depends on how busy the machine is.
    assert all(len(request["tokens"]) >= 2 for request in aborted)
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


def test_the_engine_writes_no_file(report):
    assert report["written"] == []


def test_neither_log_nor_traces_show_a_mark(report):
    assert report["log"].count("params: SamplingParams(") == 72
    log, traces = report["log"], report["traces"]
    for request in report["recorded"]:
        # Each is logged, and traced unless it is aborted; else this would say nothing.
        assert f"Received request {request['name']}: " in log
        assert request["aborted"] or request["name"].encode() in traces
        for secret in (request["key"], request["code"], report["token"]):
            assert secret not in log
            assert secret.encode() not in traces


def test_a_dump_of_a_failed_step_shows_no_mark(monkeypatch):
    from vllm import SamplingParams
    from vllm.logging_utils.dump_input import prepare_object_to_dump
    from vllm.v1.core.sched.output import NewRequestData

    monkeypatch.setattr(SamplingParams, "__repr__", SamplingParams.__repr__)
    key, mark = new_mark(new_token())
    params = SamplingParams(temperature=0.25, extra_args={MARK: mark, "other": 7})
    request = NewRequestData("name", [1], [], params, None, ([],), 0, None)
    assert key in prepare_object_to_dump([request])
    redact_marks()
    dumped = prepare_object_to_dump([request])
    assert "temperature=0.25" in dumped
    assert "extra_args={'other': 7}" in dumped
    assert key not in dumped
    assert mark[1] not in dumped
    assert params.extra_args[MARK] == mark
