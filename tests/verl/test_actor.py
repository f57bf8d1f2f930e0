"""The collector as a real Ray actor: made by whoever comes first, found by all, and lost without harm."""

import os
import stat
from pathlib import Path

import pytest
import ray

from arpo_entropy_recorder.live.job import COLLECTOR, JOB
from arpo_entropy_recorder.live.status import read_status
from arpo_entropy_recorder.live.trajectory import Request, Segment, Trajectory
from arpo_entropy_recorder.live.verl import actor
from arpo_entropy_recorder.live.verl.actor import NAME, TRAINER, Membership
from arpo_entropy_recorder.step_files.names import STATUS_FILE


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory):
    directory = tmp_path_factory.mktemp("entropies")
    environment = {"ARPO_ENTROPY_DIR": str(directory), "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    ray.init(
        num_cpus=2, num_gpus=0, include_dashboard=False, object_store_memory=80_000_000,
        runtime_env={"env_vars": environment}, logging_level="ERROR",
    )  # fmt: skip
    yield directory
    ray.shutdown()


def one(step):
    return Trajectory(
        step, False, "g", vocab_size=9, segments=[Segment(0, requests=[Request("00" * 16, 2, 0)])]
    )


def test_a_collector_that_does_not_start_in_time_is_one_line(monkeypatch, caplog):
    monkeypatch.setattr(actor, "JOIN_TIMEOUT_S", 0.001)
    member = Membership()
    with caplog.at_level("WARNING"):
        assert [member.join(), member.join()] == [False, False]
    (record,) = caplog.records
    assert "has not started within 0.001 s" in record.getMessage()


def test_processes_of_a_job_share_one_collector(cluster, monkeypatch, caplog):
    first, second = Membership(), Membership()
    assert first.join()
    assert second.join()
    assert (first.job.token, first.job.address) == (second.job.token, second.job.address)
    folder = Path(first.job.address.removeprefix("ipc://")).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    monkeypatch.setenv(JOB, "")
    monkeypatch.setenv(COLLECTOR, "")
    second.enter_environment()
    assert os.environ[JOB] == first.job.token.hex()
    # Losing it, last: this is the only cluster.
    first.tell("add", one(1))
    metrics = second.ask("finish", 1, True)
    assert metrics["entropy/null"] == 1
    assert (cluster / "entropy_step_1.json").exists()
    status, _ = read_status(cluster)
    assert [(process.pid, process.role) for process in status.processes] == [(os.getpid(), TRAINER)]
    assert (status.counts["records"], status.counts["nulls"], status.ended) == (1, 1, False)
    assert "no engine's worker has reported" in status.cause
    assert first.job.token.hex() not in (cluster / STATUS_FILE).read_text()
    ray.kill(ray.get_actor(NAME))
    with caplog.at_level("WARNING"):
        assert first.ask("finish", 2, True) is None
        assert first.ask("finish", 3, True) is None
        first.tell("add", one(3))
    (record,) = caplog.records
    assert "the collector does not answer; records are lost and training goes on" in record.getMessage()
    assert first.job.token.hex() not in caplog.text
