"""AsyncLLM with several workers: which of them record, and that every value is right."""

import pytest
from engines import KIND, Oracle
from live_engine import start, worst_difference

from arpo_entropy_recorder.rollout.toy_agent import build_toy_agent

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(KIND != "v1", reason="an engine of the recent vLLM in processes of its own"),
]


@pytest.fixture(scope="module")
def even_agent(tmp_path_factory):
    """A toy agent with an even number of heads, which two workers can share."""
    return build_toy_agent(tmp_path_factory.mktemp("even"), vocab_multiple=128)


@pytest.mark.parametrize(
    ("options", "workers"), [({"tensor_parallel_size": 2}, 1), ({"data_parallel_size": 2}, 2)], ids=str
)
def test_every_value_is_right_with_several_workers(even_agent, plugged_in, tmp_path, options, workers):
    report = start(even_agent, tmp_path, plugged_in, options, VLLM_CPU_OMP_THREADS_BIND="0|1")
    assert len(report["status"]["workers"]) == workers
    oracle = Oracle(even_agent)
    for phase in ("recorded", "afterwards"):
        assert worst_difference(report[phase], oracle) < 1e-4
