"""The tap that stays, on a real engine in this process: what it emits against transformers, and its cost."""

import json
import logging
import os
import tempfile
import time

import numpy as np
import pytest
import torch
from engines import KIND

if KIND == "v0":
    pytest.skip("the tap that stays needs vLLM 0.10, NOT tried here: make test", allow_module_level=True)

from arpo_entropy_recorder.live.collector import Collector
from arpo_entropy_recorder.live.job import Job, new_local_address, new_token
from arpo_entropy_recorder.live.mark import MARK, new_mark
from arpo_entropy_recorder.live.worker import start_recording
from arpo_entropy_recorder.taps import resident
from arpo_entropy_recorder.taps.engine import EngineTap
from arpo_entropy_recorder.taps.resident import ATTRIBUTE

WINDOW = 5
# Under Triton's interpreter a step takes tens of milliseconds.
NUMBER, TOKENS = (6, 12) if KIND == "v2" else (16, 40)
SECRET = "Zanzibar-7431"


class Live:
    """A recording of the session's engine, with its collector in this process."""

    def __init__(self, llm, job):
        self.llm, self.job = llm, job
        self.frames = []
        self.collector = Collector(job)
        enter = self.collector._enter
        self.collector._enter = lambda frame: (self.frames.append(frame), enter(frame))
        (self.sender,) = llm.collective_rpc(start_recording)
        (self.tap,) = llm.collective_rpc(lambda worker: getattr(worker.model_runner, ATTRIBUTE))
        self.runner = self.tap.runner

    def generate(self, tokenizer, texts, temperature=1.0, marked=True, max_tokens=TOKENS, **options):
        """[(prompt ids, temperature, output ids, key)] of one `generate` call."""
        # Imported after engines.py has said which model runner it shall have.
        from vllm import SamplingParams

        prompts = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
        marks = [new_mark(self.job.token) for _ in prompts]
        temperatures = np.broadcast_to(temperature, len(prompts)).tolist()
        params = [
            SamplingParams(
                temperature=t,
                max_tokens=max_tokens - number % 4 * 3,
                ignore_eos=True,
                extra_args={MARK: mark} if marked else None,
                **options,
            )
            for number, (t, (_, mark)) in enumerate(zip(temperatures, marks, strict=True))
        ]
        self.llm.reset_prefix_cache()
        torch.manual_seed(1)
        np.random.seed(1)  # from which the V2 model runner draws the seed of each request
        outputs = self.llm.generate([{"prompt_token_ids": p} for p in prompts], params, use_tqdm=False)
        return [
            (prompt, t, list(output.outputs[0].token_ids), key)
            for prompt, t, output, (key, _) in zip(prompts, temperatures, outputs, marks, strict=True)
        ]

    def take(self, requests, timeout_s=60.0):
        wanted = {key: min(WINDOW, len(tokens)) for _, _, tokens, key in requests}
        return self.collector.take(wanted, timeout_s)

    def close(self):
        self.tap.detach()
        delattr(self.runner, ATTRIBUTE)
        self.sender.close()
        self.collector.close()


@pytest.fixture
def live(llm, monkeypatch):
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        job = Job(new_token(), new_local_address(), WINDOW)
        for name, value in job.environ().items():
            monkeypatch.setenv(name, value)
        live = Live(llm, job)
        yield live
        live.close()


def texts(count=NUMBER):
    """Prompts of one to several chunks of a prefill."""
    return [f"{SECRET} {number}: " + "why " * (number % 5 * 8) for number in range(count)]


def expected(oracle, prompt, tokens, temperature):
    """Entropies in nats of a transformers forward pass, over the whole vocabulary."""
    with torch.no_grad():
        logits = oracle.model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
    log_p = torch.log_softmax(logits.double() / (temperature or 1.0), -1)
    return -(log_p.exp() * log_p).sum(-1).numpy()


def check(oracle, requests, values):
    for prompt, temperature, tokens, key in requests:
        nats = expected(oracle, prompt, tokens[:WINDOW], temperature)
        assert values[key] == pytest.approx(nats.tolist(), abs=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 0.0, (1.0, 0.7)], ids=str)
def test_every_value_equals_the_forward_pass(live, oracle, temperature):
    temperatures = np.resize(temperature, NUMBER)
    requests = live.generate(oracle.tokenizer, texts(), temperatures)
    check(oracle, requests, live.take(requests))
    assert live.collector.status()["values_missing"] == 0


def test_a_preempted_requests_values_are_right(live, oracle, monkeypatch):
    scheduler = live.llm.llm_engine.engine_core.engine_core.scheduler
    preempted, original = [], type(scheduler)._preempt_request

    def counting(self, request, *args, **kwargs):
        preempted.append(request.num_output_tokens)
        return original(self, request, *args, **kwargs)

    monkeypatch.setattr(type(scheduler), "_preempt_request", counting)
    # Four prompts of 158 tokens take 20 of the 24 blocks of 32, and each wants another after two tokens of its own.
    long = [f"{number} " + "tell me " * 19 + "why " for number in range(6)]
    requests = live.generate(oracle.tokenizer, long, max_tokens=80)
    assert preempted
    check(oracle, requests, live.take(requests))


def test_outputs_are_the_same_with_and_without(live, oracle):
    def outputs(**options):
        return [tokens for _, _, tokens, _ in live.generate(oracle.tokenizer, texts(), 0.8, **options)]

    recorded = outputs()
    assert outputs(marked=False) == recorded
    live.tap.detach()
    assert outputs() == recorded


def test_unmarked_requests_and_other_jobs_marks_cost_nothing(live, oracle, monkeypatch):
    live.generate(oracle.tokenizer, texts(4), marked=False)
    monkeypatch.setattr(live, "job", Job(new_token(), live.job.address))
    live.generate(oracle.tokenizer, texts(4))
    counters = live.tap.counters()
    assert counters["steps"] > 0
    assert (counters["steps_with_values"], counters["values"]) == (0, 0)
    live.sender.close()
    assert live.collector.status()["values_received"] == 0


def test_steps_without_a_first_token_do_no_work(live, oracle):
    requests = live.generate(oracle.tokenizer, texts(3), max_tokens=40)
    live.take(requests)
    counters = live.tap.counters()
    assert counters["values"] == 3 * WINDOW
    assert counters["steps_with_values"] <= 3 * WINDOW < counters["steps"]


def test_a_hook_that_raises_costs_records_and_no_request(live, oracle, monkeypatch, caplog):
    original, calls = resident.EntropiesInFlight, []

    def failing(*args):
        calls.append(args)
        if len(calls) > 3:
            raise RuntimeError("broken on purpose")
        return original(*args)

    reference = live.generate(oracle.tokenizer, texts(), 0.8)
    live.take(reference)
    monkeypatch.setattr(resident, "EntropiesInFlight", failing)
    with caplog.at_level(logging.WARNING):
        requests = live.generate(oracle.tokenizer, texts(), 0.8)
        again = live.generate(oracle.tokenizer, texts(3))
    assert [r[2] for r in requests] == [r[2] for r in reference]
    assert len(calls) == 4
    (line,) = [record for record in caplog.records if record.name.startswith("arpo_entropy_recorder")]
    assert "broken on purpose" in str(line.exc_info)
    values = live.take(requests + again, timeout_s=2.0)
    found = [value for row in values.values() for value in row]
    assert 0 < sum(value is not None for value in found) < len(found)
    for prompt, temperature, tokens, key in requests:
        nats = expected(oracle, prompt, tokens[:WINDOW], temperature)
        for value, right in zip(values[key], nats, strict=True):
            assert value is None or value == pytest.approx(right, abs=1e-4)
    deadline = time.monotonic() + 60
    while not (status := live.collector.status())["lost"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert status["lost"] == {"the tap failed: RuntimeError": 0}
    assert status["values_missing"] == found.count(None)
    assert "sample" not in vars(live.runner.sampler)


def test_nothing_but_numbers_leaves_the_worker(live, oracle, tmp_path):
    requests = live.generate(oracle.tokenizer, texts(4))
    live.take(requests)
    live.sender.close()
    sent = b"".join(live.frames)
    assert len(sent) > 4 * WINDOW * 24
    tokens = requests[0][0][:3]
    for secret in (SECRET.encode(), live.job.token, live.job.token.hex().encode()):
        assert secret not in sent
    for dtype in ("<i4", "<i8"):
        assert np.array(tokens, dtype).tobytes() not in sent
    assert json.dumps(tokens).encode() not in sent


def test_the_mixins_recorder_takes_its_place(live, oracle):
    tap = EngineTap(live.llm)
    requests = live.generate(oracle.tokenizer, texts(2))
    assert all(value is None for row in live.take(requests, 0.5).values() for value in row)
    tap.open(1)
    first = tap._next_request()
    tap.expect(2, 1, 0)
    assert first == tap._next_request()
    requests = live.generate(oracle.tokenizer, texts(2))
    nats, failure = tap.close()
    assert failure is None
    right = [expected(oracle, prompt, tokens[:1], t)[0] for prompt, t, tokens, _ in requests]
    assert nats[:, 0] == pytest.approx(right, abs=1e-4)


def test_switched_off_nothing_is_attached(llm, monkeypatch):
    job = Job(new_token(), "tcp://127.0.0.1:1")
    for name, value in (job.environ() | {"ARPO_ENTROPY_DISABLE": "1"}).items():
        monkeypatch.setenv(name, value)
    assert llm.collective_rpc(start_recording) == [None]
    assert not llm.collective_rpc(lambda worker: hasattr(worker.model_runner, ATTRIBUTE))[0]
    assert "ARPO_ENTROPY_DISABLE" in os.environ
