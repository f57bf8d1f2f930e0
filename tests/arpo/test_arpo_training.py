"""ARPO's own trainer, launched by its own script, trains as without us and leaves the files that the README promises.

Two data-parallel workers of a Ray cluster, FSDP, vLLM's V0 engine, optimizer steps, validation, checkpoints: all of
it is ARPO's, on a CPU (trainer_on_cpu says what stands in for a GPU). Needs a clone: ARPO_ROOT=path/to/ARPO.
"""

import filecmp
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from arpo_training import BATCH, GPUS, QUESTIONS, SCRIPTS, N, dumped, metrics, prepare, saved, train
from engines import Oracle

pytestmark = pytest.mark.arpo
ROOT = Path(__file__).resolve().parents[2]
FILES = ["entropy_step_1.json", "entropy_step_2.json", "entropy_validate_step_2.json"]
MEASURED = re.compile(r"^(timing_|perf/|entropy/|tools/.*time)")
"""Metrics that no two runs share, and our own."""


@pytest.fixture(scope="module", params=SCRIPTS)
def variant(request, arpo_root):
    if not (arpo_root / request.param / "scripts" / SCRIPTS[request.param][0]).is_file():
        pytest.skip(f"{arpo_root} has no launch scripts of {request.param}: its trainer was NOT tried")
    return request.param


@pytest.fixture(scope="module")
def prepared(arpo_root, variant, toy_agent, tmp_path_factory):
    """Makes a directory to train in."""
    return lambda name, script=SCRIPTS[variant][0]: prepare(
        arpo_root, variant, script, toy_agent, tmp_path_factory.mktemp(name)
    )


@pytest.fixture(scope="module")
def stock(prepared):
    """Two steps without us."""
    work = prepared("stock")
    return work, train(work, steps=2)


@pytest.fixture(scope="module")
def recorded(prepared):
    """Two steps by the README's lines."""
    work = prepared("recorded")
    patch(work)
    return work, train(work, steps=2, **recording(work))


def patch(work):
    subprocess.run([ROOT / "scripts" / "apply_patch.sh", "clone"], cwd=work, check=True)


def recording(work):
    return {"ARPO_ENTROPY_DIR": str(work / "entropy"), "ARPO_ENTROPY_STRICT": "1"}


def records_of(work, name):
    return json.loads((work / "entropy" / name).read_text())


def trajectories(records):
    return {(record["dp_rank"], record["sample_idx"]) for record in records}


def arpo_entropy(work, *arguments):
    done = subprocess.run(
        [Path(sys.executable).parent / "arpo-entropy", *arguments], cwd=work, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_training_goes_exactly_as_without_the_recorder(stock, recorded):
    import torch

    (before, before_log), (after, after_log) = stock, recorded
    for step in (1, 2):
        assert dumped(after, step) == dumped(before, step)
        kept = [
            {name: value for name, value in metrics(log)[step].items() if not MEASURED.match(name)}
            for log in (before_log, after_log)
        ]
        assert len(kept[0]) > 40
        assert kept[1] == kept[0]
    for rank in range(GPUS):
        name = f"global_step_2/actor/model_world_size_{GPUS}_rank_{rank}.pt"
        weights = [torch.load(saved(work, name), weights_only=False) for work in (before, after)]
        for key, tensor in weights[0].items():
            assert torch.equal(weights[1][key].to_local(), tensor.to_local())


def test_there_is_one_file_a_step_and_nothing_else(recorded):
    work, _ = recorded
    assert sorted(path.name for path in (work / "entropy").glob("[!.]*")) == ["entropy_run.json", *FILES]
    for step in (1, 2):
        records = records_of(work, f"entropy_step_{step}.json")
        assert {record["global_step"] for record in records} == {step}
        assert {record["dp_rank"] for record in records} == set(range(GPUS))
        assert len(trajectories(records)) == BATCH * N


def test_every_entropy_is_that_of_a_forward_pass_over_a_trajectory_the_trainer_dumped(recorded, toy_agent):
    """Of the first step, whose weights are the toy agent's: they went through FSDP into vLLM to get there."""
    work, _ = recorded
    oracle = Oracle(toy_agent)
    expected = []
    for row in dumped(work, 1):
        (question,) = (q for q in QUESTIONS if f"\n{q}\n" in row["input"])
        messages = [{"role": "user", "content": question}]
        prompt = oracle.tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        output = row["output"]
        starts = [0, *(match.end() for match in re.finditer("</result>", output))]
        for round_, start in enumerate(start for start in starts if start < len(output)):
            context = prompt + oracle.tokenizer.encode(output[:start])
            first = oracle.tokenizer.encode(output[start:])[0]
            (nats,) = oracle.window_nats(context, [first], 1.0)
            expected.append((round_, first, nats / oracle.norm))
    found = [
        (record["round"], record["token_id"], record["entropy"])
        for record in records_of(work, "entropy_step_1.json")
    ]

    def is_among(one, others):
        return any(one[:2] == other[:2] and abs(one[2] - other[2]) * oracle.norm < 1e-4 for other in others)

    # As sets: what is dumped of a branch has its parent's segments too.
    assert [one for one in expected if not is_among(one, found)] == []
    assert [one for one in found if not is_among(one, expected)] == []
    assert max(round_ for round_, _, _ in found) >= 3


def test_the_console_has_the_metrics_of_the_first_workers_records(recorded):
    work, log = recorded
    for step in (1, 2):
        records = [r for r in records_of(work, f"entropy_step_{step}.json") if r["dp_rank"] == 0]
        for name, chosen in (
            ("entropy/after_tool/mean", [r["entropy"] for r in records if r["is_after_tool_call"]]),
            ("entropy/round_2/mean", [r["entropy"] for r in records if r["round"] == 2]),
        ):
            assert float(metrics(log)[step][name]) == pytest.approx(sum(chosen) / len(chosen), abs=6e-4)
        assert not [name for name in metrics(log)[step] if name.startswith("entropy/recorder_failures")]


def test_validation_has_a_file_of_its_own_with_the_padding_row_marked(recorded):
    work, _ = recorded
    records = records_of(work, "entropy_validate_step_2.json")
    rows = {(record["dp_rank"], record["prompt_idx"], record.get("padding", False)) for record in records}
    # Three prompts are padded to four for two workers.
    assert rows == {(0, 0, False), (0, 1, False), (1, 0, False), (1, 1, True)}


def test_the_figure_is_made_from_the_files_and_from_the_console_log(recorded):
    work, _ = recorded
    arpo_entropy(work, "plot", "entropy")
    arpo_entropy(work, "plot", "--log_file", str(saved(work, "run.log")), "--output", "from_log.png")
    for name in ("entropy_increase.png", "from_log.png"):
        assert (work / name).stat().st_size > 10_000
    arpo_entropy(work, "stats", "entropy")


def test_a_resumed_training_goes_on_in_the_same_directory(recorded):
    work, _ = recorded
    before = {name: (work / "entropy" / name).read_bytes() for name in FILES}
    train(work, steps=3, **recording(work))
    assert {name: (work / "entropy" / name).read_bytes() for name in FILES} == before
    records = records_of(work, "entropy_step_3.json")
    assert {(record["global_step"], record["run"]) for record in records} == {(3, 1)}
    assert len(trajectories(records)) == BATCH * N


def test_without_a_patch_the_external_lib_records_the_same(prepared, recorded):
    work = prepared("external_lib")
    external = "actor_rollout_ref.model.external_lib=arpo_entropy_recorder.verl"
    train(work, steps=2, options=f"{external} +actor_rollout_ref.rollout.entropy_save_dir={work}/entropy")
    for name in FILES[:2]:
        assert filecmp.cmp(work / "entropy" / name, recorded[0] / "entropy" / name, shallow=False)


def test_the_other_launch_scripts_record_too(variant, prepared):
    for script in SCRIPTS[variant][1:]:
        work = prepared("another_script", script)
        patch(work)
        train(work, steps=1, **recording(work))
        assert len(trajectories(records_of(work, FILES[0]))) == BATCH * N
