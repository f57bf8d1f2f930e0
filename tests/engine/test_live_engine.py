"""AsyncLLM, as servers and verl use it, with the plug-in found by vLLM itself: helpers/live_engine.py's report."""

import pytest
from engines import KIND
from live_engine import start, worst_difference

pytestmark = pytest.mark.skipif(
    KIND != "v1", reason="an engine of the recent vLLM in a process of its own; V2's is test_live_tap.py's"
)


@pytest.fixture(scope="module")
def report(toy_agent, plugged_in, tmp_path_factory):
    return start(toy_agent, tmp_path_factory.mktemp("live"), plugged_in)


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


def test_the_engine_writes_no_file_and_logs_no_mark(report):
    assert report["written"] == []
    for request in report["recorded"]:
        assert request["key"] not in report["log"]
