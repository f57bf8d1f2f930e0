"""The recorder is broken in every way there is, under a real engine; training must not see it.

Each function that a recorded call reaches raises, then single lines at random. After that the recorder is whole
again and the next call must be recorded in full. Long runs are marked `faults`.
"""

import json
import logging
import random
import sys
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from broken import (
    BOUNDARY,
    RECORDER,
    REMOVES_WRAPPERS,
    TOUCHES_FILES,
    BadText,
    Broken,
    Panic,
    Tracer,
    always_raising,
    is_in,
    recorder_functions,
)
from engines import KIND, ToolRollout, make_prompts, make_rollout
from summary_line import Summary

from arpo_entropy_recorder.mixin import record_entropy
from arpo_entropy_recorder.ops import entropy

if sys.version_info < (3, 11):
    pytest.skip(
        "functions are told apart by Python 3.11's co_qualname: NOT broken here", allow_module_level=True
    )

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


@dataclass
class Tally(Summary):
    """The summary line of one test. A survivor is a broken call that cost no record."""

    wrong: list = field(default_factory=list)

    def check(self, holds, name, what):
        if not holds:
            self.wrong.append(f"{name}: {what}")

    def told(self, capsys):
        self.show(capsys)
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
        self.codes, self.in_engine = tracer.codes, tracer.in_engine
        assert self.outputs(rollout, 2) == self.stock[1]
        self.reference = [self.records(rollout, step) for step in (1, 2)]
        assert all(self.reference)
        assert not rollout.arpo_entropy_recorder.failures

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
        path = rollout.arpo_entropy_recorder.settings.save_dir / f"entropy_step_{step}.json"
        return json.loads(path.read_text()) if path.exists() else []

    def wrappers(self):
        """Everything that a tap may leave: the attributes of the instances that it wraps, and hooks."""
        runner = self.llm.collective_rpc(lambda worker: worker.model_runner)[0]
        sampler = getattr(runner, "sampler", None) or runner.model.sampler
        held = (self.llm, self.llm.llm_engine, sampler, getattr(sampler, "sampling_states", sampler))
        return [set(vars(owner)) for owner in held], len(getattr(sampler, "_forward_pre_hooks", ()))

    def attempt(self, breaking, tally, name, **config):
        """One broken call and one after it; `breaking` is a context in which something raises."""
        rollout = self.rollout(**config)
        entropy._path.cache_clear()
        with breaking as broken:
            same = self.outputs(rollout, 1) == self.stock[0]
        tally.check(same, name, "the outputs are not stock's")
        if self.codes[name] not in REMOVES_WRAPPERS:
            tally.check(self.wrappers() == self.clean, name, "a wrapper is left")
        same = self.outputs(rollout, 2) == self.stock[1]
        tally.check(same, name, "the outputs of the call after it are not stock's")
        tally.check(self.wrappers() == self.clean, name, "a wrapper is left after the next call")
        rollout.arpo_entropy_recorder._writer.close()
        first, second = (self.records(rollout, step) for step in (1, 2))
        # Nothing wrong is ever written: a record is the reference's, or it is marked, or it is not there.
        whole = [record for record in first if "incomplete" not in record]
        tally.check(all(record in self.reference[0] for record in whole), name, "a wrong record")
        tally.check(second == self.reference[1], name, "the next call is not recorded in full")
        told = rollout.arpo_entropy_recorder.failures or first == self.reference[0]
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


ERRORS = [Broken, Panic, BadText, OSError(28, "full"), MemoryError, torch.OutOfMemoryError]


def is_possible(error, name, bench):
    """An OSError comes from files, and is waited for where files are written; hooks call nothing in Rust."""
    if error is Panic:
        return name not in bench.in_engine
    return not isinstance(error, OSError) or is_in(TOUCHES_FILES, bench.codes[name])


def test_what_is_broken_is_there(bench):
    """A name that matches nothing would leave out without a word what it was meant to break."""
    reached = set(bench.codes.values())
    for module in TOUCHES_FILES:
        assert any(is_in([module], code) for code in reached), f"no call reaches {module.__name__}"
    everything = {function.__code__ for function in recorder_functions().values()}
    assert REMOVES_WRAPPERS
    assert everything >= REMOVES_WRAPPERS
    assert BOUNDARY
    assert not everything & BOUNDARY
    for package in RECORDER:
        assert any(is_in([package], code) for code in reached | everything), package.__name__
    for error in ERRORS:
        assert any(is_possible(error, name, bench) for name in bench.events), f"{error!r} is never raised"


def break_lines_at_random(bench, capsys, name, attempts):
    tally, rng = Tally(name), random.Random(5)
    for _ in range(attempts):
        # By function and then by line, so that the lines of a hot loop are not all that is broken.
        function = rng.choice(list(bench.events))
        at = (function, rng.randrange(bench.events[function]))
        error = rng.choice([error for error in ERRORS if is_possible(error, function, bench)])
        tracer, _ = bench.attempt(Tracer(at, error), tally, function)
        tally.check(tracer.raised, function, f"line {at[1]} did not run")
    tally.told(capsys)


def test_single_lines_that_raise_once_at_random(bench, capsys):
    break_lines_at_random(bench, capsys, "lines raise once (short)", 40)


@pytest.mark.faults
def test_many_single_lines_that_raise_once_at_random(bench, capsys):
    break_lines_at_random(bench, capsys, "lines raise once", 1000)


@pytest.mark.faults
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError, Panic, BadText, OSError(5, "i/o"), ValueError, StopIteration]
)
def test_every_function_raises_every_kind_of_error(bench, capsys, error):
    tally = Tally(f"every function raises {error!r}")
    for name, function in recorder_functions().items():
        if name in bench.events and is_possible(error, name, bench):
            bench.attempt(always_raising(function, error), tally, name)
    tally.told(capsys)


def test_an_interrupt_passes_and_the_next_call_is_whole(bench, capsys):
    """At the first line of everything that runs between the engine's steps."""
    tally = Tally("interrupts")
    for name in bench.events:
        if name in bench.in_engine:
            continue
        rollout = bench.rollout()
        entropy._path.cache_clear()
        with Tracer((name, 0), KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
            bench.outputs(rollout, 1)
        if bench.codes[name] not in REMOVES_WRAPPERS:
            tally.check(bench.wrappers() == bench.clean, name, "a wrapper is left")
        tally.check(bench.outputs(rollout, 2) == bench.stock[1], name, "other outputs")
        tally.check(bench.wrappers() == bench.clean, name, "a wrapper is left after the next call")
        tally.check(not rollout.arpo_entropy_recorder.failures, name, "an interrupt was counted as a failure")
        rollout.arpo_entropy_recorder._writer.close()
        found = bench.records(rollout, 2)
        tally.check(found == bench.reference[1], name, "the next call is not recorded in full")
        tally.attempts += 1
        tally.expected += len(bench.reference[1])
        tally.found += len(found)
    tally.told(capsys)


@pytest.mark.parametrize(
    "name",
    [
        "recorder.session.EntropyRecorder._start",
        "recorder.batch_rollout.BatchRollout._announce",
        "recorder.batch_rollout.BatchRollout._follow",
        "recorder.session.EntropyRecorder._add_metrics",
        "step_files.write.StepWriter.flush",
    ],
)
def test_strict_raises_and_leaves_no_wrapper(bench, name):
    rollout = bench.rollout(entropy_strict=True)
    with always_raising(recorder_functions()[name]), pytest.raises(Broken):
        bench.outputs(rollout, 1)
    assert bench.wrappers() == bench.clean
    assert bench.outputs(rollout, 2) == bench.stock[1]


def test_strict_raises_what_a_hook_raised(bench):
    rollout = bench.rollout(entropy_strict=True)
    function = recorder_functions()["taps.buffer.EntropyBuffer.record"]
    with (
        always_raising(function),
        pytest.raises(RuntimeError, match=r"(?s)a hook in the engine failed.*Broken"),
    ):
        bench.outputs(rollout, 1)


def test_the_first_failure_is_logged_with_its_traceback_and_all_are_counted(bench, caplog):
    rollout = bench.rollout()
    prompts = make_prompts(bench.tokenizer, TEXTS, global_steps=1)
    with always_raising(recorder_functions()["recorder.lineage.TrajectoryTracker.begin"]):
        for failures in (1, 2, 3):
            metrics = rollout.generate_sequences(prompts).meta_info["metrics"]
            assert metrics["entropy/recorder_failures"] == failures
    (logged,) = (r for r in caplog.records if r.exc_info)
    assert "The rollout goes on" in logged.getMessage()
    assert logged.exc_info[0] is Broken


def test_a_logging_handler_that_raises_is_no_reason_to_stop(bench):
    class Raising(logging.Handler):
        def emit(self, record):
            raise Broken

    rollout = bench.rollout()
    handler = Raising()
    logging.getLogger().addHandler(handler)
    try:
        with always_raising(recorder_functions()["recorder.batch_rollout.BatchRollout._announce"]):
            assert bench.outputs(rollout, 1) == bench.stock[0]
    finally:
        logging.getLogger().removeHandler(handler)


def test_without_room_in_the_buffer_the_engine_is_told_to_expect_nothing(bench):
    """A place beyond the buffer's end is a device-side assertion on a GPU, which no boundary can catch."""
    rollout = bench.rollout()
    reserve = "taps.buffer.EntropyBuffer.reserve"
    tally = Tally("buffer")
    for at in range(bench.events[reserve]):
        bench.attempt(Tracer((reserve, at), torch.OutOfMemoryError("no room")), tally, reserve)
    assert not tally.wrong
    tap = rollout.arpo_entropy_recorder._tap
    runner = bench.llm.collective_rpc(lambda worker: worker.model_runner)[0]
    tap.open(1)
    tap.expect(4, 1, 0)
    with always_raising(recorder_functions()[reserve]), pytest.raises(Broken):
        tap.expect(1 << 20, 1, 4)
    number = tap._next_request()
    assert runner.entropy_tap.waiting == 0
    assert {runner.entropy_tap.slot(number + i) for i in range(-8, 8)} == {-1}
    tap.close()
