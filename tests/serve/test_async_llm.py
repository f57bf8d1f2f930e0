"""An AsyncLLM in a program of its own: token prompts, each kind of output, one request id for all."""

import pytest
from served_agents import matched, recorded, worst_difference
from served_async_llm import start


@pytest.mark.parametrize("kind", ["v1", pytest.param("v2", marks=pytest.mark.faults)])
def test_token_prompts_are_linked_and_exact(served_toy, served_oracle, plugged_in, tmp_path, kind):
    report = start(served_toy, tmp_path, plugged_in, kind)
    turns = dict(enumerate(report["turns"]))
    trajectories = recorded(tmp_path / "entropies")
    found = matched(turns, trajectories)
    assert len(found) == len(trajectories) == 12 + 2 * 2
    worst = worst_difference(turns, trajectories, found, *served_oracle)
    print(f"{sum(map(len, turns.values()))} turns, largest difference {worst:.1e} nats")
    assert worst < 1e-4
    for records in trajectories.values():
        assert [record["is_after_tool_call"] for record in records] == [False, True][: len(records)]
    status = report["status"]
    (worker,) = status["values"]["workers"]
    # vllm.v1.worker.cpu.model_runner, where runner V1 is in cpu_model_runner.
    assert (".model_runner." in worker["runner"]) == (kind == "v2")
    assert (status["failures"], status["nulls"], status["linked_by"]["resumed"]) == (0, 0, 2)
