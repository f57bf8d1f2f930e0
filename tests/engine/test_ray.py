"""Four actors of a Ray cluster on this machine as the ranks of a rollout: what verl's workers are."""

import importlib.util
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

if importlib.util.find_spec("ray") is None:
    pytest.skip("ray is not installed here, so it was NOT tried: make test-pinned", allow_module_level=True)

DP_SIZE, TP_SIZE = 2, 2
WINDOW = 2


@pytest.fixture(scope="module")
def recorded(toy_agent, tmp_path_factory):
    """Where the environment told the actors to record, and their reports."""
    import ray
    from ray_worker import Worker

    out = tmp_path_factory.mktemp("ray")
    sockets = tempfile.mkdtemp(prefix="ray")  # their paths have to be short
    with pytest.MonkeyPatch.context() as environment:
        # Set before the cluster starts, as a launch script does; nothing is handed to the actors themselves.
        environment.setenv("ARPO_ENTROPY_DIR", str(out / "from the environment"))
        environment.setenv("ARPO_ENTROPY_WINDOW", str(WINDOW))
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("OMP_NUM_THREADS", "1")
        environment.setenv(
            "PYTHONPATH",
            os.pathsep.join([str(Path(__file__).parents[1] / "helpers"), os.environ.get("PYTHONPATH", "")]),
        )
        ray.init(
            num_cpus=DP_SIZE * TP_SIZE,
            include_dashboard=False,
            log_to_driver=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=sockets,
        )
        try:
            worker = ray.remote(Worker).options(num_cpus=1)
            workers = [
                worker.remote(rank, str(toy_agent), DP_SIZE, TP_SIZE) for rank in range(DP_SIZE * TP_SIZE)
            ]
            reports = ray.get([worker.record.remote(out) for worker in workers], timeout=900)
        finally:
            ray.shutdown()
            shutil.rmtree(sockets, ignore_errors=True)
    return out, reports


def test_actors_record_into_the_one_directory_that_the_environment_names(recorded):
    out, reports = recorded
    assert not (out / "steps").exists()
    names = sorted(path.name for path in (out / "from the environment").glob("[!.]*"))
    assert names == ["entropy_run.json", "entropy_step_1.json", "entropy_step_2.json"]
    assert [report["records"] for report in reports] == [report["tp_rank"] == 0 for report in reports]


@pytest.mark.parametrize("step", [1, 2])
def test_a_steps_file_holds_what_every_actors_loop_did(recorded, oracle, step):
    out, reports = recorded
    records = json.loads((out / "from the environment" / f"entropy_step_{step}.json").read_text())
    expected = [
        (report["dp_rank"], segment)
        for report in sorted(reports, key=lambda report: report["dp_rank"])
        if report["tp_rank"] == 0
        for segment in report["segments"][step - 1]
    ]
    keys = ("sample_idx", "prompt_idx", "round", "tool")
    assert [(entry["dp_rank"], *(entry[key] for key in keys)) for entry in records] == [
        (dp_rank, *(segment[key] for key in keys)) for dp_rank, segment in expected
    ]
    for entry, (_, segment) in zip(records, expected, strict=True):
        nats = oracle.window_nats(segment["context"], segment["tokens"][:WINDOW], 1.0)
        assert [e * oracle.norm for e in entry["window"]] == pytest.approx(nats.tolist(), abs=1e-4)
