"""A mask that the V0 engine leaves in SamplingParams, call after call, is kept once; all else is as before."""

import inspect
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from engines import KIND, make_prompts, make_rollout
from hypothesis import given
from hypothesis import strategies as st

from arpo_entropy_recorder.mixin import record_entropy
from arpo_entropy_recorder.recorder.v0_speedups import MaskSpeedup, drop_repeated_masks
from arpo_entropy_recorder.rollout.loop import ToolRollout

needs_v0 = pytest.mark.skipif(KIND != "v0", reason="the V0 engine of ARPO's pins: make test-pinned")


@pytest.fixture
def mask_class():
    """vLLM's own where it has one; else a class of its contract."""
    if KIND == "v0":
        from vllm.entrypoints.openai.logits_processors import AllowedTokenIdsLogitsProcessor

        yield AllowedTokenIdsLogitsProcessor
        return

    class AllowedTokenIdsLogitsProcessor:
        def __init__(self, allowed_ids):
            self.allowed_ids = list(allowed_ids)

        def __call__(self, token_ids, logits):
            mask = torch.ones_like(logits, dtype=torch.bool)
            mask[self.allowed_ids] = False
            return logits.masked_fill_(mask, float("-inf"))

    name = "vllm.entrypoints.openai.logits_processors"
    module = ModuleType(name)
    module.AllowedTokenIdsLogitsProcessor = AllowedTokenIdsLogitsProcessor
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, name, module)
        yield AllowedTokenIdsLogitsProcessor


def test_any_list_of_processors_gives_the_same_logits_without_its_repeats(mask_class):
    masks = [mask_class([0, 2, 3]), mask_class([1, 2, 3])]

    def refill(token_ids, logits):
        return logits.nan_to_num(neginf=-1.0)

    def double(token_ids, logits):
        return logits * 2

    @given(st.lists(st.sampled_from([*masks, refill, double]), max_size=8))
    def check(processors):
        params = SimpleNamespace(logits_processors=list(processors))
        drop_repeated_masks(params)
        results = []
        for chosen in (processors, params.logits_processors):
            logits = torch.arange(5.0) - 2
            for processor in chosen:
                logits = processor([], logits)
            results.append(logits)
        assert torch.equal(*results)
        pairs = zip(params.logits_processors, params.logits_processors[1:], strict=False)
        assert not any(one is other and one in masks for one, other in pairs)
        # What is no mask may be meant to be there twice.
        assert [p for p in params.logits_processors if p not in masks] == [
            p for p in processors if p not in masks
        ]

    check()


def test_a_mask_is_asked_for_its_signature_once(mask_class):
    mask = mask_class([0, 2, 3])
    expected = inspect.signature(mask)
    for _ in range(2):
        drop_repeated_masks(SimpleNamespace(logits_processors=[mask]))
        # What the engine does before each use of it.
        assert inspect.signature(mask) == expected == mask.__signature__
    assert mask([], torch.zeros(5)).isinf().tolist() == [False, True, False, False, True]


def test_no_processors_are_no_reason_to_fail(mask_class):
    for processors in (None, []):
        params = SimpleNamespace(logits_processors=processors)
        drop_repeated_masks(params)
        assert params.logits_processors == processors


def test_an_engine_that_builds_no_processors_is_left_alone():
    for engine in (SimpleNamespace(), None):
        with MaskSpeedup().active(SimpleNamespace(llm_engine=engine)):
            assert engine is None or vars(engine) == {}


def test_a_wrapper_that_an_interrupt_left_comes_off_at_the_next_call():
    engine = SimpleNamespace(_build_logits_processors=lambda params: params)
    stock, masks = engine._build_logits_processors, MaskSpeedup()
    for _ in range(2):
        interrupted = masks.active(SimpleNamespace(llm_engine=engine))
        interrupted.__enter__()
        assert engine._build_logits_processors.__wrapped__ is stock
    with masks.active(SimpleNamespace(llm_engine=engine)):
        pass
    assert engine._build_logits_processors is stock


class MaskingRollout(ToolRollout):
    """Keeps one SamplingParams for good and sets `allowed_token_ids` in every call, as ARPO's loop does."""

    def _generate(self, active, sampling_params):
        from vllm import SamplingParams

        if not hasattr(self, "kept"):
            self.kept = SamplingParams()
        self.kept.allowed_token_ids = list(self.tokenizer.get_vocab().values())
        for name in ("max_tokens", "temperature", "stop", "seed"):
            setattr(self.kept, name, getattr(sampling_params, name))
        return super()._generate(active, self.kept)


@needs_v0
def test_a_loop_that_masks_in_every_call_generates_the_same_with_one_mask(llm, tmp_path):
    def run(cls):
        rollout = make_rollout(cls, llm, llm.get_tokenizer(), tmp_path)
        responses = []
        for seed in range(3):
            torch.manual_seed(seed)
            prompts = make_prompts(llm.get_tokenizer(), ["Who wrote it?", "Why?"])
            responses.append(rollout.generate_sequences(prompts).responses)
        return responses, len(rollout.kept.logits_processors)

    stock, piled_up = run(MaskingRollout)
    recorded, kept = run(record_entropy(MaskingRollout))
    assert recorded == stock
    assert piled_up > 3
    assert kept == 1
    assert "_build_logits_processors" not in vars(llm.llm_engine)
