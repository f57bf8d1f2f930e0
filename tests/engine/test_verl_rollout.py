"""Without an ARPO clone: verl's own DataProto and rollout base class, as PyPI has them, around our tool loop."""

import importlib.util
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from engines import ToolRollout, make_prompts, make_rollout
from hypothesis import given, settings
from hypothesis import strategies as st

from arpo_entropy_recorder.mixin import record_entropy
from arpo_entropy_recorder.recorder.batch import Batch

if importlib.util.find_spec("verl") is None:
    pytest.skip("verl is not installed here, so it was NOT tried: make test-pinned", allow_module_level=True)

from verl import DataProto
from verl.protocol import pad_dataproto_to_divisor, unpad_dataproto
from verl.workers.rollout.base import BaseRollout

PATCH = Path(__file__).resolve().parents[2] / "patches" / "verl_arpo_entropy.patch"
(VALIDATION_LINE,) = re.findall(r"(?m)^\+ +(test_gen_batch_padded\..*)$", PATCH.read_text())
PAD = 0
TEXTS = ("Who wrote it?", "Where is the longest river of them all?", "Why?")


def proto(batch, **meta_info):
    """A DataProto of a `Prompts` batch, with what a trainer hands to a rollout beside the ids."""
    ids = batch.batch["input_ids"]
    return DataProto.from_dict({"input_ids": ids, "attention_mask": (ids != PAD).long()}, meta_info=meta_info)


def padded_by_the_trainer(rows, world_size):
    """`rows` as the patched trainer pads them, and the padding's size."""
    # What `_validate` calls these objects, since the patch's own line is run on them.
    test_gen_batch = proto(SimpleNamespace(batch={"input_ids": torch.tensor(rows)}), validate=True)
    self = SimpleNamespace(global_steps=12)
    test_gen_batch_padded, pad_size = pad_dataproto_to_divisor(test_gen_batch, world_size)
    exec(VALIDATION_LINE, {}, locals())
    return test_gen_batch_padded, pad_size


def dispatched(batch, dp_size, tp_size):
    """What each data-parallel rank is given: a chunk a process, gathered again in each tensor-parallel group."""
    chunks = batch.chunk(dp_size * tp_size)
    return [DataProto.concat(chunks[d * tp_size : (d + 1) * tp_size]) for d in range(dp_size)]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 3))
def test_padding_of_a_validation_is_told_from_its_rows_on_every_rank(num_rows, dp_size, tp_size):
    # Each row is of one token, its own number, so what is real can be told from what repeats it.
    padded, pad_size = padded_by_the_trainer([[1 + i] for i in range(num_rows)], dp_size * tp_size)
    real, repeated = [], []
    for rank, prompts in enumerate(dispatched(padded, dp_size, tp_size)):
        view = Batch(prompts, PAD, rank, dp_size)
        assert (view.global_step, view.validate) == (12, True)
        numbers = prompts.batch["input_ids"][:, 0]
        is_padding = view.is_padding(np.arange(len(prompts)))
        real += numbers[torch.from_numpy(~is_padding)].tolist()
        repeated += numbers[torch.from_numpy(is_padding)].tolist()
    assert real == [1 + i for i in range(num_rows)]
    assert len(repeated) == pad_size


def test_the_trainer_gets_its_rows_back_though_the_batch_says_that_it_is_padded():
    padded, pad_size = padded_by_the_trainer([[1], [2], [3], [4], [5]], 4)
    # A rollout answers with a copy of the meta_info that it was given; workers answer chunk by chunk.
    outputs = [
        DataProto.from_dict({"responses": chunk.batch["input_ids"] * 10}, meta_info=dict(chunk.meta_info))
        for chunk in padded.chunk(4)
    ]
    output = unpad_dataproto(DataProto.concat(outputs), pad_size=pad_size)
    test_batch = DataProto.from_dict({"labels": torch.arange(5)})
    united = test_batch.union(output)
    assert united.batch["responses"].flatten().tolist() == [10, 20, 30, 40, 50]
    assert united.batch["labels"].tolist() == [0, 1, 2, 3, 4]


class VerlToolRollout(ToolRollout, BaseRollout):
    """Our loop as a worker of verl holds it: made with keywords, DataProto in and out."""

    def __init__(self, *args, device_mesh=None, **kwargs):
        super().__init__(*args, **kwargs)

    def generate_sequences(self, prompts, **kwargs):
        rollout = super().generate_sequences(prompts, **kwargs)
        length = max(map(len, rollout.responses))
        responses = torch.full((len(rollout.responses), length), PAD)
        for row, response in zip(responses, rollout.responses, strict=True):
            row[: len(response)] = torch.tensor(response)
        return DataProto.from_dict(
            {"responses": responses}, meta_info=dict(prompts.meta_info) | rollout.meta_info
        )


def recorded(path, call=0):
    return [entry for entry in json.loads(path.read_text()) if entry["call"] == call]


def check(records, segments, oracle, temperature):
    """Lineage as the loop's own books have it, entropies as transformers computes them."""
    keys = ("sample_idx", "prompt_idx", "parent_idx", "round", "tool", "is_after_tool_call")
    assert [[entry[key] for key in keys] for entry in records] == [
        [getattr(segment, key) for key in keys] for segment in segments
    ]
    for entry, segment in zip(records, segments, strict=True):
        expected = oracle.window_nats(segment.context, segment.tokens[:2], temperature)
        assert [e * oracle.norm for e in entry["window"]] == pytest.approx(expected.tolist(), abs=1e-4)


def test_training_greedy_and_validation_calls_of_a_rollout_of_verl(llm, oracle, tmp_path):
    from omegaconf import OmegaConf

    def config(**options):
        return OmegaConf.create(options | {"entropy_save_dir": str(tmp_path), "entropy_window": 2})

    rollout = make_rollout(record_entropy(VerlToolRollout), llm, oracle.tokenizer, tmp_path)
    assert isinstance(rollout, BaseRollout)
    rollout.config = config(n=3, initial_rollouts=2, beam_size=2, temperature=0.8, response_length=96)
    rollout.arpo_entropy_recorder.settings = rollout.arpo_entropy_recorder.settings.read(rollout.config)
    prompts = make_prompts(oracle.tokenizer, TEXTS)

    segments, outputs = {}, {}
    for kind, meta_info in {
        "train": {"global_steps": 5},
        "greedy": {"global_steps": 5, "do_sample": False},
        "validate": {"global_steps": 5, "validate": True, "pad_size": 1},
    }.items():
        torch.manual_seed(3)
        output = rollout.generate_sequences(proto(prompts, **meta_info))
        segments[kind] = rollout.segments
        assert "entropy/initial/mean" in output.meta_info["metrics"]
        outputs[kind] = output.meta_info["metrics"]
        assert len(output) == len(rollout.trajectories)

    ours = {
        kind: {name: value for name, value in metrics.items() if name.startswith("entropy/")}
        for kind, metrics in outputs.items()
    }

    # The trainer of a REMAX baseline unites both outputs: verl's union asserts that what both have is equal.
    def logged(metrics):
        return proto(prompts, metrics=metrics)

    logged(ours["greedy"]).union(logged(ours["train"]))
    with pytest.raises(AssertionError):
        logged({}).union(logged(ours["train"]))

    step, validation = tmp_path / "entropy_step_5.json", tmp_path / "entropy_validate_step_5.json"
    assert sorted(tmp_path.glob("entropy_*step_*.json")) == [step, validation]
    train, greedy, validate = recorded(step, 0), recorded(step, 1), recorded(validation)
    check(train, segments["train"], oracle, 0.8)
    check(greedy, segments["greedy"], oracle, 1.0)
    check(validate, segments["validate"], oracle, 0.8)
    assert any(entry["is_after_tool_call"] for entry in train)
    assert [{entry.get("do_sample") for entry in records} for records in (train, greedy, validate)] == [
        {None}, {False}, {None}
    ]  # fmt: skip
    assert [entry.get("padding", False) for entry in validate] == [e["prompt_idx"] == 2 for e in validate]
    assert not any("padding" in entry for entry in train + greedy)
