"""fast_logprobs: a loop that reads as ARPO's does gets the same numbers, bit for bit, and goes the same way."""

import json
import logging
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from engines import KIND, ToolRollout, make_prompts, make_rollout

from arpo_entropy_recorder.mixin import record_entropy
from arpo_entropy_recorder.recorder.v0_speedups import FastLogprobs, stop_at_read_tokens
from arpo_entropy_recorder.step_files.schema import READ_TOKENS

HELPERS = Path(__file__).parents[1] / "helpers"
TEXTS = ["Who wrote it?", "How long is the river?", "Why?", "When did they meet, and where?"]
needs_v0 = pytest.mark.skipif(KIND != "v0", reason="the V0 engine of ARPO's pins: make test-pinned")
others = pytest.mark.skipif(KIND == "v0", reason="where fast_logprobs is refused: make test")


class ReadingRollout(ToolRollout):
    """Reads log-probabilities as ARPO's loop does, and branches by what it reads."""

    def _generate(self, active, sampling_params):
        completions = super()._generate(active, sampling_params)
        self.seen = [*getattr(self, "seen", []), *completions]
        self.entropies = {}
        for trajectory, completion in zip(active, completions, strict=True):
            read = []
            for j in range(min(20, len(completion.token_ids))):
                try:
                    token = completion.logprobs[j]
                except IndexError:
                    token = completion.logprobs[-1]
                # Under top_k the tokens cut off are -inf, of which exp(l) * l makes NaN.
                read.extend(entry.logprob for entry in token.values() if entry.logprob > -math.inf)
            self.entropies[trajectory.sample_idx] = -sum(math.exp(value) * value for value in read)
        return completions

    def _branch(self, live, starts, n, rng):
        eager = [t for t in live if self.entropies[t.sample_idx] > rng.random() * 60]
        return super()._branch(eager or live, starts, n, rng)


def listed(completion):
    """Each token's log-probabilities in the dict's order, whole."""
    return [
        [(i, p.logprob, p.rank, p.decoded_token) for i, p in token.items()] for token in completion.logprobs
    ]


def generate(llm, directory, seed, options, **config):
    import torch

    torch.manual_seed(seed)
    cls = record_entropy(ReadingRollout) if config else ReadingRollout
    rollout = make_rollout(cls, llm, llm.get_tokenizer(), directory, **config)
    rollout._call = seed
    result = rollout.generate_sequences(
        make_prompts(llm.get_tokenizer(), TEXTS, **options["meta"]), **options["sampling"]
    )
    return result, rollout


SAMPLINGS = [
    {"logprobs": 10},
    {"logprobs": 10, "temperature": 0.7, "top_p": 0.9, "top_k": 40},
    {"logprobs": 3, "min_p": 0.02, "repetition_penalty": 1.2, "presence_penalty": 0.3},
    {"logprobs": 10, "temperature": 0.0},
    {"logprobs": 5, "prompt_logprobs": 2, "frequency_penalty": 0.2},
    {"logprobs": 0},
]


@needs_v0
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda sampling: "-".join(sampling))
def test_a_loop_that_reads_20_tokens_of_a_segment_goes_the_same_way(llm, tmp_path, seed, sampling):
    options = {"meta": {"do_sample": sampling.get("temperature") != 0.0}, "sampling": sampling}
    stock, before = generate(llm, tmp_path, seed, options)
    fast, after = generate(llm, tmp_path, seed, options, fast_logprobs=True)
    assert fast.responses == stock.responses
    assert fast.prompt_idx == stock.prompt_idx
    assert [t.parent_idx for t in after.trajectories] == [t.parent_idx for t in before.trajectories]
    assert after.entropies == before.entropies
    spared = 0
    for stock_completion, completion in zip(before.seen, after.seen, strict=True):
        expected, found = listed(stock_completion), listed(completion)
        assert len(found) == len(expected) == len(completion.token_ids)
        assert found[:READ_TOKENS] == expected[:READ_TOKENS]
        assert completion.cumulative_logprob == stock_completion.cumulative_logprob
        for one, whole in zip(found[READ_TOKENS:], expected[READ_TOKENS:], strict=True):
            token_id, value, _, text = whole[0]
            assert [(i, v, t) for i, v, _, t in one] == [(token_id, value, text)]
            spared += len(whole) - len(one)
    assert spared > 0 or sampling["logprobs"] == 0


@needs_v0
def test_nothing_is_added_where_no_log_probabilities_are_asked_for(llm, tmp_path):
    rollout = make_rollout(
        record_entropy(ToolRollout), llm, llm.get_tokenizer(), tmp_path, fast_logprobs=True
    )
    seen = []
    stock = rollout._generate
    rollout._generate = lambda *args: seen.extend(done := stock(*args)) or done
    rollout.generate_sequences(make_prompts(llm.get_tokenizer(), TEXTS))
    assert seen
    assert all(completion.logprobs is None for completion in seen)


@needs_v0
def test_the_callers_own_parameters_are_left_alone_and_so_are_later_calls(llm):
    from vllm import SamplingParams

    params = SamplingParams(logprobs=10, max_tokens=40, ignore_eos=True, seed=1)
    prompt = llm.get_tokenizer().encode("Why?")

    def lengths():
        output = llm.generate(prompt_token_ids=[prompt], sampling_params=params, use_tqdm=False)
        return [len(token) for token in output[0].outputs[0].logprobs]

    with FastLogprobs().active(llm):
        spared = lengths()
    assert params.logprobs == 10
    assert min(spared[:READ_TOKENS]) >= 10
    assert spared[READ_TOKENS:] == [1] * 20
    assert min(lengths()) >= 10


@needs_v0
def test_a_failure_leaves_the_log_probabilities_as_asked_for(llm, tmp_path, monkeypatch, caplog):
    import arpo_entropy_recorder.recorder.v0_speedups as module

    def broken(sampling_metadata):
        raise RuntimeError("this vLLM is unlike any other")

    options = {"meta": {}, "sampling": {"logprobs": 10}}
    stock, before = generate(llm, tmp_path, 1, options)
    monkeypatch.setattr(module, "stop_at_read_tokens", broken)
    with caplog.at_level(logging.WARNING):
        fast, after = generate(llm, tmp_path, 1, options, fast_logprobs=True)
    assert fast.responses == stock.responses
    assert [listed(c) for c in after.seen] == [listed(c) for c in before.seen]
    lines = [record.message for record in caplog.records if "fast_logprobs is off" in record.message]
    assert len(lines) == 1
    assert "this vLLM is unlike any other" in lines[0]


@needs_v0
@pytest.mark.parametrize("fast", [False, True])
def test_the_number_that_the_loop_branches_by_is_in_its_record(llm, tmp_path, fast):
    options = {"meta": {"global_steps": 1}, "sampling": {"logprobs": 10}}
    _, rollout = generate(llm, tmp_path, 3, options, entropy_window=20, fast_logprobs=fast)
    records = json.loads((tmp_path / "entropy_step_1.json").read_text())
    # Of each trajectory's last segment the loop still has its own number.
    last = {record["sample_idx"]: record["logprobs_entropy"] for record in records}
    norm = math.log(len(llm.get_tokenizer()))
    assert len(rollout.entropies) > 1
    for sample, number in rollout.entropies.items():
        assert last[sample] == pytest.approx(number / norm, rel=1e-6, abs=1e-7)
    # Top 10 of some 300 tokens: most of the entropy, never more than all of it.
    exact = [sum(record["window"]) for record in records]
    assert all(0 < r["logprobs_entropy"] <= whole + 1e-6 for r, whole in zip(records, exact, strict=True))


@needs_v0
@pytest.mark.parametrize(("sampling", "window"), [({}, 20), ({"logprobs": 10}, 1)])
def test_no_number_is_recorded_unasked(llm, tmp_path, sampling, window):
    tokenizer = llm.get_tokenizer()
    rollout = make_rollout(record_entropy(ToolRollout), llm, tokenizer, tmp_path, entropy_window=window)
    rollout.generate_sequences(make_prompts(tokenizer, TEXTS, global_steps=1), **sampling)
    assert "logprobs_entropy" not in (tmp_path / "entropy_step_1.json").read_text()


@others
def test_another_engine_is_left_alone_with_one_line(llm, tmp_path, caplog):
    rollout = make_rollout(
        record_entropy(ToolRollout), llm, llm.get_tokenizer(), tmp_path, fast_logprobs=True
    )
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            rollout.generate_sequences(make_prompts(llm.get_tokenizer(), TEXTS[:1]), logprobs=2)
    lines = [record.message for record in caplog.records if "fast_logprobs is off" in record.message]
    assert len(lines) == 1
    assert "0.8.5" in lines[0]


def test_it_is_off_unless_asked_for(monkeypatch):
    from arpo_entropy_recorder.recorder.settings import Settings

    assert not Settings.read({}, {}).fast_logprobs
    assert Settings.read({"fast_logprobs": True}, {}).fast_logprobs
    assert Settings.read({}, {"ARPO_ENTROPY_FAST_LOGPROBS": "1"}).fast_logprobs


def group(logprobs, *lengths):
    sequences = {i: SimpleNamespace(get_output_len=lambda n=n: n) for i, n in enumerate(lengths)}
    params = SimpleNamespace(logprobs=logprobs)
    return SimpleNamespace(sampling_params=params, seq_data=sequences, seq_ids=list(sequences))


@pytest.mark.parametrize(
    ("asked", "lengths", "left"),
    [
        (10, [19], 10),
        (10, [20], 0),
        (10, [400], 0),
        (10, [400, 3], 10),
        (10, [20, 20], 0),
        (None, [400], None),
        (0, [400], 0),
    ],
)
def test_alternatives_stop_after_the_20th_token_of_all_of_a_groups_sequences(asked, lengths, left):
    one = group(asked, *lengths)
    stop_at_read_tokens(SimpleNamespace(seq_groups=[one]))
    assert one.sampling_params.logprobs == left


@pytest.fixture(scope="module", params=["verl_arpo_entropy", "verl_aepo_entropy"])
def arpo_runs(request, arpo_root, toy_agent, tmp_path_factory):
    """What ARPO's own class did, unpatched, and what it did with fast_logprobs, with the same seeds."""
    found = [arpo_root] if arpo_root.name == request.param else sorted(arpo_root.glob(f"**/{request.param}"))
    if not found:
        pytest.skip(f"{arpo_root} has no {request.param}: this variant was NOT tested")
    out = tmp_path_factory.mktemp("runs")
    for mode in ("stock", "fast"):
        command = [
            sys.executable,
            str(HELPERS / "arpo_rollout.py"),
            str(found[0]),
            str(toy_agent),
            str(out),
            mode,
        ]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
            env=os.environ | {"ARPO_SEEDS": "16"},
        )
        assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads((out / f"{mode}.json").read_text()) for mode in ("stock", "fast")]


@pytest.mark.arpo
def test_arpo_itself_computes_the_same_entropies_and_branches_alike(arpo_runs):
    spared = branches = numbers = 0
    for stock, fast in zip(*arpo_runs, strict=True):
        for key in ("kind", "responses", "loss_mask", "initial_entropies"):
            assert fast[key] == stock[key], key
        shared = {key: value for key, value in fast["metrics"].items() if not key.startswith("entropy/")}
        assert shared == stock["metrics"]
        for before, after in zip(stock["calls"], fast["calls"], strict=True):
            for key in before.keys() - {"log_probabilities"}:
                assert after[key] == before[key], key
            branches += sum(segment["parent_idx"] is not None for segment in before.get("segments", []))
            numbers += len(before.get("numbers", []))
            for whole, found in zip(before["log_probabilities"], after["log_probabilities"], strict=True):
                assert found["tokens"][:READ_TOKENS] == whole["tokens"][:READ_TOKENS]
                assert found["cumulative"] == whole["cumulative"]
                assert len(found["tokens"]) == len(whole["tokens"])
                spared += sum(len(token) == 1 for token in found["tokens"][READ_TOKENS:])
    assert spared > 100
    assert branches > 20
    assert numbers > 100
