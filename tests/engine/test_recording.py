"""What is recorded from a real vLLM engine: entropies against transformers, lineage against the loop itself."""

import json
import math

import numpy as np
import pytest
import torch
from engines import KIND, ToolRollout, make_prompts, make_rollout

from arpo_entropy_recorder.mixin import record_entropy
from arpo_entropy_recorder.rollout import sampling

TEXTS = (
    "Who wrote it?",
    "How many?",
    "Where is the longest river of them all, and which way does it flow?",
    "Why?",
)
# Under Triton's interpreter a step takes tens of milliseconds: the same cases on fewer and shorter trajectories.
SMALL = {"response_length": 48, "n": 2, "initial_rollouts": 1, "segment_length": 24} if KIND == "v2" else {}


def record(llm, oracle, directory, texts=TEXTS, meta_info=(), sampling=None, **config):
    rollout = make_rollout(record_entropy(ToolRollout), llm, oracle.tokenizer, directory, **(SMALL | config))
    torch.manual_seed(0)
    meta_info = dict(meta_info) or {"global_steps": 1}
    output = rollout.generate_sequences(
        make_prompts(oracle.tokenizer, texts, **meta_info), **(sampling or {})
    )
    (path,) = directory.glob("entropy_*step_*.json")
    return rollout, output, json.loads(path.read_text())


def check_entropies(records, segments, oracle, temperature, window):
    for entry, segment in zip(records, segments, strict=True):
        expected = oracle.window_nats(segment.context, segment.tokens[:window], temperature)
        found = entry.get("window", [entry["entropy"]])
        assert found[0] == entry["entropy"]
        assert [value * oracle.norm for value in found] == pytest.approx(expected.tolist(), abs=1e-4)
        assert all(0 <= value <= 1 for value in found)


def check_lineage(records, segments):
    keys = ("sample_idx", "prompt_idx", "parent_idx", "round", "tool", "is_after_tool_call")
    found = [tuple(entry[key] for key in keys) for entry in records]
    assert found == [tuple(getattr(segment, key) for key in keys) for segment in segments]
    assert [entry["token_id"] for entry in records] == [segment.tokens[0] for segment in segments]


@pytest.mark.parametrize(("temperature", "window"), [(1.0, 1), (0.7, 4)])
def test_every_record_equals_the_forward_pass_and_the_loops_own_books(
    llm, oracle, tmp_path, temperature, window
):
    rollout, _, records = record(
        llm,
        oracle,
        tmp_path,
        **({"segment_length": 40, "temperature": temperature, "entropy_window": window} | SMALL),
    )
    check_lineage(records, rollout.segments)
    check_entropies(records, rollout.segments, oracle, temperature, window)
    # The case holds what it claims to: results, failures, branches, restarts, continuations, queueing.
    assert any(entry["is_after_tool_call"] for entry in records)
    assert len(records) > llm.llm_engine.vllm_config.scheduler_config.max_num_seqs
    if KIND != "v2":
        assert {entry["tool"] for entry in records} == {None, "search", "python"}
        assert any(entry["round"] > 0 and not entry["is_after_tool_call"] for entry in records)
        assert any(entry["parent_idx"] is not None for entry in records)
        assert rollout.metrics["tools/failed_calls"] > 0


def test_a_greedy_call_counts_as_temperature_one_and_is_marked(llm, oracle, tmp_path):
    rollout, _, records = record(
        llm, oracle, tmp_path, meta_info={"global_steps": 3, "do_sample": False}, entropy_window=2
    )
    check_lineage(records, rollout.segments)
    check_entropies(records, rollout.segments, oracle, 1.0, 2)
    assert {entry["do_sample"] for entry in records} == {False}


def test_top_p_top_k_and_min_p_come_after_what_is_recorded(llm, oracle, tmp_path):
    # Top-k and top-p of the second model runner are kernels that Triton's interpreter cannot run.
    options = {"min_p": 0.05} | ({} if KIND == "v2" else {"top_p": 0.8, "top_k": 5})
    rollout, _, records = record(llm, oracle, tmp_path, temperature=0.9, texts=TEXTS[:2], **options)
    check_entropies(records, rollout.segments, oracle, 0.9, 1)


def test_outputs_are_the_same_with_and_without_the_recorder(llm, oracle, tmp_path):
    def outputs(cls, **config):
        llm.reset_prefix_cache()
        # The V2 model runner draws each request's seed from numpy's generator.
        torch.manual_seed(1)
        np.random.seed(1)
        rollout = make_rollout(cls, llm, oracle.tokenizer, tmp_path, **(SMALL | config))
        return rollout.generate_sequences(make_prompts(oracle.tokenizer, TEXTS[:3], global_steps=1)).responses

    stock = outputs(ToolRollout)
    assert outputs(record_entropy(ToolRollout), entropy_window=3) == stock
    assert outputs(ToolRollout) == stock


@pytest.mark.skipif(
    KIND == "v0", reason="a bias is the mask of model runner V2 alone; V0 bounds biases to 100"
)
def test_a_bias_masks_as_allowed_ids_do(llm, oracle, tmp_path, monkeypatch):
    def run(name):
        llm.reset_prefix_cache()
        # The V2 model runner draws each request's seed from numpy's generator.
        np.random.seed(1)
        (tmp_path / name).mkdir()
        rollout, output, records = record(llm, oracle, tmp_path / name, texts=TEXTS[:2])
        return list(rollout._mask), output.responses, [entry["entropy"] for entry in records]

    listed = run("listed")
    monkeypatch.setattr(sampling, "MAX_V2_IDS", len(oracle.allowed) - 1)
    monkeypatch.setattr(sampling, "_has_runner_v2", lambda engine: True)
    biased = run("biased")
    assert (listed[0], biased[0]) == (["allowed_token_ids"], ["logit_bias"])
    assert biased[1:] == listed[1:]


@pytest.mark.skipif(KIND == "v0", reason="the V0 engine's blocks cannot be made few enough on a CPU")
def test_preempted_requests_are_recorded_once_and_right(llm, oracle, tmp_path, monkeypatch):
    engine_core = llm.llm_engine.engine_core.engine_core
    preempted = []
    stock = type(engine_core.scheduler)._preempt_request

    def counting(self, request, *args, **kwargs):
        preempted.append(request.request_id)
        return stock(self, request, *args, **kwargs)

    monkeypatch.setattr(type(engine_core.scheduler), "_preempt_request", counting)
    # Four sequences of 300 tokens over 24 blocks of 32.
    texts = ["tell me " * 20 + str(i) for i in range(6)]
    rollout, _, records = record(
        llm,
        oracle,
        tmp_path,
        texts=texts,
        sampling={"ignore_eos": True, "stop": []},
        n=1,
        response_length=140,
        entropy_window=30,
    )
    assert preempted
    check_lineage(records, rollout.segments)
    check_entropies(records, rollout.segments, oracle, 1.0, 30)


def test_nothing_is_left_behind_in_the_engine(llm, oracle, tmp_path):
    def instance_attributes():
        runner = llm.collective_rpc(lambda worker: worker.model_runner)[0]
        sampler = getattr(runner, "sampler", None) or runner.model.sampler
        states = getattr(sampler, "sampling_states", None)
        hooks = len(getattr(sampler, "_forward_pre_hooks", ()))
        return set(vars(llm)), set(vars(sampler)), set(vars(states)) if states else None, hooks

    before = instance_attributes()
    record(llm, oracle, tmp_path, texts=TEXTS[:1])
    assert instance_attributes() == before


def test_an_error_of_the_loop_passes_through_and_leaves_no_wrapper(llm, oracle, tmp_path):
    class Failing(ToolRollout):
        def _advance(self, trajectory, completion):
            raise KeyboardInterrupt

    rollout = make_rollout(record_entropy(Failing), llm, oracle.tokenizer, tmp_path, **SMALL)
    before = set(vars(llm))
    with pytest.raises(KeyboardInterrupt):
        rollout.generate_sequences(make_prompts(oracle.tokenizer, TEXTS[:1], global_steps=1))
    assert set(vars(llm)) == before
    assert rollout.arpo_entropy_recorder.entropy_history.size == 0


def test_a_row_of_nan_is_null_and_warned_about_once(llm, oracle, tmp_path, caplog, monkeypatch):
    model = llm.collective_rpc(lambda worker: worker.model_runner.model)[0]
    stock = model.compute_logits

    def spoilt(*args, **kwargs):
        logits = stock(*args, **kwargs)
        logits[:, 3] = math.nan
        return logits

    monkeypatch.setattr(model, "compute_logits", spoilt, raising=False)
    _, _, records = record(llm, oracle, tmp_path, texts=TEXTS[:2], response_length=4)
    assert {entry["entropy"] for entry in records} == {None}
    assert sum("are null" in message for message in caplog.messages) == 1


def test_metrics_reach_meta_info(llm, oracle, tmp_path):
    _, output, records = record(llm, oracle, tmp_path)
    after = [entry["entropy"] for entry in records if entry["is_after_tool_call"]]
    first = {entry["sample_idx"]: entry for entry in reversed(records)}.values()
    initial = [
        entry["entropy"]
        for entry in first
        if entry["round"] == 0 and not entry["is_after_tool_call"] and entry["parent_idx"] is None
    ]
    metrics = output.meta_info["metrics"]
    assert metrics["entropy/after_tool/mean"] == pytest.approx(sum(after) / len(after))
    assert metrics["entropy/initial/mean"] == pytest.approx(sum(initial) / len(initial))
    assert metrics["entropy/after_tool/share_above_0.6"] == pytest.approx(
        sum(e > 0.6 for e in after) / len(after)
    )
    assert metrics["tools/total_calls"] > 0


def test_without_global_steps_training_calls_are_counted_and_it_is_said_once(llm, oracle, tmp_path, caplog):
    rollout = make_rollout(record_entropy(ToolRollout), llm, oracle.tokenizer, tmp_path, **SMALL)
    for meta_info in ({}, {"do_sample": False}, {}, {"validate": True}):
        rollout.generate_sequences(make_prompts(oracle.tokenizer, TEXTS[:1], **meta_info))
    assert sorted(path.name for path in tmp_path.glob("entropy_*step_*.json")) == [
        "entropy_step_1.json",
        "entropy_step_2.json",
        "entropy_validate_step_2.json",
    ]
    assert [entry["call"] for entry in json.loads((tmp_path / "entropy_step_1.json").read_text())][-1] == 1
    assert sum("training calls are counted" in message for message in caplog.messages) == 1


def test_steps_that_wait_for_their_directory_show_in_the_metrics(llm, oracle):
    rollout = make_rollout(
        record_entropy(ToolRollout), llm, oracle.tokenizer, "/proc/no/such/directory", **SMALL
    )
    metrics = {}
    for step in (1, 2):
        prompts = make_prompts(oracle.tokenizer, TEXTS[:1], global_steps=step)
        metrics = rollout.generate_sequences(prompts).meta_info["metrics"]
    assert metrics["entropy/pending_steps"] == 2
    assert "entropy/dropped_steps" not in metrics


def test_a_greedy_baselines_metrics_are_those_of_its_steps_sampled_call(llm, oracle, tmp_path):
    """REMAX's trainer asserts so. A greedy call that no sampled one of its step came before has none."""
    rollout = make_rollout(record_entropy(ToolRollout), llm, oracle.tokenizer, tmp_path, **SMALL)

    def metrics(step, **meta_info):
        prompts = make_prompts(oracle.tokenizer, TEXTS[:1], global_steps=step, **meta_info)
        found = rollout.generate_sequences(prompts).meta_info["metrics"]
        return {name: value for name, value in found.items() if name.startswith("entropy/")}

    rollout.arpo_entropy_recorder.boundary.failures = 2
    assert metrics(None, do_sample=False) == {"entropy/recorder_failures": 2}
    rollout.arpo_entropy_recorder.boundary.failures = 0
    assert metrics(1, do_sample=False) == {}
    sampled = metrics(2)
    validation = metrics(2, do_sample=False, validate=True)
    assert metrics(2, do_sample=False) == sampled != validation
    assert sampled
    assert validation
    assert metrics(3, do_sample=False) == {}


def test_record_tokens_keeps_the_segments(llm, oracle, tmp_path):
    rollout, _, records = record(llm, oracle, tmp_path, texts=TEXTS[:1], record_tokens=True)
    assert [entry["tokens"] for entry in records] == [segment.tokens for segment in rollout.segments]


def test_off_means_no_recorder_at_all(llm, oracle, tmp_path):
    rollout = make_rollout(
        record_entropy(ToolRollout), llm, oracle.tokenizer, tmp_path, entropy_recorder="off"
    )
    assert rollout.arpo_entropy_recorder is None


def test_a_class_that_records_already_is_returned_as_it_is():
    recording = record_entropy(ToolRollout)
    assert record_entropy(recording) is recording
    assert recording.__name__ == "ToolRollout"


def test_a_rollout_within_anothers_call_on_one_engine_does_not_take_its_numbers(llm, oracle, tmp_path):
    inner = make_rollout(
        record_entropy(ToolRollout), llm, oracle.tokenizer, tmp_path / "inner", entropy_strict=False, **SMALL
    )

    class Outer(ToolRollout):
        nested = False

        def _advance(self, trajectory, completion):
            if not self.nested:
                self.nested = True
                inner.generate_sequences(make_prompts(oracle.tokenizer, TEXTS[1:2], global_steps=1))
            return super()._advance(trajectory, completion)

    outer = make_rollout(record_entropy(Outer), llm, oracle.tokenizer, tmp_path / "outer", **SMALL)
    outer.generate_sequences(make_prompts(oracle.tokenizer, TEXTS[:1], global_steps=1))
    records = json.loads((tmp_path / "outer" / "entropy_step_1.json").read_text())
    # What the inner rollout generates is seen too, as trajectories that answer no row of the outer batch.
    assert any(entry["prompt_idx"] is None for entry in records)
    own = [entry for entry in records if entry["prompt_idx"] is not None]
    assert [entry["tool"] for entry in own] == [segment.tool for segment in outer.segments]
    check_entropies(own, outer.segments, oracle, 1.0, 1)
    assert inner.arpo_entropy_recorder.failures == 1
    assert not list((tmp_path / "inner").glob("entropy_*step_*.json"))
