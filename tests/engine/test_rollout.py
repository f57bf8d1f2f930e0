"""The tool loop, on an engine that plays the toy agent's chain: any n, branching, limits, failing tools."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("vllm")

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rollout.loop import Prompts, ToolRollout
from arpo_entropy_recorder.rollout.prompts import pad_left
from arpo_entropy_recorder.rollout.toy_agent import token_ids, transition_table

IDS = token_ids()
NAMES = list(IDS)
PROBABILITIES = np.where(transition_table() > np.log(1e-3), np.exp(transition_table()), 0.0)
CUMULATIVE = np.cumsum(PROBABILITIES / PROBABILITIES.sum(1, keepdims=True), axis=1)


class Tokenizer:
    """The toy agent's tokenizer for ASCII: a character or a tag a token."""

    pad_token_id = IDS["<|endoftext|>"]

    def get_vocab(self):
        return IDS

    def encode(self, text, add_special_tokens=True):
        tokens = []
        while text:
            name = next((name for name in NAMES[256:] if text.startswith(name)), text[0])
            tokens.append(IDS[name])
            text = text[len(name) :]
        return tokens

    def decode(self, tokens):
        return "".join(NAMES[token] for token in tokens)


class ChainEngine:
    """Plays the chain with a generator of its own, or by a request's seed where it has one."""

    def __init__(self, max_model_len=4000):
        # With a token more than the tokenizer has.
        config = SimpleNamespace(max_model_len=max_model_len, get_vocab_size=lambda: max(IDS.values()) + 2)
        self.llm_engine = SimpleNamespace(model_config=config)
        self.rng = random.Random(0)
        self.passed = []

    def generate(self, prompts, sampling_params, use_tqdm):
        assert not use_tqdm
        lists = [prompt["prompt_token_ids"] for prompt in prompts]
        self.passed.append(lists)
        many = sampling_params if isinstance(sampling_params, list) else [sampling_params] * len(lists)
        assert len(many) == len(lists)
        return [
            SimpleNamespace(outputs=[self.complete(*request)]) for request in zip(lists, many, strict=True)
        ]

    def complete(self, tokens, params):
        assert params.n == 1
        assert sorted(params.allowed_token_ids) == sorted(IDS.values())
        rng = self.rng if params.seed is None else random.Random(params.seed)
        generated, last = [], tokens[-1]
        for _ in range(params.max_tokens):
            last = int(np.searchsorted(CUMULATIVE[last], rng.random(), side="right"))
            generated.append(last)
            if NAMES[last] in params.stop:
                return SimpleNamespace(token_ids=generated, finish_reason="stop", stop_reason=NAMES[last])
            if NAMES[last] == "<|im_end|>":
                return SimpleNamespace(token_ids=generated, finish_reason="stop", stop_reason=None)
        return SimpleNamespace(token_ids=generated, finish_reason="length", stop_reason=None)


class ListEngine(ChainEngine):
    """Takes token lists as vLLM did before 0.10."""

    def generate(self, prompts=None, sampling_params=None, prompt_token_ids=None, use_tqdm=True):
        assert prompts is None
        return super().generate(
            [{"prompt_token_ids": ids} for ids in prompt_token_ids], sampling_params, use_tqdm
        )


def moody(content):
    """Answers, fails, times out or says nothing, by the content."""
    kind = sum(map(ord, content)) % 4
    if kind == 0:
        raise ValueError("not today")
    if kind == 1:
        raise TimeoutError
    return "" if kind == 2 else f"about {content}"


TOOLS = {"search": moody, "python": lambda code: str(len(code))}
TEXTS = ["first\n", "the second prompt\n", "3\n"]


def make(engine=None, tools=TOOLS, **config):
    return ToolRollout(engine or ChainEngine(), Tokenizer(), config, tools)


def batch_of(rollout, texts=TEXTS, **meta_info):
    rows = pad_left([rollout.tokenizer.encode(text) for text in texts], rollout.tokenizer.pad_token_id)
    return Prompts({"input_ids": rows}, meta_info)


CONFIGS = st.fixed_dictionaries(
    {
        "n": st.integers(1, 6),
        "initial_rollouts": st.integers(1, 6),
        "beam_size": st.integers(1, 4),
        "branch_probability": st.sampled_from([0.0, 0.3, 1.0]),
        "max_tool_calls": st.integers(0, 4),
        "response_length": st.integers(1, 200),
        "segment_length": st.sampled_from([None, 1, 7, 40]),
        "seed": st.sampled_from([None, 0, 1]),
    }
)


@settings(max_examples=40, deadline=None)
@given(CONFIGS)
def test_what_the_loop_says_of_a_segment_is_what_its_text_says(config):
    rollout = make(**config)
    rollout.generate_sequences(batch_of(rollout))
    for segment in rollout.segments:
        prompt = TEXTS[segment.prompt_idx]
        text = rollout.tokenizer.decode(segment.context)
        assert text.startswith(prompt)
        response = text[len(prompt) :]
        assert segment.round == response.count("</result>") <= config["max_tool_calls"]
        assert segment.is_after_tool_call == response.endswith("</result>")
        called = response.rpartition(" <result>")[0]
        tool = next((t for t in TOOLS if called.endswith(f"</{t}>")), None)
        assert segment.tool == (tool if segment.is_after_tool_call else None)


@settings(max_examples=40, deadline=None)
@given(CONFIGS)
def test_every_prompt_gets_n_responses_whose_masked_tokens_the_policy_wrote(config):
    rollout = make(**config)
    output = rollout.generate_sequences(batch_of(rollout))
    assert output.prompt_idx == sorted([0, 1, 2] * config["n"])
    for response, mask, text in zip(output.responses, output.loss_masks, output.texts, strict=True):
        assert len(response) == len(mask) <= config["response_length"]
        assert text == rollout.tokenizer.decode(response)
    for trajectory in rollout.trajectories:
        response = trajectory.tokens[trajectory.prompt_length :]
        written = [token for token, mask in zip(response, trajectory.loss_mask, strict=True) if mask]
        line, oldest = [], trajectory.sample_idx
        while oldest is not None:  # a branch's own segments, before them its parent's at that time
            own = [s for s in rollout.segments if s.sample_idx == oldest]
            line = [s for s in own if not line or len(s.context) < len(line[0].context)] + line
            oldest = rollout.trajectories[oldest].parent_idx
        assert written == [token for segment in line for token in segment.tokens]


@settings(max_examples=30, deadline=None)
@given(CONFIGS)
def test_a_branch_starts_with_all_that_its_parent_had(config):
    rollout = make(**config)
    rollout.generate_sequences(batch_of(rollout))
    for trajectory in rollout.trajectories:
        first = next(s for s in rollout.segments if s.sample_idx == trajectory.sample_idx)
        assert first.parent_idx == trajectory.parent_idx
        if trajectory.parent_idx is None:
            assert rollout.tokenizer.decode(first.context) == TEXTS[trajectory.prompt_idx]
            continue
        parent = rollout.trajectories[trajectory.parent_idx]
        assert trajectory.parent_idx < trajectory.sample_idx
        assert parent.prompt_idx == trajectory.prompt_idx
        assert parent.tokens[: len(first.context)] == first.context
        assert trajectory.tokens is not parent.tokens


def test_branches_and_restarts_both_happen():
    rollout = make(n=6, initial_rollouts=1, beam_size=2, seed=0, response_length=300)
    rollout.generate_sequences(batch_of(rollout))
    parents = [trajectory.parent_idx for trajectory in rollout.trajectories]
    assert any(parent is not None for parent in parents)
    assert sum(parent is None for parent in parents) > len(TEXTS)


def test_a_trajectory_is_one_list_object_from_round_to_round():
    for engine in (ChainEngine(), ListEngine()):
        rollout = make(engine, n=3, initial_rollouts=1, beam_size=2, seed=3)
        rollout.generate_sequences(batch_of(rollout))
        own = {id(trajectory.tokens): trajectory.sample_idx for trajectory in rollout.trajectories}
        first_seen = list(dict.fromkeys(own[id(tokens)] for lists in engine.passed for tokens in lists))
        assert first_seen == sorted(own.values())
        assert len(engine.passed) == rollout.metrics["tools/rounds"] > 2


def test_a_seed_decides_the_output_whatever_ran_on_the_engine_before():
    engine = ChainEngine()
    one = make(engine, n=4, seed=5, response_length=150)
    first = [one.generate_sequences(batch_of(one)).texts for _ in range(2)]
    two = make(engine, n=4, seed=5, response_length=150)
    assert [two.generate_sequences(batch_of(two)).texts for _ in range(2)] == first
    assert first[0] != first[1]
    assert len(set(first[0])) > 8
    assert make(n=4, seed=6, response_length=150).generate_sequences(batch_of(two)).texts != first[0]


def test_without_a_seed_the_requests_share_one_object():
    class Watching(ChainEngine):
        def generate(self, prompts, sampling_params, use_tqdm):
            assert not isinstance(sampling_params, list)
            assert sampling_params.seed is None
            return super().generate(prompts, sampling_params, use_tqdm)

    rollout = make(Watching(), n=2)
    assert len(rollout.generate_sequences(batch_of(rollout)).texts) == 6


def test_validation_and_greedy_calls_make_one_response_a_prompt():
    rollout = make(n=4, seed=0)
    assert len(rollout.generate_sequences(batch_of(rollout, validate=True)).texts) == 3
    assert len(rollout.generate_sequences(batch_of(rollout, do_sample=False)).texts) == 3


def test_a_greedy_call_asks_for_temperature_zero():
    seen = []

    class Watching(ChainEngine):
        def complete(self, tokens, params):
            seen.append((params.temperature, params.top_p))
            return super().complete(tokens, params)

    rollout = make(Watching(), temperature=0.7, top_p=0.9, seed=0)
    rollout.generate_sequences(batch_of(rollout, do_sample=False))
    greedy = set(seen)
    seen.clear()
    rollout.generate_sequences(batch_of(rollout))
    assert (greedy, set(seen)) == ({(0.0, 1.0)}, {(0.7, 0.9)})


def test_a_failed_call_is_answered_and_counted():
    rollout = make(n=8, seed=0, response_length=400)
    output = rollout.generate_sequences(batch_of(rollout))
    metrics = output.meta_info["metrics"]
    words = ("failed: not today", "timed out.", "returned empty output.")
    for word in words:
        assert any(word in text for text in output.texts), word
    results = sum(t.tokens.count(IDS["</result>"]) for t in rollout.trajectories)
    assert metrics["tools/total_calls"] == results
    assert metrics["tools/total_calls"] == metrics["tools/successful_calls"] + metrics["tools/failed_calls"]
    assert metrics["tools/failed_calls"] == sum(text.count("Tool(search)") for text in output.texts)


def test_the_call_after_the_limit_ends_the_trajectory():
    rollout = make(n=8, max_tool_calls=1, seed=0)
    output = rollout.generate_sequences(batch_of(rollout))
    assert max(text.count("</result>") for text in output.texts) == 1
    ended = [text for text in output.texts if text.endswith(("</search>", "</python>"))]
    assert len(ended) == output.meta_info["metrics"]["tools/call_limit_reached_count"] > 0


def test_a_segment_cut_short_is_continued_without_a_result():
    rollout = make(tools={}, n=4, seed=0, response_length=50, segment_length=8)
    output = rollout.generate_sequences(batch_of(rollout))
    assert all(len(segment.tokens) <= 8 for segment in rollout.segments)
    assert not any(segment.is_after_tool_call for segment in rollout.segments)
    finished = [len(text) for text in output.responses if len(text) == 50 or text[-1] == IDS["<|im_end|>"]]
    assert len(finished) == 12
    assert max(finished) > 8


def test_without_tools_nothing_stops_at_a_tag():
    rollout = make(tools={}, n=2, seed=0)
    rollout.generate_sequences(batch_of(rollout))
    assert {segment.round for segment in rollout.segments} == {0}
    assert len(rollout.segments) == 6


def test_the_engines_length_bounds_a_trajectory():
    engine = ChainEngine(max_model_len=60)
    rollout = make(engine, n=4, seed=0, response_length=1000)
    rollout.generate_sequences(batch_of(rollout))
    assert all(len(s.context) + len(s.tokens) <= 60 for s in rollout.segments)


def test_a_prompt_beyond_the_engines_length_is_named():
    rollout = make(ChainEngine(max_model_len=10))
    with pytest.raises(UserError, match=r"prompt 1 has 18 tokens and the engine takes 10"):
        rollout.generate_sequences(batch_of(rollout))


def test_tools_of_a_round_run_at_the_same_time():
    import threading

    barrier = threading.Barrier(2, timeout=120)

    def waits_for_another(content):
        barrier.wait()
        return "met"

    class Calling(ChainEngine):
        def complete(self, tokens, params):
            done = NAMES[tokens[-1]] == "</result>"
            token_ids = [IDS["<|im_end|>"]] if done else [IDS["<search>"], IDS["a"], IDS["</search>"]]
            return SimpleNamespace(
                token_ids=token_ids, finish_reason="stop", stop_reason=None if done else "</search>"
            )

    rollout = make(Calling(), tools={"search": waits_for_another}, n=1)
    output = rollout.generate_sequences(batch_of(rollout, TEXTS[:2]))
    assert all("met" in text for text in output.texts)


def test_progress_counts_prompts_calls_and_rounds():
    seen = []
    rollout = ToolRollout(
        ChainEngine(), Tokenizer(), {"n": 3, "seed": 0}, TOOLS, lambda *counts: seen.append(counts)
    )
    rollout.generate_sequences(batch_of(rollout))
    assert seen == sorted(seen)
    assert [rounds for _, _, rounds in seen] == list(range(1, len(seen) + 1))
    assert seen[-1][:2] == (3, rollout.metrics["tools/total_calls"])


def test_overrides_reach_the_sampling_options():
    class Watching(ChainEngine):
        def complete(self, tokens, params):
            assert params.min_p == 0.25
            return super().complete(tokens, params)

    rollout = make(Watching(), seed=0)
    rollout.generate_sequences(batch_of(rollout), min_p=0.25)
