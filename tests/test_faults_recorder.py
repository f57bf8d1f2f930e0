"""The recorder is broken in every way there is, under a real engine; training must not see it.

Each function that a recorded call reaches raises, then single lines at random. After that the recorder is whole
again and the next call must be recorded in full. Long runs are marked `faults`.
"""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from broken import Tracer, always_raising, recorder_functions
from engines import KIND, ToolRollout, make_prompts, make_rollout

from arpo_entropy_recorder import entropy
from arpo_entropy_recorder.mixin import record_entropy

TEXTS = ("Who?", "How many?")
CONFIG = {
    "n": 2,
    "initial_rollouts": 1,
    "response_length": 16 if KIND == "v2" else 24,
    "segment_length": 8,
    "entropy_window": 2,
    "record_tokens": True,
    "entropy_strict": False,
}
# Where the way to the wrappers is itself what is broken, they come off when the next call starts.
REMOVES_WRAPPERS = (
    "taps.seams.Seams.restore",
    "taps.engine.EngineTap.close",
    "taps.engine.EngineTap._call",
    "taps.worker.call_tap",
    "taps.worker.Tap.close",
    "taps.runner_v0.RunnerV0Tap.detach",
    "taps.runner_v1.RunnerV1Tap.detach",
    "taps.runner_v2.RunnerV2Tap.detach",
)


@dataclass
class Tally:
    """The summary line of one test. A survivor is a broken call that cost no record."""

    name: str
    attempts: int = 0
    survivors: int = 0
    expected: int = 0
    found: int = 0
    wrong: list = field(default_factory=list)

    def check(self, holds, name, what):
        if not holds:
            self.wrong.append(f"{name}: {what}")

    def told(self, capsys):
        with capsys.disabled():
            print(
                f"\n{self.name}: attempts {self.attempts}, survivors {self.survivors}, "
                f"records expected {self.expected}, records found {self.found}"
            )
        assert not self.wrong, "\n".join(self.wrong)


class Bench:
    """Runs two recorded calls, the first with something broken, and compares them with stock."""

    def __init__(self, llm, tokenizer, directory):
        self.llm, self.tokenizer, self.directory = llm, tokenizer, directory
        self.runs = 0
        self.stock = [
            self.outputs(make_rollout(ToolRollout, llm, tokenizer, directory, **CONFIG), s) for s in (1, 2)
        ]
        self.clean = self.wrappers()
        rollout = self.rollout()
        with Tracer() as tracer:
            assert self.outputs(rollout, 1) == self.stock[0]
        self.events = dict(sorted(tracer.events.items()))
        assert self.outputs(rollout, 2) == self.stock[1]
        self.reference = [self.records(rollout, step) for step in (1, 2)]
        assert all(self.reference)
        assert not rollout.entropy_recorder.failures

    def rollout(self, **config):
        self.runs += 1
        directory = self.directory / str(self.runs)
        return make_rollout(
            record_entropy(ToolRollout), self.llm, self.tokenizer, directory, **(CONFIG | config)
        )

    def outputs(self, rollout, step):
        self.llm.reset_prefix_cache()
        # The engine draws from torch's generator, its second model runner each request's seed from numpy's.
        torch.manual_seed(step)
        np.random.seed(step)
        prompts = make_prompts(self.tokenizer, TEXTS, global_steps=step)
        output = rollout.generate_sequences(prompts)
        told = {k: v for k, v in output.meta_info["metrics"].items() if not k.startswith("entropy/")}
        return output.responses, output.loss_masks, output.texts, output.prompt_idx, told

    def records(self, rollout, step):
        path = rollout.entropy_recorder.settings.save_dir / f"entropy_step_{step}.json"
        return json.loads(path.read_text()) if path.exists() else []

    def wrappers(self):
        """Everything that a tap may leave: the attributes of the instances that it wraps, and hooks."""
        runner = self.llm.collective_rpc(lambda worker: worker.model_runner)[0]
        sampler = getattr(runner, "sampler", None) or runner.model.sampler
        held = (self.llm, sampler, getattr(sampler, "sampling_states", sampler))
        return [set(vars(owner)) for owner in held], len(getattr(sampler, "_forward_pre_hooks", ()))

    def attempt(self, breaking, tally, name, **config):
        """One broken call and one after it; `breaking` is a context in which something raises."""
        rollout = self.rollout(**config)
        entropy._path.cache_clear()
        with breaking as broken:
            same = self.outputs(rollout, 1) == self.stock[0]
        tally.check(same, name, "the outputs are not stock's")
        if name not in REMOVES_WRAPPERS:
            tally.check(self.wrappers() == self.clean, name, "a wrapper is left")
        same = self.outputs(rollout, 2) == self.stock[1]
        tally.check(same, name, "the outputs of the call after it are not stock's")
        tally.check(self.wrappers() == self.clean, name, "a wrapper is left after the next call")
        rollout.entropy_recorder._writer.close()
        first, second = (self.records(rollout, step) for step in (1, 2))
        # Nothing wrong is ever written: a record is the reference's, or it is marked, or it is not there.
        whole = [record for record in first if "incomplete" not in record]
        tally.check(all(record in self.reference[0] for record in whole), name, "a wrong record")
        tally.check(second == self.reference[1], name, "the next call is not recorded in full")
        told = rollout.entropy_recorder.failures or first == self.reference[0]
        tally.check(told, name, "records are missing and nobody was told")
        tally.attempts += 1
        tally.survivors += first == self.reference[0]
        tally.expected += sum(map(len, self.reference))
        tally.found += len(whole) + len(second)
        return broken, rollout


@pytest.fixture(scope="module")
def bench(llm, oracle, tmp_path_factory):
    yield Bench(llm, oracle.tokenizer, tmp_path_factory.mktemp("faults"))
    # What is sampled elsewhere depends on it.
    llm.reset_prefix_cache()


def test_every_function_that_raises_costs_records_at_most(bench, capsys):
    tally = Tally("every function raises")
    for name, function in recorder_functions().items():
        if name in bench.events:
            calls, _ = bench.attempt(always_raising(function), tally, name)
            tally.check(calls, name, "was not called")
    tally.told(capsys)
    assert tally.attempts > 50
