"""Recording verl's real agent loop, against a stand-in for its vLLM server: `make test-verl`.

For each version a job of two training steps and a validation runs once (tests/helpers/verl_job.py). What must be
recorded is told by what the loop gave back: of each row the policy's tokens by the response mask, and between them
the results. VERL_VERSIONS=0.9.1,0.8.0 chooses versions; all but 0.9.1 lie in .venv-verl/verl-VERSION.
"""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="no Ray: make test-verl")
pytest.importorskip("verl", reason="no verl: make test-verl")
from verl_books import by_trajectory, pairs, turns
from verl_job import INSTALLED

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = os.environ.get("VERL_VERSIONS", INSTALLED).split(",")


def run_job(path, model, version=INSTALLED, environment=(), **options):
    """(what the loop gave back, records by file name, all that was printed) of one job."""
    options |= {"out": str(path), "model": str(model)}
    entropies = path / "entropies"
    own = [str(ROOT), str(ROOT / "tests" / "helpers")]
    if version != INSTALLED:
        place = Path(sys.prefix) / f"verl-{version}"
        assert place.is_dir(), f"no verl {version} in {place}: scripts/lay_verl.sh {version}"
        own.insert(0, str(place))
    env = {
        **{
            k: v for k, v in os.environ.items() if not k.startswith(("ARPO_ENTROPY", "VERL_", "VLLM_PLUGINS"))
        },
        "PYTHONPATH": os.pathsep.join(own),
        "ARPO_ENTROPY_DIR": str(entropies),
        "VERL_USE_EXTERNAL_MODULES": "arpo_entropy_recorder.verl",
        "OMP_NUM_THREADS": "1",
        **dict(environment),
    }
    result = subprocess.run(
        [sys.executable, str(ROOT / "tests/helpers/verl_job.py"), json.dumps(options)],
        env=env, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    said = result.stdout + result.stderr
    assert result.returncode == 0, said[-6000:]
    records = {file.name: json.loads(file.read_text()) for file in entropies.glob("entropy_*step*.json")}
    return json.loads((path / "books.json").read_text()), records, said


@pytest.fixture(scope="session", params=VERSIONS)
def job(request, toy_agent, tmp_path_factory):
    return run_job(
        tmp_path_factory.mktemp("job"),
        toy_agent,
        request.param,
        {"ARPO_ENTROPY_TOKENS": "on", "ARPO_ENTROPY_WINDOW": "3"},
        window=3,
    )


def test_every_turn_of_every_trajectory_is_recorded(job):
    books, records, _ = job
    assert sorted(records) == ["entropy_step_1.json", "entropy_step_2.json", "entropy_validate_step_2.json"]
    assert len(list(pairs(job[0]["rows"], job[1]))) == len(books["rows"]) == 16
    assert max(record["round"] for record in records["entropy_step_1.json"]) >= 2


def test_entropies_are_those_of_the_tokens(job):
    from verl_stand_in import nats_of

    vocabulary = None
    for row, trajectory in pairs(job[0]["rows"], job[1]):
        for (before, tokens), record in zip(turns(row), trajectory, strict=True):
            expected = [nats_of(before + tokens[:position]) for position in range(min(3, len(tokens)))]
            scale = expected[0] / record["entropy"]
            vocabulary = vocabulary or scale
            assert scale == pytest.approx(vocabulary, rel=1e-4)
            assert record["window"] == pytest.approx([nats / scale for nats in expected], rel=1e-4)
            assert record["token_id"] == tokens[0]
    assert vocabulary == pytest.approx(math.log(269), rel=1e-4)


def test_rounds_and_tools_are_those_of_the_calls(job, toy_agent):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(toy_agent)
    names = set()
    for row, trajectory in pairs(job[0]["rows"], job[1]):
        calls = None
        for number, ((_, tokens), record) in enumerate(zip(turns(row), trajectory, strict=True)):
            assert record["round"] == number
            assert record["is_after_tool_call"] == (number > 0)
            # verl's loop makes one call of a turn (max_parallel_calls = 1).
            assert record.get("tools") == (calls[:1] if number else None)
            assert record["tool"] == (calls[0] if number else None)
            names.add(record["tool"])
            calls = [name for name, _ in re.findall(r"<(search|python)>(.*?)</", tokenizer.decode(tokens))]
    assert names == {None, "search", "python"}


def test_groups_steps_and_versions_are_verls(job):
    groups = {}
    for row, trajectory in pairs(job[0]["rows"], job[1]):
        records = list(trajectory)
        assert {record["global_step"] for record in records} == {row["step"]}
        # Steps 1 and 2 are written by the policies of versions 0 and 1; verl 0.6 does not tell.
        policy = row["step"] - 1 if job[0]["version"] >= [0, 7] else None
        assert {record.get("policy_step") for record in records} == {policy}
        assert len({record["prompt"] for record in records}) == 1
        groups.setdefault((row["step"], row["validate"], tuple(row["prompt"])), set()).add(
            records[0]["prompt_idx"]
        )
    assert all(len(found) == 1 for found in groups.values())
    assert len(groups) == 9


def test_padding_of_a_validation_is_marked(job):
    _, records, _ = job
    flags = [
        trajectory[0].get("padding", False)
        for trajectory in by_trajectory(records["entropy_validate_step_2.json"])
    ]
    assert flags == [False, False, False, True]


def test_metrics_are_added_to_the_trainers_log(job):
    books, records, _ = job
    for step in ("1", "2"):
        logged = books["logged"][step]
        values = [r["entropy"] for r in records[f"entropy_step_{step}.json"] if r["is_after_tool_call"]]
        assert logged["loss"] == 0.5
        assert logged["entropy/after_tool/mean"] == pytest.approx(sum(values) / len(values))
        assert "entropy/null" not in logged
        assert "entropy/recorder_failures" not in logged


def test_settings_are_handed_on_and_the_token_is_not(job):
    books, _, said = job
    assert "ARPO_ENTROPY_DIR" in books["handed_on"]
    assert "ARPO_ENTROPY_JOB" not in books["handed_on"]
    assert "Traceback" not in said.replace('Traceback (most recent call last):\n  File "<string>"', "")


def test_aborted_and_resumed_requests_are_one_segment(toy_agent, tmp_path):
    books, records, _ = run_job(
        tmp_path,
        toy_agent,
        environment={"ARPO_ENTROPY_TOKENS": "on", "ARPO_ENTROPY_WINDOW": "3"},
        window=3,
        aborts=0.3,
    )
    assert books["server"]["aborted"] >= 3
    job = books, records, ""
    assert len(list(pairs(job[0]["rows"], job[1]))) == len(books["rows"])
    test_entropies_are_those_of_the_tokens(job)
    assert all(r["entropy"] is not None for rows in records.values() for r in rows)


@pytest.fixture(scope="module", params=["transfer_queue", "fully_async"])
def asynchronous(request, toy_agent, tmp_path_factory):
    """The job as verl 0.9.1's asynchronous trainers have it: aborted requests go on."""
    environment = {"ARPO_ENTROPY_TOKENS": "on", "ARPO_ENTROPY_WINDOW": "3"}
    folder = tmp_path_factory.mktemp("asynchronous")
    return run_job(folder, toy_agent, INSTALLED, environment, window=3, aborts=0.3, trainer=request.param)


def test_asynchronous_trainers_are_recorded_whole(asynchronous, toy_agent):
    books, records, _ = asynchronous
    assert books["server"]["aborted"] >= 3
    test_entropies_are_those_of_the_tokens(asynchronous)
    test_rounds_and_tools_are_those_of_the_calls(asynchronous, toy_agent)
    assert all(r["entropy"] is not None for rows in records.values() for r in rows)
    assert not any(r.get("unsure") for rows in records.values() for r in rows)


def test_asynchronous_trainers_have_steps_and_metrics(asynchronous):
    books, records, _ = asynchronous
    assert sorted(records) == ["entropy_step_1.json", "entropy_step_2.json", "entropy_validate_step_2.json"]
    # A step's policy is the one that the step before it made.
    for step in (1, 2):
        rows = records[f"entropy_step_{step}.json"]
        assert {r["policy_step"] for r in rows} == {step - 1}
        values = [r["entropy"] for r in rows if r["round"] == 0]
        assert books["logged"][str(step)]["entropy/initial/mean"] == pytest.approx(sum(values) / len(values))


def test_only_copies_in_a_validation_are_padding(asynchronous):
    books, records, _ = asynchronous
    flags = [t[0].get("padding", False) for t in by_trajectory(records["entropy_validate_step_2.json"])]
    # Two trajectories of each of three prompts, or one and a copy.
    assert flags in ([False] * 6, [False, False, False, True])
    assert len(flags) == sum(row["validate"] for row in books["rows"])


def test_lost_collector_costs_records_and_one_line(toy_agent, tmp_path):
    secret = "XYZZYPLUGH"
    books, records, said = run_job(tmp_path, toy_agent, kill=2, secret=secret)
    assert set(records) == {"entropy_step_1.json"}
    assert books["logged"]["2"] == {"training/global_step": 2, "loss": 0.5}
    assert said.count("the collector does not answer") == 1
    # Nothing of what was read or written is in a file: no text, and no ids.
    for file in (tmp_path / "entropies").rglob("*"):
        assert secret.encode() not in file.read_bytes(), file
    keys = {key for rows in records.values() for record in rows for key in record}
    assert not keys & {"tokens", "token_id"}
    assert secret not in "".join(line for line in said.splitlines() if "entropy recorder" in line)


def test_values_that_never_come_are_null(toy_agent, tmp_path):
    books, records, said = run_job(tmp_path, toy_agent, silent=True)
    assert {r["entropy"] for rows in records.values() for r in rows} == {None}
    assert said.count("no engine's worker has reported") == 1
    assert books["logged"]["1"]["entropy/null"] == len(records["entropy_step_1.json"])


def test_switched_off_nothing_is_marked(toy_agent, tmp_path):
    books, records, _ = run_job(tmp_path, toy_agent, environment={"ARPO_ENTROPY_DISABLE": "1"})
    assert records == {}
    assert books["server"]["marked"] == 0
    assert "extra_args" not in books["server"]["params"]
    assert books["logged"]["1"] == {"training/global_step": 1, "loss": 0.5}


def test_other_engines_are_refused_in_one_line(toy_agent, tmp_path):
    books, records, said = run_job(tmp_path, toy_agent, overrides=["actor_rollout_ref.rollout.name=sglang"])
    assert records == {}
    assert books["server"]["marked"] == 0
    assert "rollouts by sglang are not recorded, only those by vllm" in said
