"""Four processes as the ranks of a rollout: who writes, and what their one file holds, whenever it is read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from arpo_entropy_recorder.step_files.read import read_steps

PROGRAM = Path(__file__).parents[1] / "helpers" / "parallel_ranks.py"
KEYS = ("sample_idx", "prompt_idx", "parent_idx", "round", "tool", "is_after_tool_call")


MESHES = ("2x2", "4x1")


@pytest.fixture(scope="module")
def recorded(toy_agent, tmp_path_factory):
    """The directory that the ranks of both meshes recorded into, from the one engine that was started."""
    out = tmp_path_factory.mktemp("ranks")
    # OpenMP's threads do not survive a fork, so the engine has none beside its own.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "0"}
    command = [sys.executable, str(PROGRAM), str(toy_agent), str(out), *MESHES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.fixture(params=MESHES)
def ranks(request, recorded):
    """A mesh's directory, and the reports of its four ranks."""
    out = recorded / request.param
    return out, [json.loads(path.read_text()) for path in sorted(out.glob("rank*.json"))]


def recording(reports):
    """The reports of the ranks that record, by data-parallel rank."""
    return {report["dp_rank"]: report for report in reports if report["tp_rank"] == 0}


def test_one_rank_of_a_tensor_parallel_group_records(ranks):
    _, reports = ranks
    assert len(reports) == 4
    assert [report["records"] for report in reports] == [report["tp_rank"] == 0 for report in reports]
    first = recording(reports)
    assert all(report["segments"] == first[report["dp_rank"]]["segments"] for report in reports)


def test_the_one_file_of_a_step_holds_every_record_of_every_rank(ranks, oracle):
    out, reports = ranks
    names = sorted(path.name for path in (out / "after").iterdir())
    assert names == ["entropy_run.json", "entropy_step_1.json", "entropy_step_2.json"]
    for step in (1, 2):
        records = json.loads((out / "after" / f"entropy_step_{step}.json").read_text())
        expected = [
            (dp_rank, segment)
            for dp_rank, report in sorted(recording(reports).items())
            for segment in report["segments"][step - 1]
        ]
        assert [(entry["dp_rank"], *(entry[key] for key in KEYS)) for entry in records] == [
            (dp_rank, *(segment[key] for key in KEYS)) for dp_rank, segment in expected
        ]
        for entry, (_, segment) in zip(records, expected, strict=True):
            (nats,) = oracle.window_nats(segment["context"], segment["tokens"][:1], 1.0)
            assert entry["entropy"] * oracle.norm == pytest.approx(nats, abs=1e-4)


def test_the_reader_gives_the_same_before_during_and_after_a_join(ranks):
    out, _ = ranks

    def step_1(name):
        (step,) = [step for step in read_steps([out / name]) if step.global_step == 1]
        return {key: column.tolist() for key, column in step.columns.items()}

    for name, shards, whole in (("before", True, False), ("during", True, True), ("after", False, True)):
        assert bool(list((out / name).glob("entropy_step_1.dp*.json"))) == shards
        assert (out / name / "entropy_step_1.json").exists() == whole
    assert step_1("before") == step_1("during") == step_1("after")
