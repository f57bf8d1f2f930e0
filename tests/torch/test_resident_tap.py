"""The tap that stays, on stand-ins for other versions of the model runners and for what seldom happens."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from arpo_entropy_recorder.ops.entropy import entropy
from arpo_entropy_recorder.taps import attach
from arpo_entropy_recorder.taps.resident_v1 import ResidentV1Tap
from arpo_entropy_recorder.taps.resident_v2 import ResidentV2Tap
from arpo_entropy_recorder.taps.tap import Unsupported

VOCABULARY, PLACES = 11, 8
rng = np.random.default_rng(0)


def random_logits(rows):
    return torch.from_numpy(rng.normal(scale=3.0, size=(rows, VOCABULARY)).astype(np.float32))


def params(key=None, temperature=1.0):
    return SimpleNamespace(extra_args=None if key is None else {"mark": key}, temperature=temperature)


class Recorded:
    """A tap that is attached, with what it emitted and lost."""

    def __init__(self, kind, runner, window):
        kind.check(runner)
        self.tap = kind(runner, window, lambda extra_args: (extra_args or {}).get("mark"))
        self.steps, self.lost = [], []
        self.tap.emit = lambda places, entropies: self.steps.append((places, entropies.wait()))
        self.tap.lose = lambda count, reason: self.lost.append((count, reason))
        self.tap.attach()

    @property
    def places(self):
        return [place for places, _ in self.steps for place in places]

    @property
    def nats(self):
        """The last value of each place."""
        return {p: n for places, nats in self.steps for p, n in zip(places, nats, strict=True)}


# Model runner V1.


class Sampler:
    def sample(self, logits, sampling_metadata):
        return logits.argmax(-1).tolist()


class Batch:
    """The persistent batch of runner V1: rows that are given again to others."""

    def __init__(self):
        self.req_id_to_index, self.req_output_token_ids = {}, [None] * PLACES
        self.temperature_cpu = np.ones(PLACES, dtype=np.float32)

    def add_request(self, request):
        row = next(row for row in range(PLACES) if row not in self.req_id_to_index.values())
        self.req_id_to_index[request.req_id] = row
        self.req_output_token_ids[row] = request.output_token_ids
        self.temperature_cpu[row] = request.sampling_params.temperature

    def remove_request(self, request_id):
        self.req_output_token_ids[self.req_id_to_index.pop(request_id)] = None

    def move(self, request_id, row):
        """As a batch does that closes its gaps."""
        output = self.req_output_token_ids[self.req_id_to_index[request_id]]
        self.remove_request(request_id)
        self.req_id_to_index[request_id], self.req_output_token_ids[row] = row, output


def with_mask(runner):
    """From vLLM 0.12 on the runner says which rows are chunks of a prefill."""
    runner.discard_request_mask = SimpleNamespace(np=np.zeros(PLACES, dtype=bool))

    def chunk(row, is_chunk):
        runner.discard_request_mask.np[row] = is_chunk

    return chunk


def with_lengths(where):
    """Before, its lengths do: of the sequence so far, and of all that is known of the request."""

    def layout(runner):
        lengths = np.full(PLACES, 100, dtype=np.int32)
        if where == "array":  # 0.10.0, 0.10.1
            runner.seq_lens_np, runner.seq_lens = lengths, torch.zeros(PLACES)
        else:  # 0.10.2, 0.11
            runner.seq_lens = SimpleNamespace(np=lengths)

        def chunk(row, is_chunk):
            lengths[row] = 99 if is_chunk else 100

        return chunk

    return layout


LAYOUTS = {"mask": with_mask, "0.10.0": with_lengths("array"), "0.11": with_lengths("buffer")}


class RunnerV1:
    def __init__(self, layout="mask"):
        self.sampler, self.input_batch, self.requests = Sampler(), Batch(), {}
        self.chunk = LAYOUTS[layout](self)

    def add(self, request_id, key=None, output=(), temperature=1.0):
        request = SimpleNamespace(
            req_id=request_id,
            output_token_ids=list(output),
            sampling_params=params(key, temperature),
            num_tokens=100,
        )
        self.requests[request_id] = request
        self.input_batch.add_request(request)

    def step(self):
        """Everything in the batch gets a token, but chunks of prefills; returns the logits."""
        batch = self.input_batch
        logits = random_logits(PLACES)
        self.sampler.sample(
            logits, SimpleNamespace(temperature=torch.from_numpy(batch.temperature_cpu.copy()))
        )
        return logits

    def append(self, *request_ids):
        for request_id in request_ids:
            self.requests[request_id].output_token_ids.append(-1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_v1_chunks_of_a_prefill_are_left_out(layout):
    runner = RunnerV1(layout)
    recorded = Recorded(ResidentV1Tap, runner, 2)
    runner.add("other")
    runner.add("r", "key")
    runner.chunk(1, True)
    runner.step()
    assert recorded.steps == []
    runner.chunk(1, False)
    first = runner.step()
    runner.append("r", "other")
    second = runner.step()
    runner.append("r", "other")
    runner.step()
    assert recorded.places == [("key", 0), ("key", 1)]
    expected = [entropy(logits)[1].item() for logits in (first, second)]
    assert list(recorded.nats.values()) == pytest.approx(expected)
    assert recorded.tap.counters()["steps"] == 4
    assert recorded.tap.counters()["steps_with_values"] == 2


def test_v1_temperature_is_the_rows_and_greedy_counts_as_one():
    runner = RunnerV1()
    recorded = Recorded(ResidentV1Tap, runner, 1)
    temperatures = {"a": 1.0, "b": 0.5, "c": 0.0, "d": -1.0}
    for name, temperature in temperatures.items():
        runner.add(name, name, temperature=temperature)
    logits = runner.step()[:4]
    right = entropy(logits, torch.tensor(list(temperatures.values())))
    assert list(recorded.nats.values()) == pytest.approx(right.tolist())


def test_v1_a_preempted_request_comes_back_at_its_place():
    runner = RunnerV1()
    recorded = Recorded(ResidentV1Tap, runner, 3)
    runner.add("r", "key")
    runner.step()
    runner.input_batch.remove_request("r")
    runner.step()
    runner.add("new", "other")
    runner.add("r", "key", output=[5])
    again = runner.step()
    assert recorded.places == [("key", 0), ("other", 0), ("key", 1)]
    assert recorded.nats["key", 1] == pytest.approx(entropy(again)[1].item())


def test_v1_a_request_that_moves_is_read_at_its_new_row():
    runner = RunnerV1()
    recorded = Recorded(ResidentV1Tap, runner, 4)
    runner.add("other")
    runner.add("r", "key")
    logits = []
    for row in (1, 1, 0, 0):
        runner.input_batch.move("r", row)
        logits.append(runner.step())
        runner.append("r")
        runner.input_batch.req_id_to_index.pop("other", None)
    right = [entropy(step)[row].item() for step, row in zip(logits, (1, 1, 0, 0), strict=True)]
    assert list(recorded.nats.values()) == pytest.approx(right)


def test_v1_an_id_given_again_takes_the_new_requests_mark():
    runner = RunnerV1()
    recorded = Recorded(ResidentV1Tap, runner, 2)
    runner.add("same", "first")
    runner.step()
    runner.input_batch.remove_request("same")
    runner.add("same", "second")
    runner.step()
    runner.input_batch.remove_request("same")
    runner.add("same")
    runner.step()
    assert recorded.places == [("first", 0), ("second", 0)]


def test_v1_keeps_nothing_of_requests_that_are_gone():
    runner = RunnerV1()
    recorded = Recorded(ResidentV1Tap, runner, 3)
    for number in range(20):
        runner.add(f"aborted {number}", f"{number}")
        runner.step()
        runner.input_batch.remove_request(f"aborted {number}")
    runner.add("beyond", "late", output=[1, 2, 3])
    runner.step()
    assert recorded.tap._keys == {}


def test_a_failure_is_logged_once_and_takes_the_tap_off(caplog):
    runner = RunnerV1()
    recorded = Recorded(ResidentV1Tap, runner, 1)

    def broken(*_):
        raise RuntimeError("broken on purpose")

    recorded.tap.emit = broken
    runner.add("a", "a")
    runner.add("b", "b")
    runner.step()
    runner.add("c", "c")
    runner.step()
    assert "broken on purpose" in recorded.tap.failure
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert recorded.lost == [(0, "the tap failed: RuntimeError")]
    assert "sample" not in vars(runner.sampler)
    assert "add_request" not in vars(runner.input_batch)


def test_a_mark_reader_that_fails_reaches_no_request():
    runner = RunnerV1()
    recorded = Recorded(ResidentV1Tap, runner, 1)
    recorded.tap._read_mark = None
    runner.add("a", "a")
    assert runner.input_batch.req_id_to_index == {"a": 0}
    assert recorded.tap.failure is not None


def test_v1_without_a_way_to_tell_chunks_is_refused():
    runner = RunnerV1()
    del runner.discard_request_mask
    with pytest.raises(Unsupported, match="chunks of a prefill"):
        ResidentV1Tap.check(runner)


def test_a_runner_that_has_one_can_be_checked_again():
    """As the recorder of an LLM does, before it takes the tap's place."""
    runner = RunnerV1()
    Recorded(ResidentV1Tap, runner, 1)
    ResidentV1Tap.check(runner)
    runner = RunnerV2()
    Recorded(ResidentV2Tap, runner, 1)
    ResidentV2Tap.check(runner)


# Model runner V2.


class SamplerV2:
    def __init__(self):
        self.sampling_states = SimpleNamespace(apply_min_p=lambda logits, *_: None)
        self.needs_logits_processing = np.zeros(PLACES, dtype=bool)

    def add_request(self, req_idx, sampling_params):
        self.needs_logits_processing[req_idx] = sampling_params.temperature != 1.0

    def sample(self, logits, idx_mapping_np, seq_lens_upper_bound_np):
        if self.needs_logits_processing[idx_mapping_np].any():
            logits = logits / 0.5
            self.sampling_states.apply_min_p(logits)
        return logits


class RunnerV2:
    def __init__(self):
        self.sampler = SamplerV2()
        prompt_len, prefill_len = (SimpleNamespace(np=np.full(PLACES, 10, dtype=np.int32)) for _ in range(2))
        self.req_states = SimpleNamespace(
            max_num_reqs=PLACES, index_to_req_id={}, prompt_len=prompt_len, prefill_len=prefill_len
        )

    def add(self, index, request_id, key=None, temperature=1.0, prefill_len=10):
        self.req_states.index_to_req_id[index] = request_id
        self.req_states.prefill_len.np[index] = prefill_len
        self.sampler.add_request(index, params(key, temperature))

    def step(self, lengths):
        """One step of requests by index, each with its sequence's length; returns the logits."""
        logits = random_logits(len(lengths))
        self.sampler.sample(
            logits, np.array(list(lengths), dtype=np.int32), np.array([*lengths.values(), 0, 0])
        )
        return logits


def test_v2_chunks_are_left_out_and_windows_end():
    runner = RunnerV2()
    recorded = Recorded(ResidentV2Tap, runner, 2)
    runner.add(5, "r", "key")
    runner.add(2, "other")
    steps = [runner.step({2: 30, 5: length}) for length in (6, 10, 11, 12, 13)]
    assert recorded.places == [("key", 0), ("key", 1)]
    assert list(recorded.nats.values()) == pytest.approx([entropy(logits)[1].item() for logits in steps[1:3]])
    assert recorded.tap._requests == {}


def test_v2_a_chunk_of_what_is_prefilled_again_replaces_no_entropy():
    """After a preemption the outputs are prefilled, too, perhaps with other weights; nothing is sampled there."""
    runner = RunnerV2()
    recorded = Recorded(ResidentV2Tap, runner, 5)
    runner.add(1, "r", "key")
    steps = [runner.step({1: length}) for length in (10, 11, 12)]
    runner.add(1, "r", "key", prefill_len=13)
    runner.step({1: 11})
    steps += [runner.step({1: length}) for length in (13, 14)]
    assert recorded.places == [("key", position) for position in range(5)]
    assert list(recorded.nats.values()) == pytest.approx([entropy(logits)[0].item() for logits in steps])


def test_v2_processed_logits_are_the_ones_recorded():
    runner = RunnerV2()
    recorded = Recorded(ResidentV2Tap, runner, 1)
    runner.add(0, "r", "key", temperature=0.5)
    logits = runner.step({0: 10})
    assert recorded.nats["key", 0] == pytest.approx(entropy(logits / 0.5).item())


def test_v2_a_rank_records_the_rows_that_it_is_given():
    """With sharded batches every rank learns of every request, and a request's rows may move between ranks."""
    runner = RunnerV2()
    recorded = Recorded(ResidentV2Tap, runner, 3)
    for index in range(4):
        runner.add(index, f"r{index}", f"k{index}")
    runner.step({0: 10, 2: 10})
    runner.step({})
    runner.step({1: 11})
    assert recorded.places == [("k0", 0), ("k2", 0), ("k1", 1)]


def test_v2_forgets_requests_that_ended_elsewhere():
    runner = RunnerV2()
    recorded = Recorded(ResidentV2Tap, runner, 3)
    runner.add(0, "gone", "a")
    runner.add(1, "aborted", "b")
    del runner.req_states.index_to_req_id[0]
    runner.add(1, "next")
    runner.step({1: 10})
    assert recorded.tap._requests == {}
    assert recorded.steps == []


def test_v2_an_index_given_again_takes_the_new_requests_mark():
    runner = RunnerV2()
    recorded = Recorded(ResidentV2Tap, runner, 2)
    runner.add(3, "first", "a")
    runner.step({3: 10})
    runner.add(3, "second", "b")
    runner.step({3: 10})
    assert recorded.places == [("a", 0), ("b", 0)]


# Which engines get one.


def worker(runner=None, version="0.32.0", **parallel):
    sizes = {"pipeline_parallel_size": 1, "data_parallel_rank": 2} | parallel
    speculative = sizes.pop("speculative_config", None)
    config = SimpleNamespace(speculative_config=speculative, parallel_config=SimpleNamespace(**sizes))
    return SimpleNamespace(model_runner=runner or RunnerV1(), vllm_config=config)


@pytest.fixture
def installed(monkeypatch):
    def install(version):
        monkeypatch.setitem(__import__("sys").modules, "vllm", SimpleNamespace(__version__=version))

    return install


def resident(runner, **options):
    return attach.resident_tap(worker(runner, **options), 1, lambda _: None)


@pytest.mark.parametrize(
    ("module", "runner", "kind"),
    [
        ("vllm.v1.worker.gpu_model_runner", RunnerV1, ResidentV1Tap),
        ("vllm.v1.worker.gpu.model_runner", RunnerV2, ResidentV2Tap),
    ],
)
def test_the_model_runner_says_which_tap(monkeypatch, installed, module, runner, kind):
    installed("0.32.0")
    monkeypatch.setattr(runner, "__module__", module)
    monkeypatch.setattr("arpo_entropy_recorder.taps.runner_v2.SEQ_LENS", "seq_lens_upper_bound_np")
    made = runner()
    assert type(resident(made)) is kind
    assert attach.data_parallel_rank(worker(made)) == 2


@pytest.mark.parametrize(
    ("version", "options", "why"),
    [
        ("0.9.2", {}, "vLLM 0.9.2 is not known"),
        ("0.34.0", {}, "vLLM 0.34.0 is not known"),
        ("0.32.0", {"speculative_config": object()}, "speculative decoding"),
        ("0.32.0", {"pipeline_parallel_size": 2}, "pipeline parallelism"),
        ("0.32.0", {}, "the model runner .*RunnerV1 is not known"),
    ],
)
def test_other_engines_are_refused_in_one_line(installed, version, options, why):
    installed(version)
    with pytest.raises(Unsupported, match=f"{why}.*; requests that come and go are recorded with") as refused:
        resident(RunnerV1(), **options)
    assert "\n" not in str(refused.value)
