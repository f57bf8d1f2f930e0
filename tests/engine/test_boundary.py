"""What a rollout loop, an engine or a batch may do that the recorder did not expect, and what training sees of it.

The engine is real, its `generate` is a stub: what is passed to it and what it returns are compared by identity.
"""

import json
import threading
from collections.abc import Iterator
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
import torch

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.mixin import parallel_ranks, record_entropy
from arpo_entropy_recorder.recorder.settings import Settings
from arpo_entropy_recorder.recorder.trajectory import Segment

STOP = "</search>"


def answer(tokens, **lacks):
    """A RequestOutput of one completion, as far as loops look at it."""
    completion = {"index": 0, "token_ids": tuple(tokens), "stop_reason": STOP, "finish_reason": "stop"}
    for name in lacks:
        del completion[name]
    return SimpleNamespace(outputs=[SimpleNamespace(**completion)])


class Loop:
    """A rollout class that does whatever `script(generate)` does."""

    def __init__(self, llm, tokenizer, config, script):
        self.inference_engine, self.tokenizer, self.config, self.script = llm, tokenizer, config, script

    def generate_sequences(self, prompts, **kwargs):
        return self.script(self.inference_engine.generate)


@pytest.fixture
def engine(llm, monkeypatch):
    """`engine.returns` is what `generate` returns next; `engine.passed` what it was given."""
    stub = SimpleNamespace(passed=[], returns=[answer([1, 2])], before=lambda: None)

    def generate(self, *args, **kwargs):
        stub.passed.append((args, kwargs))
        stub.before()
        if isinstance(stub.returns, BaseException):
            raise stub.returns
        return stub.returns

    monkeypatch.setattr(type(llm), "generate", generate)
    stub.llm = llm
    return stub


@pytest.fixture
def loop(engine, oracle, tmp_path):
    def make(script, tokenizer=oracle.tokenizer, **config):
        return record_entropy(Loop)(
            engine.llm, tokenizer, {"entropy_save_dir": str(tmp_path)} | config, script
        )

    return make


def batch(rows=((1, 2, 3), (4, 5, 6)), **meta_info):
    return SimpleNamespace(batch={"input_ids": torch.tensor(rows)}, meta_info={"global_steps": 1} | meta_info)


def output(meta_info=None):
    return SimpleNamespace(meta_info={} if meta_info is None else meta_info)


def records(tmp_path, step=1):
    path = tmp_path / f"entropy_step_{step}.json"
    return json.loads(path.read_text()) if path.exists() else []


def left_on(llm):
    return "generate" in vars(llm)


WELL_FORMED = {
    "positional": lambda: (([[1, 2, 3]], None), {}),
    "by keyword": lambda: ((), {"prompts": [[1, 2, 3]], "sampling_params": SimpleNamespace(n=1)}),
    "by the old keyword": lambda: ((), {"prompt_token_ids": [[1, 2, 3]]}),
    "by the old third argument": lambda: ((None, SimpleNamespace(n=1), [[1, 2, 3]]), {}),
    "one prompt": lambda: (([1, 2, 3],), {}),
    "a dict": lambda: (({"prompt_token_ids": [1, 2, 3]},), {}),
    "a list of dicts": lambda: (([{"prompt_token_ids": [1, 2, 3]}], [SimpleNamespace(n=1)]), {}),
    "tuples": lambda: (([(1, 2, 3)],), {}),
    "arrays": lambda: (([np.array([1, 2, 3])],), {}),
    "tensors": lambda: (([torch.tensor([1, 2, 3])],), {}),
    "keywords of a later vLLM": lambda: (([[1, 2, 3]],), {"priority": [0], "use_tqdm": False}),
}
MALFORMED = {
    "nothing": lambda: ((), {}),
    "text": lambda: (("why?",), {}),
    "a list of texts": lambda: ((["why?"],), {}),
    "an iterator of prompts": lambda: ((iter([[1, 2, 3]]),), {}),
    "an iterator of tokens": lambda: (([iter([1, 2, 3])],), {}),
    "None": lambda: ((None,), {}),
    "a number": lambda: ((7,), {}),
    "None among the prompts": lambda: (([[1, 2, 3], None],), {}),
    "embeddings": lambda: (([{"prompt_embeds": torch.zeros(3, 8)}],), {}),
    "different numbers of completions": lambda: (([[1]], [SimpleNamespace(n=1), SimpleNamespace(n=2)]), {}),
}


@pytest.mark.parametrize("name", [*WELL_FORMED, *MALFORMED])
def test_the_engine_is_given_the_very_arguments_and_training_the_very_outputs(name, engine, loop, tmp_path):
    args, kwargs = {**WELL_FORMED, **MALFORMED}[name]()
    returned = []

    def script(generate):
        returned.append(generate(*args, **kwargs))
        return output()

    rollout = loop(script)
    rollout.generate_sequences(batch())
    ((passed_args, passed_kwargs),) = engine.passed
    assert [id(arg) for arg in passed_args] == [id(arg) for arg in args]
    assert {key: id(value) for key, value in passed_kwargs.items()} == {k: id(v) for k, v in kwargs.items()}
    assert returned[0] is engine.returns
    if args and isinstance(args[0], Iterator):
        assert len(list(args[0])) == 1
    if name == "an iterator of tokens":
        assert list(args[0][0]) == [1, 2, 3]
    assert not left_on(engine.llm)
    if name in WELL_FORMED:
        assert rollout.arpo_entropy_recorder.failures == 0
        assert [r["token_id"] for r in records(tmp_path)] == [1]
        assert "incomplete" not in records(tmp_path)[0]
    else:
        assert rollout.arpo_entropy_recorder.failures == 1
        assert records(tmp_path) == []


@pytest.mark.parametrize(
    "returns",
    [
        None,
        [],
        [None],
        [SimpleNamespace()],
        [answer([1]), answer([2])],
        [answer([1], token_ids=True)],
        iter([answer([1])]),
        (a for a in [answer([1])]),
        {0: answer([1])},
    ],
    ids=["none", "empty", "list of none", "no completions", "too many", "no tokens", "iterator", "generator", "dict"],
)  # fmt: skip
def test_outputs_of_an_unknown_form_are_handed_on_untouched(returns, engine, loop, tmp_path):
    engine.returns = returns
    rollout = loop(lambda generate: (generate([[1, 2, 3]]), output()))
    got, _ = rollout.generate_sequences(batch())
    assert got is returns
    if isinstance(returns, Iterator):
        assert len(list(returns)) == 1, "its items are the rollout's"
    assert rollout.arpo_entropy_recorder.failures >= 1
    assert all(r.get("incomplete") for r in records(tmp_path))
    assert not left_on(engine.llm)


def test_a_completion_without_a_stop_reason_is_recorded(engine, loop, tmp_path):
    engine.returns = [answer([1, 2], stop_reason=True)]
    rollout = loop(lambda generate: generate([[1, 2, 3]]) and output())
    rollout.generate_sequences(batch())
    assert [r["token_id"] for r in records(tmp_path)] == [1]
    assert not rollout.arpo_entropy_recorder.failures


@pytest.mark.parametrize(
    "prompts",
    [
        SimpleNamespace(batch={}, meta_info={"global_steps": 1}),
        SimpleNamespace(batch={"input_ids": None}, meta_info={"global_steps": 1}),
        SimpleNamespace(meta_info={"global_steps": 1}),
        batch(global_steps="one"),
        batch(global_steps=-(10**30)),
        SimpleNamespace(batch={"input_ids": torch.tensor([[1, 2, 3]])}, meta_info=7),
        None,
    ],
    ids=[
        "no input_ids",
        "none",
        "no batch",
        "step in words",
        "step below 0",
        "meta_info a number",
        "nothing",
    ],
)
def test_a_batch_of_an_unknown_form_is_rolled_out(prompts, engine, loop, tmp_path):
    told = output()
    rollout = loop(lambda generate: generate([[1, 2, 3]]) and told)
    assert rollout.generate_sequences(prompts) is told
    assert told.meta_info["metrics"]["entropy/recorder_failures"] >= 1
    assert list(tmp_path.glob("entropy_*step_*.json")) == []
    assert not left_on(engine.llm)
    rollout.generate_sequences(batch())
    assert len(records(tmp_path)) == 1, "the next call is recorded"


@pytest.mark.parametrize("meta_info", [None, MappingProxyType({"global_steps": 1})], ids=["none", "frozen"])
def test_meta_info_that_is_missing_or_frozen_is_fine(meta_info, engine, loop, tmp_path):
    prompts = SimpleNamespace(batch={"input_ids": torch.tensor([[1, 2, 3]])}, meta_info=meta_info)
    rollout = loop(lambda generate: generate([[1, 2, 3]]) and output())
    rollout.generate_sequences(prompts)
    assert not rollout.arpo_entropy_recorder.failures
    assert len(records(tmp_path)) == 1


@pytest.mark.parametrize(
    "told", [None, 3, SimpleNamespace(), SimpleNamespace(meta_info=None), output(MappingProxyType({})),
             output({"metrics": None}), output({"metrics": [1]})]
)  # fmt: skip
def test_an_output_that_takes_no_metrics_is_returned_as_it_is(told, engine, loop):
    before = repr(told)
    rollout = loop(lambda generate: generate([[1, 2, 3]]) and told)
    rollout.arpo_entropy_recorder.boundary.failures = 1
    assert rollout.generate_sequences(batch()) is told
    assert repr(told) == before


def test_the_loops_own_metrics_keep_their_dict(engine, loop):
    own = {"tools/total_calls": 3}
    told = output({"metrics": own})
    rollout = loop(lambda generate: generate([[1, 2, 3]]) and told)
    rollout.arpo_entropy_recorder.boundary.failures = 4
    rollout.generate_sequences(batch())
    assert own == {"tools/total_calls": 3}
    expected = own | {"entropy/recorder_failures": 4, "entropy/tool_results": 0, "entropy/null": 1}
    assert told.meta_info["metrics"] == expected


def test_a_tokenizer_without_a_padding_token(engine, loop, oracle, tmp_path):
    tokenizer = SimpleNamespace(get_vocab=oracle.tokenizer.get_vocab, decode=oracle.tokenizer.decode)
    rollout = loop(lambda generate: generate([[1, 2, 3]]) and output(), tokenizer)
    rollout.generate_sequences(batch())
    assert not rollout.arpo_entropy_recorder.failures
    assert records(tmp_path)[0]["prompt_idx"] == 0


def test_a_tokenizer_that_fails_costs_lineage_and_no_more(engine, loop, oracle, tmp_path):
    def panics(tokens):
        raise type("PanicException", (BaseException,), {})

    tokenizer = SimpleNamespace(get_vocab=oracle.tokenizer.get_vocab, decode=panics, pad_token_id=0)
    tokens = [1, 2, 3]

    def script(generate):
        engine.returns = [answer([7], stop_reason=True)]
        for _ in range(3):
            generate([tokens])
            tokens.extend([7, 8])
        return output()

    rollout = loop(script, tokenizer)
    rollout.generate_sequences(batch())
    assert rollout.arpo_entropy_recorder.failures == 1
    assert [r["incomplete"] for r in records(tmp_path)] == [True]


def test_generate_called_from_another_thread_is_recorded(engine, loop, tmp_path):
    def script(generate):
        thread = threading.Thread(target=generate, args=([[1, 2, 3]],))
        thread.start()
        thread.join()
        return output()

    rollout = loop(script)
    rollout.generate_sequences(batch())
    assert not rollout.arpo_entropy_recorder.failures
    assert len(records(tmp_path)) == 1


def test_generate_called_by_two_threads_at_once_is_marked_incomplete(engine, loop, tmp_path):
    both = threading.Barrier(2, timeout=120)
    engine.before = both.wait

    def script(generate):
        threads = [threading.Thread(target=generate, args=([[i, 2, 3]],)) for i in (1, 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return output()

    rollout = loop(script)
    rollout.generate_sequences(batch())
    assert len(engine.passed) == 2
    assert rollout.arpo_entropy_recorder.failures == 1
    assert [r["incomplete"] for r in records(tmp_path)] == [True]


def test_an_error_of_the_engine_passes_and_what_a_retry_makes_is_marked(engine, loop, tmp_path):
    engine.returns = ValueError("the engine's own")
    rollout = loop(lambda generate: generate([[1, 2, 3]]))
    with pytest.raises(ValueError, match="the engine's own"):
        rollout.generate_sequences(batch())
    assert not left_on(engine.llm)
    assert not rollout.arpo_entropy_recorder.failures
    assert records(tmp_path) == []

    def retries(generate):
        good, engine.returns = [answer([1])], [answer([1])]
        generate([[1, 2, 3]])
        engine.returns = ValueError("the engine's own")
        with pytest.raises(ValueError, match="the engine's own"):
            generate([[4, 5, 6]])
        engine.returns = good
        return generate([[4, 5, 6]]) and output()

    rollout.script = retries
    rollout.generate_sequences(batch())
    assert [r["incomplete"] for r in records(tmp_path)] == [True]


@pytest.mark.parametrize("passing", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_meant_to_end_the_process_passes(passing, engine, loop):
    rollout = loop(lambda generate: generate([[1, 2, 3]]))
    engine.returns = passing()
    with pytest.raises(passing):
        rollout.generate_sequences(batch())
    assert not left_on(engine.llm)
    rollout.arpo_entropy_recorder._finish = lambda *_: (_ for _ in ()).throw(passing())
    engine.returns = [answer([1])]
    if passing is not GeneratorExit:
        with pytest.raises(passing):
            rollout.generate_sequences(batch())


def test_who_wraps_generate_meanwhile_keeps_the_wrapper(engine, loop, tmp_path):
    llm, seen = engine.llm, []

    def script(generate):
        below = llm.generate

        def profiled(*args, **kwargs):
            seen.append(args)
            return below(*args, **kwargs)

        llm.generate = profiled
        return llm.generate([[1, 2, 3]]) and output()

    rollout = loop(script)
    rollout.generate_sequences(batch())
    try:
        assert llm.generate.__name__ == "profiled"
        assert llm.generate([[4, 5, 6]]) is engine.returns
        assert (len(seen), len(records(tmp_path))) == (2, 1)
        rollout.script = lambda generate: generate([[4, 5, 6]]) and output()
        rollout.generate_sequences(batch(global_steps=2))
        assert (len(seen), len(records(tmp_path, 2))) == (3, 1)
        assert not rollout.arpo_entropy_recorder.failures
    finally:
        del llm.generate


def test_a_call_within_a_call_belongs_to_the_outer_one(engine, loop, tmp_path):
    def inner(generate):
        return generate([[4, 5, 6]]) and output()

    def outer(generate):
        generate([[1, 2, 3]])
        rollout.script = inner
        rollout.generate_sequences(batch(global_steps=9))
        return generate([[1, 2, 3, 1]]) and output()

    rollout = loop(outer)
    rollout.generate_sequences(batch())
    assert not rollout.arpo_entropy_recorder.failures
    assert [r["prompt_idx"] for r in records(tmp_path)] == [0, 1, 0]
    assert records(tmp_path, 9) == []
    assert not left_on(engine.llm)


def test_a_driver_may_be_told_its_segments(engine, loop, tmp_path):
    """Nothing is inferred and `generate` is left alone: what a driver of another kind of loop says is recorded."""
    recorder = loop(None).arpo_entropy_recorder
    segment = Segment(
        sample_idx=3, prompt_idx=1, parent_idx=0, round=2, tool="search", is_after_tool_call=True
    )
    with recorder.recording(engine.llm, batch()) as call:
        assert not left_on(engine.llm)
        recorder.announce(call, [segment], completions=1)
        recorder.complete(call, [[7, 8]])
    (record,) = records(tmp_path)
    told = {"sample_idx": 3, "prompt_idx": 1, "parent_idx": 0, "round": 2, "tool": "search", "token_id": 7}
    assert told.items() <= record.items()
    assert not recorder.failures


def test_an_engine_with_a_generate_of_its_own_gets_that_one_back(engine, loop):
    def own(*args, **kwargs):
        return engine.returns

    engine.llm.generate = own
    try:
        rollout = loop(lambda generate: generate([[1, 2, 3]]) and output())
        rollout.generate_sequences(batch())
        assert engine.llm.generate is own
    finally:
        del engine.llm.generate


@pytest.mark.parametrize(
    ("config", "environ", "expected"),
    [
        ({}, {}, 100),
        ({"entropy_pending_steps": 7}, {}, 7),
        ({"entropy_pending_steps": 7}, {"ARPO_ENTROPY_PENDING_STEPS": "3"}, 3),
    ],
)
def test_how_many_steps_may_wait_is_a_setting(config, environ, expected):
    assert Settings.read(config, environ).pending_steps == expected


def test_an_engine_that_is_none_is_one_line_at_construction(oracle, tmp_path):
    with pytest.raises(UserError, match=r"of the class object; supported are vLLM") as error:
        record_entropy(Loop)(object(), oracle.tokenizer, {"entropy_save_dir": str(tmp_path)}, None)
    assert "\n" not in str(error.value)


def test_the_setting_reaches_the_writer(loop):
    assert loop(None, entropy_pending_steps=2).arpo_entropy_recorder._writer.max_pending_steps == 2


@pytest.mark.parametrize("value", [0, -1, "many", 1.5, [], True])
def test_no_number_of_steps_is_one_line(value):
    with pytest.raises(UserError, match="entropy_pending_steps=") as error:
        Settings.read({"entropy_pending_steps": value}, {})
    assert "\n" not in str(error.value)


class TakesNotes(Loop):
    """A fork whose class keeps entropies of its own, as the guide shows, under names that a recorder may like too."""

    def __init__(self, *args):
        self.entropy_history = []
        self.entropy_recorder = None
        self.fast_logprobs = self.cheap_masks = 3
        super().__init__(*args)

    def generate_sequences(self, prompts, **kwargs):
        assert self.entropy_recorder is None
        self.entropy_history.append({"entropy": 0.5})
        return super().generate_sequences(prompts, **kwargs)


@pytest.mark.parametrize("switch", ["on", "off"])
def test_a_class_with_notes_of_its_own_keeps_them(switch, engine, oracle, tmp_path):
    config = {"entropy_save_dir": str(tmp_path), "entropy_recorder": switch}
    rollout = record_entropy(TakesNotes)(
        engine.llm, oracle.tokenizer, config, lambda generate: generate([[1, 2, 3]]) and output()
    )
    rollout.generate_sequences(batch())
    assert rollout.entropy_history == [{"entropy": 0.5}]
    assert (rollout.entropy_recorder, rollout.fast_logprobs, rollout.cheap_masks) == (None, 3, 3)
    assert len(list(tmp_path.glob("entropy_step_*.json"))) == (switch == "on")


def test_off_looks_at_nothing_of_the_class(oracle):
    class Bare:
        config = MappingProxyType({"entropy_recorder": "off"})

        def __init__(self, device_mesh):
            pass

    assert record_entropy(Bare)(device_mesh=object()).arpo_entropy_recorder is None


def test_a_mesh_without_the_dimensions_of_verl_is_no_obstacle():
    assert parallel_ranks({}, SimpleNamespace(mesh_dim_names=("fsdp",))) == (0, 1, 0)


def test_a_validation_that_is_not_told_the_step_is_of_the_last_training_step(engine, loop, tmp_path):
    rollout = loop(lambda generate: generate([[1, 2, 3]]) and output())
    rollout.generate_sequences(batch(global_steps=7))
    for _ in range(2):
        rollout.generate_sequences(batch(validate=True, global_steps=None))
    assert sorted(path.name for path in tmp_path.glob("entropy_*step_*.json")) == [
        "entropy_step_7.json",
        "entropy_validate_step_7.json",
    ]


def test_a_call_without_a_step_belongs_to_the_step_last_given(engine, loop, tmp_path):
    rollout = loop(lambda generate: (generate([[1, 2, 3]]), output())[1])
    untold = SimpleNamespace(batch=batch().batch, meta_info={"do_sample": True})
    for prompts in (batch(), untold, batch(global_steps=2), untold, batch(global_steps=2)):
        rollout.generate_sequences(prompts)
    assert [record["call"] for record in records(tmp_path, 1)] == [0, 1]
    assert [record["call"] for record in records(tmp_path, 2)] == [0, 1, 2]
    assert not records(tmp_path, 3)
