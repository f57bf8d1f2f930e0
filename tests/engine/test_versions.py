"""The taps on what other versions of vLLM have: real classes of 0.8.5's V1 engine, and stand-ins for layouts."""

import inspect
import sys
import types
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from engines import vllm_version

from arpo_entropy_recorder.taps import engine
from arpo_entropy_recorder.taps.patching import find_sampler
from arpo_entropy_recorder.taps.runner_v1 import RunnerV1Tap
from arpo_entropy_recorder.taps.runner_v2 import RunnerV2Tap
from arpo_entropy_recorder.taps.tap import Unsupported

VOCABULARY = 11
rng = np.random.default_rng(0)


def nats(logits, temperature=1.0):
    """Entropy of one row in float64; temperature 0 counts as 1."""
    z = np.asarray(logits, dtype=np.float64) / (temperature or 1.0)
    log_p = z - z.max() - np.log(np.exp(z - z.max()).sum())
    return -(np.exp(log_p) * log_p).sum()


def random_logits(rows):
    return torch.from_numpy(rng.normal(scale=3.0, size=(rows, VOCABULARY)).astype(np.float32))


def collected(tap):
    """[segments, window] nats of a tap that did not fail."""
    result = tap.close()
    assert result["failure"] is None
    return np.frombuffer(result["entropies"], np.float32).reshape(-1, result["window"])


# The V1 engine of vLLM 0.8.5 does not run without a GPU: its sampler and its batch are driven by hand.

needs_v1_of_0_8 = pytest.mark.skipif(
    vllm_version() >= (0, 9), reason="classes of vLLM 0.8.5, NOT tried here: make test-pinned"
)


def requests_of_0_8(temperatures):
    from vllm import SamplingParams
    from vllm.v1.worker.gpu_input_batch import CachedRequestState, InputBatch

    batch = InputBatch(
        max_num_reqs=8,
        max_model_len=64,
        max_num_blocks_per_req=4,
        device=torch.device("cpu"),
        pin_memory=False,
        vocab_size=VOCABULARY,
    )
    # 0.8.4 keeps a prompt's text, too.
    more = {"prompt": None} if "prompt" in inspect.signature(CachedRequestState).parameters else {}
    states = [
        CachedRequestState(
            **more,
            req_id=str(number),
            prompt_token_ids=[1, 2],
            mm_inputs=[],
            mm_positions=[],
            sampling_params=SamplingParams(temperature=temperature, top_k=3),
            generator=None,
            block_ids=[0],
            num_computed_tokens=0,
            output_token_ids=[],
        )
        for number, temperature in enumerate(temperatures, start=7)
    ]
    return batch, states


@needs_v1_of_0_8
@pytest.mark.parametrize("owner", ["runner", "model", "language model"])
def test_v1_engine_of_0_8_by_hand(owner):
    """Requests join, queue, leave and swap rows; 0.8.4 has the sampler on the model, 0.8.5 on the runner."""
    from vllm.v1.sample.sampler import Sampler

    temperatures = [1.0, 0.7, 0.0, 1.3]
    batch, states = requests_of_0_8(temperatures)
    sampler, window = Sampler(), 2
    runner = SimpleNamespace(input_batch=batch, device=torch.device("cpu"), model=SimpleNamespace())
    if owner == "runner":
        runner.sampler = sampler
    elif owner == "model":
        runner.model.sampler = sampler
    else:
        runner.model.language_model = SimpleNamespace(sampler=sampler)
    RunnerV1Tap.check(runner)
    tap = RunnerV1Tap(runner)
    tap.open(window)
    tap.expect(first_request=7, num_requests=4, completions=1, first_slot=0)
    expected = np.full((4, window), np.nan)

    def step():
        """One step of the engine, as its runner makes it: everything that is in the batch gets a token."""
        rows = list(batch.req_ids)
        logits = random_logits(len(rows))
        for row, request in enumerate(rows):
            slot = int(request) - 7
            if (position := len(states[slot].output_token_ids)) < window:
                expected[slot, position] = nats(logits[row], temperatures[slot])
        sampler(logits.clone(), batch.sampling_metadata)
        for request in rows:
            states[int(request) - 7].output_token_ids.append(5)

    def change(add=(), remove=()):
        removed = [batch.remove_request(str(number)) for number in remove]
        for number in add:
            batch.add_request(states[number - 7])
        if removed:
            batch.condense(sorted(removed, reverse=True))
        batch.refresh_sampling_metadata()

    change(add=[7, 8, 9])
    step()
    # The first leaves after one token, so the last row moves to its place; one that queued comes in.
    change(remove=[7])
    change(add=[10])
    step()
    batch.swap_states(0, 1)
    batch.refresh_sampling_metadata()
    step()
    step()
    found = collected(tap)
    written = ~np.isnan(expected)
    assert written.sum() == 7
    assert found[written] == pytest.approx(expected[written], abs=1e-5)
    assert (found[~written] == -1).all()
    assert "sample" not in vars(sampler)


def test_a_runner_without_any_sampler_is_refused():
    with pytest.raises(Unsupported, match="has no sampler"):
        find_sampler(SimpleNamespace(model=SimpleNamespace(language_model=SimpleNamespace())))


# Model runner V2 before 0.31: the same parts, elsewhere.


class States:
    """`SamplingStates` of model runner V2: a temperature for each request, then min-p."""

    def __init__(self):
        self.temperature = np.ones(8, dtype=np.float32)

    def apply_min_p(self, logits, expanded_idx_mapping, idx_mapping_np):
        pass


class SamplerOf20:
    """Its shape from 0.20 to 0.27: every step's logits are copied and processed."""

    def __init__(self):
        self.sampling_states = States()

    def add_request(self, req_idx, prompt_len, sampling_params):
        self.sampling_states.temperature[req_idx] = sampling_params.temperature

    def __call__(self, logits, batch):
        return self.sample(logits, None, batch.idx_mapping_np, None, None, None)

    def process(self, logits, idx_mapping_np):
        logits = logits / torch.from_numpy(self.sampling_states.temperature[idx_mapping_np])[:, None]
        self.sampling_states.apply_min_p(logits, None, idx_mapping_np)
        return logits

    def sample(self, logits, expanded_idx_mapping, idx_mapping_np, pos, input_ids, expanded_local_pos):
        return self.process(logits, idx_mapping_np)


class SamplerOf28(SamplerOf20):
    """From 0.28 to 0.30: processed only where a request asks for it, and one more argument before the indices."""

    def __init__(self):
        super().__init__()
        self.needs_logits_processing = np.zeros(8, dtype=bool)

    def add_request(self, req_idx, prompt_len, sampling_params):
        super().add_request(req_idx, prompt_len, sampling_params)
        self.needs_logits_processing[req_idx] = sampling_params.temperature != 1.0

    def __call__(self, logits, batch):
        return self.sample(logits, None, None, batch.idx_mapping_np, None, None, None)

    def sample(
        self, logits, expanded_idx_mapping, idx_mapping, idx_mapping_np, pos, input_ids, expanded_local_pos
    ):
        if not self.needs_logits_processing[idx_mapping_np].any():
            return logits
        return self.process(logits, idx_mapping_np)


class SamplerOf12(SamplerOf20):
    """From 0.12 to 0.14."""

    def sample(self, logits, sampling_metadata):
        return logits


class RunnerOf20:
    """The runner around them: three requests of prompts of 2, 3 and 4 tokens."""

    def __init__(self, sampler):
        self.sampler, self.device = sampler, torch.device("cpu")
        prompt_len, prefill_len = (SimpleNamespace(np=np.zeros(8, dtype=np.int32)) for _ in range(2))
        self.req_states = SimpleNamespace(
            max_num_reqs=8, index_to_req_id={}, prompt_len=prompt_len, prefill_len=prefill_len
        )

    def add(self, index, request, prompt_len, temperature, prefill_len=0):
        self.req_states.index_to_req_id[index] = request
        self.req_states.prompt_len.np[index] = prompt_len
        self.req_states.prefill_len.np[index] = prefill_len or prompt_len
        self.sampler.add_request(index, prompt_len, SimpleNamespace(temperature=temperature))

    def sample(self, hidden_states, input_batch, grammar_output):
        return self.sampler(hidden_states, input_batch)


def input_batch_module(monkeypatch, *fields):
    """`vllm.v1.worker.gpu.input_batch` with an InputBatch of these fields, whatever vLLM is installed."""
    module = types.ModuleType("vllm.v1.worker.gpu.input_batch")
    module.InputBatch = SimpleNamespace(__dataclass_fields__=dict.fromkeys(fields))
    for name in ("vllm", "vllm.v1", "vllm.v1.worker", "vllm.v1.worker.gpu"):
        if name not in sys.modules:
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.parametrize("sampler", [SamplerOf20, SamplerOf28])
@pytest.mark.parametrize("temperatures", [(1.0, 1.0, 1.0), (1.0, 0.5, 1.0)], ids=str)
def test_model_runner_v2_before_0_31(monkeypatch, sampler, temperatures):
    """The lengths are in the batch that the runner samples from, and chunks of a prefill are not recorded."""
    input_batch_module(monkeypatch, "idx_mapping_np", "seq_lens_cpu_upper_bound")
    runner = RunnerOf20(sampler())
    RunnerV2Tap.check(runner)
    tap = RunnerV2Tap(runner)
    tap.open(2)
    tap.expect(first_request=30, num_requests=3, completions=1, first_slot=0)
    prompt_lens, indices = (2, 3, 4), (5, 0, 3)
    for number, (index, prompt_len, temperature) in enumerate(
        zip(indices, prompt_lens, temperatures, strict=True)
    ):
        runner.add(index, f"{30 + number}-ab12cd34", prompt_len, temperature)
    expected = np.full((3, 2), np.nan)
    # In the first step the last request is one token short of its prompt's end, in the third the first one is
    # prefilled again after a preemption, with its first token, and ends before it.
    for number, lengths in enumerate(((2, 3, 3), (3, 4, 4), (2, 5, 5), (4, 6, 6))):
        if number == 2:
            runner.add(indices[0], "30-ab12cd34", prompt_lens[0], temperatures[0], prefill_len=4)
        logits = random_logits(3)
        for row in range(3):
            position = lengths[row] - prompt_lens[row]
            if 0 <= position < 2 and (number, row) != (2, 0):
                expected[row, position] = nats(logits[row], temperatures[row])
        batch = SimpleNamespace(
            idx_mapping_np=np.array(indices),
            # Padded, as for a captured graph.
            seq_lens_cpu_upper_bound=torch.tensor([*lengths, 0, 0], dtype=torch.int32),
        )
        runner.sample(logits, batch, None)
    assert collected(tap) == pytest.approx(expected, abs=1e-5)
    assert "sample" not in vars(runner) | vars(runner.sampler)


def test_model_runner_v2_without_lengths_on_the_host_is_refused(monkeypatch):
    """From 0.15 to 0.19."""
    input_batch_module(monkeypatch, "idx_mapping_np")
    with pytest.raises(Unsupported, match="VLLM_USE_V2_MODEL_RUNNER=0 chooses model runner V1"):
        RunnerV2Tap.check(RunnerOf20(SamplerOf20()))


def test_the_first_model_runner_v2_is_refused():
    with pytest.raises(Unsupported, match=r"SamplerOf12\.sample of this vLLM takes no idx_mapping_np"):
        RunnerV2Tap.check(RunnerOf20(SamplerOf12()))


# Versions and configurations.


def configured(**options):
    parallel = {"pipeline_parallel_size": 1, "data_parallel_size": 1, "worker_extension_cls": ""}
    scheduler = {"num_scheduler_steps": 1}
    speculative = options.pop("speculative_config", None)
    return SimpleNamespace(
        vllm_config=SimpleNamespace(
            speculative_config=speculative,
            parallel_config=SimpleNamespace(**{k: options.get(k, v) for k, v in parallel.items()}),
            scheduler_config=SimpleNamespace(**{k: options.get(k, v) for k, v in scheduler.items()}),
        )
    )


@pytest.fixture
def installed(monkeypatch):
    def install(version):
        module = types.ModuleType("vllm")
        module.__version__ = version
        monkeypatch.setitem(sys.modules, "vllm", module)

    return install


@pytest.mark.parametrize(
    "version",
    ["0.8.4", "0.8.5.post1", "0.9.0.1", "0.10.1+cpu", "0.20.0rc1", "0.32.0+cpu", "0.33.1.dev3+g1234"],
)
def test_versions_from_0_8_4_to_0_33_are_let_in(installed, version):
    installed(version)
    engine.check_configuration(configured())


@pytest.mark.parametrize("version", ["0.7.3", "0.8.3", "0.34.0", "1.0.0"])
def test_other_versions_are_named(installed, version):
    installed(version)
    with pytest.raises(Unsupported, match=f"vLLM {version} is not known"):
        engine.check_configuration(configured())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"speculative_config": object()}, "speculative decoding"),
        ({"pipeline_parallel_size": 2}, "pipeline parallelism"),
        ({"data_parallel_size": 2}, "data parallelism inside one LLM"),
        ({"num_scheduler_steps": 8}, "multi-step scheduling"),
    ],
)
def test_what_keeps_logits_away_is_refused(installed, options, why):
    installed("0.8.5")
    with pytest.raises(Unsupported, match=why):
        engine.check_configuration(configured(**options))
