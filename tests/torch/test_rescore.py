"""Rescoring dumped trajectories: against the live recorder, against transformers, and against bad dumps."""

import json
import math
import subprocess
import sys

import pytest
import torch
from engines import KIND, ToolRollout, make_rollout

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.mixin import record_entropy
from arpo_entropy_recorder.rescore.run import RescoreSettings, rescore
from arpo_entropy_recorder.rollout.loop import Prompts
from arpo_entropy_recorder.rollout.prompts import encode_prompts, pad_left
from arpo_entropy_recorder.rollout.toy_agent import build_toy_agent

QUESTIONS = ("Who wrote it?", "How many are there, and where?", "Why?")
SMALL = {"response_length": 48, "n": 2, "initial_rollouts": 1} if KIND == "v2" else {}


def dump(directory, step, tokenizer, pairs, **more):
    """Write (prompt, response) token ids as verl does: texts without special tokens, a line each."""
    directory.mkdir(exist_ok=True)
    with open(directory / f"{step}.jsonl", "w") as file:
        for prompt, response in pairs:
            texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in (prompt, response)]
            entry = {"input": texts[0], "output": texts[1], "score": 0.5, "step": step} | more
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def read(directory, step=1):
    return json.loads((directory / f"entropy_step_{step}.json").read_text())


def by_place(records):
    return {(entry["sample_idx"], entry["round"]): entry for entry in records}


@pytest.fixture(scope="module")
def live(llm, oracle, tmp_path_factory):
    """A rollout through the chat template, with branches, and its live recording: (trajectories, records)."""
    out, tokenizer = tmp_path_factory.mktemp("live"), oracle.tokenizer
    config = {"entropy_window": 3, "temperature": 0.7} | SMALL
    rollout = make_rollout(record_entropy(ToolRollout), llm, tokenizer, out, **config)
    torch.manual_seed(0)
    rows = pad_left(encode_prompts(QUESTIONS, tokenizer), tokenizer.pad_token_id)
    rollout.generate_sequences(Prompts({"input_ids": rows}, {"global_steps": 1}))
    pairs = [(t.tokens[: t.prompt_length], t.tokens[t.prompt_length :]) for t in rollout.trajectories]
    return rollout, pairs, read(out)


def test_records_equal_the_live_recorders_on_the_same_trajectories(live, oracle, toy_agent, tmp_path):
    _, pairs, recorded = live
    dump(tmp_path / "dumps", 1, oracle.tokenizer, pairs)
    settings = RescoreSettings(str(toy_agent), str(tmp_path / "dumps"), temperature=0.7, window=3)
    summary = rescore(tmp_path / "out", settings, max_batch_tokens=512)
    assert summary.lines == {"all": len(pairs)}
    found = by_place(read(tmp_path / "out"))

    # Special tokens are not in a dump.
    special = set(oracle.tokenizer.all_special_ids)
    seen = [entry for entry in recorded if entry["token_id"] not in special]
    assert len(seen) > 0.8 * len(recorded)
    for entry in seen:
        again = found.pop((entry["sample_idx"], entry["round"]))
        for key in (
            "prompt_idx",
            "prompt",
            "parent_idx",
            "tool",
            "is_after_tool_call",
            "token_id",
            "global_step",
        ):
            assert again[key] == entry[key]
        ends = [i for i, token in enumerate(entry["window"]) if i < len(again["window"])]
        scale = oracle.norm
        assert [again["window"][i] * scale for i in ends] == pytest.approx(
            [entry["window"][i] * scale for i in ends], abs=1e-4
        )
        assert again["entropy"] == again["window"][0]
        assert again["source"] == "rescored"
        assert again["tokens"][0] == again["token_id"]
    assert not found
    if KIND != "v2":
        assert any(entry["parent_idx"] is not None for entry in seen)


def test_token_ids_in_the_dump_are_used_as_they_are(live, oracle, toy_agent, tmp_path):
    _, pairs, recorded = live
    pad = oracle.tokenizer.pad_token_id
    with_ids = [
        {"input_ids": [pad] * 3 + prompt, "output_ids": response + [pad] * 2, "step": 1}
        for prompt, response in pairs
    ]
    (tmp_path / "dumps").mkdir()
    (tmp_path / "dumps" / "any.jsonl").write_text("\n".join(map(json.dumps, with_ids)))
    rescore(tmp_path / "out", RescoreSettings(str(toy_agent), str(tmp_path / "dumps"), temperature=0.7))
    found = by_place(read(tmp_path / "out"))
    continued = {
        (e["sample_idx"], e["round"]) for e in recorded if e["round"] and not e["is_after_tool_call"]
    }
    for entry in recorded:  # those that end in special tokens, too
        place = (entry["sample_idx"], entry["round"])
        if place not in continued:
            assert found[place]["token_id"] == entry["token_id"]
            assert found[place]["prompt"] == entry["prompt"]
            assert found[place]["entropy"] * oracle.norm == pytest.approx(
                entry["entropy"] * oracle.norm, abs=1e-4
            )


def test_batches_change_nothing_and_a_second_run_does_only_what_is_new(live, oracle, toy_agent, tmp_path):
    _, pairs, _ = live
    for step in (1, 2):
        dump(tmp_path / "dumps", step, oracle.tokenizer, pairs)
    settings = RescoreSettings(str(toy_agent), str(tmp_path / "dumps"))
    shares = []
    summary = rescore(tmp_path / "out", settings, 10_000, progress=lambda what, share: shares.append(share))
    assert (summary.steps, summary.done_before) == (2, 0)
    assert sum(shares) == pytest.approx(1.0)
    assert read(tmp_path / "out", 1)[0] | {"global_step": 2} == read(tmp_path / "out", 2)[0]

    longest = max(len(prompt) + len(response) for prompt, response in pairs)
    rescore(tmp_path / "one_by_one", settings, longest)
    for one, other in zip(read(tmp_path / "out"), read(tmp_path / "one_by_one"), strict=True):
        assert one["entropy"] == pytest.approx(other["entropy"], abs=1e-6)

    dump(tmp_path / "dumps", 2, oracle.tokenizer, pairs[:2])
    (tmp_path / "out" / "entropy_step_1.json").touch()
    before = (tmp_path / "out" / "entropy_step_1.json").stat().st_mtime_ns
    summary = rescore(tmp_path / "out", settings)
    assert (summary.steps, summary.done_before) == (1, 1)
    assert (tmp_path / "out" / "entropy_step_1.json").stat().st_mtime_ns == before
    assert {entry["sample_idx"] for entry in read(tmp_path / "out", 2)} == {0, 1}


def test_each_step_may_have_a_checkpoint_of_its_own(toy_agent, oracle, tmp_path):
    from arpo_entropy_recorder.rollout.toy_agent import build_toy_agent

    other = build_toy_agent(tmp_path / "other", seed=1)
    (tmp_path / "dumps").mkdir()
    for step, model in ((1, toy_agent), (2, other), (2, other)):
        file = tmp_path / "dumps" / f"{step}.jsonl"
        file.write_text(json.dumps(GOOD | {"step": step}))
        summary = rescore(tmp_path / "out", RescoreSettings(str(model), str(file)))
    assert (summary.steps, summary.done_before) == (0, 1)
    first, second = ([e["entropy"] for e in read(tmp_path / "out", step)] for step in (1, 2))
    assert first != second
    # Rescored with the first step's model instead, it has that model's entropies.
    rescore(tmp_path / "out", RescoreSettings(str(toy_agent), str(tmp_path / "dumps" / "2.jsonl")))
    assert [e["entropy"] for e in read(tmp_path / "out", 2)] == pytest.approx(first)


def test_what_is_interrupted_leaves_whole_steps_only_and_goes_on_from_there(toy_agent, tmp_path):
    (tmp_path / "dumps").mkdir()
    for step in (1, 2, 3):
        lines = [json.dumps(GOOD | {"step": step, "output": "a" * i + GOOD["output"]}) for i in range(4)]
        (tmp_path / "dumps" / f"{step}.jsonl").write_text("\n".join(lines))
    settings = RescoreSettings(str(toy_agent), str(tmp_path / "dumps"))

    def interrupt(what, share):
        if what == "step 2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rescore(tmp_path / "out", settings, progress=interrupt)
    left = sorted(file.name for file in (tmp_path / "out").glob("[!.]*"))
    assert left == ["entropy_step_1.json", "rescore.json"]
    # As if it had been killed between a step file and the note that it is done.
    rescore(tmp_path / "out", settings)
    whole = read(tmp_path / "out", 2)
    manifest = json.loads((tmp_path / "out" / "rescore.json").read_text())
    del manifest["steps"]["2"]
    (tmp_path / "out" / "rescore.json").write_text(json.dumps(manifest))
    summary = rescore(tmp_path / "out", settings)
    assert (summary.steps, summary.done_before) == (1, 2)
    assert read(tmp_path / "out", 2) == whole


def test_what_a_model_does_to_its_logits_is_done_here(tmp_path):
    """Gemma 2 caps its logits after the head: against a plain forward pass of the whole sequence."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    from arpo_entropy_recorder.rescore.prefill import Prefill, Probe

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, final_logit_softcapping=2.0, sliding_window=8, pad_token_id=0,
    )  # fmt: skip
    model = Gemma2ForCausalLM(config).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(40)
    tokens = torch.randint(1, 96, (20,)).tolist()
    probes = [Probe(tokens, [3, 19]), Probe(tokens[:7], [0, 6])]
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].double()
    logits[:, 90:] = -torch.inf  # the tokenizer's vocabulary
    log_p = torch.log_softmax(logits, -1)
    expected = -(log_p.exp() * log_p).nan_to_num(0).sum(-1)
    found = dict(Prefill(model, range(90), max_batch_tokens=64).entropies(probes))
    for index, probe in enumerate(probes):
        assert found[index].tolist() == pytest.approx(expected[probe.positions].tolist(), abs=1e-5)


def test_prompts_whose_markers_cannot_be_put_back_are_used_as_they_stand(toy_agent, oracle, tmp_path):
    tokenizer, prompt, response = oracle.tokenizer, "No roles here", "a</search> <result>\nx\n</result>bc"
    (tmp_path / "dumps").mkdir()
    (tmp_path / "dumps" / "7.jsonl").write_text(json.dumps({"input": prompt, "output": response}))
    summary = rescore(tmp_path / "out", RescoreSettings(str(toy_agent), str(tmp_path / "dumps")))
    assert summary.lines == {"all": 1, "without turn markers": 1}
    records = read(tmp_path / "out", 7)
    assert [(e["round"], e["tool"]) for e in records] == [(0, None), (1, "search")]
    context = tokenizer.encode(prompt + response.removesuffix("bc"), add_special_tokens=False)
    nats = oracle.window_nats(context, tokenizer.encode("b"), 1.0)
    assert records[1]["entropy"] * math.log(len(tokenizer.get_vocab())) == pytest.approx(nats[0], abs=1e-4)


def test_what_trajectories_share_up_to_a_tool_result_counts_once(toy_agent, oracle, tmp_path):
    def result(word):
        return f" <result>\n{word}\n</result>"

    outputs = [
        "a</search>" + result("x") + "b</search>" + result("y") + "c",
        "a</search>" + result("x") + "b</search>" + result("z") + "c",  # branched after the first result
        "a</search>" + result("x") + "b</search>" + result("z") + "d",  # and this one from that
        "a</search>" + result("y") + "b",  # the same words before another result: a sample of its own
        "a</search>" + result("x"),  # a branch that wrote nothing of its own
    ]
    dump_lines = [json.dumps({"input": "user\nQ\nassistant\n", "output": output}) for output in outputs]
    (tmp_path / "dumps").mkdir()
    (tmp_path / "dumps" / "1.jsonl").write_text("\n".join(dump_lines))
    rescore(tmp_path / "out", RescoreSettings(str(toy_agent), str(tmp_path / "dumps")))
    found = [(e["sample_idx"], e["round"], e["parent_idx"]) for e in read(tmp_path / "out")]
    own = {0: ([0, 1, 2], None), 1: ([1, 2], 0), 2: ([2], 1), 3: ([0, 1], None)}
    assert found == [(sample, r, parent) for sample, (rounds, parent) in own.items() for r in rounds]


GOOD = {"input": "user\nQ\nassistant\n", "output": "a</search> <result>\nx\n</result>b", "step": 1}
BAD_LINES = {
    "not JSON": ('{"input": "a", "out', "not JSON"),
    "a list": ("[1]", "not a JSON object"),
    "no output": (json.dumps({"input": "a", "step": 1}), "no key 'output'"),
    "no input": (json.dumps({"output": "a", "step": 1}), "no key 'input'"),
    "a number": (json.dumps(GOOD | {"output": 3}), "'output': not a text"),
    "a step in words": (json.dumps(GOOD | {"step": "one"}), "'step': not a step number"),
    "a step beyond all names": (json.dumps(GOOD | {"step": 10**18}), "more digits than a step file's name"),
    "an empty response": (json.dumps(GOOD | {"output": ""}), "the response is empty"),
    "an empty prompt": (json.dumps(GOOD | {"input": ""}), "the prompt is empty"),
    "negative ids": (json.dumps({"input_ids": [1], "output_ids": [-1], "step": 1}), "'output_ids': not a list of"),
    "ids of another model": (json.dumps({"input_ids": [1], "output_ids": [10**6], "step": 1}), "10000"),
    "too long": (json.dumps(GOOD | {"output": "a" * 5000}), "tokens, more than the model's context of 4096"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_line_is_named_and_may_be_left_out(case, toy_agent, tmp_path):
    line, message = BAD_LINES[case]
    (tmp_path / "dumps").mkdir()
    file = tmp_path / "dumps" / "1.jsonl"
    file.write_text(json.dumps(GOOD) + "\n\n" + line + "\n")
    settings = RescoreSettings(str(toy_agent), str(tmp_path / "dumps"))
    with pytest.raises(UserError) as caught:
        rescore(tmp_path / "out", settings)
    assert str(caught.value).startswith(f"{file}: line 3")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("entropy_*"))
    skipped = []
    rescore(tmp_path / "out", settings, skip=skipped.append)
    assert [str(error) for error in skipped] == [str(caught.value)]
    assert {entry["sample_idx"] for entry in read(tmp_path / "out")} == {0}


def test_directories_and_models_that_do_not_fit_are_refused_in_one_line(toy_agent, tmp_path):
    dumps, out = tmp_path / "dumps", tmp_path / "out"
    settings = RescoreSettings(str(toy_agent), str(dumps))

    def refused(match, settings=settings, out=out):
        with pytest.raises(UserError, match=match) as caught:
            rescore(out, settings)
        assert "\n" not in str(caught.value)

    refused("no such file or directory")
    dumps.mkdir()
    refused("no .jsonl in it")
    (dumps / "1.jsonl").write_text(json.dumps(GOOD | {"output": "no tools"}))
    refused("tools search,python: no tool result .* name the policy's tools")
    (dumps / "1.jsonl").write_text(json.dumps(GOOD))
    refused("no such directory", RescoreSettings(str(tmp_path / "nothing"), str(dumps)))
    (dumps / "again.jsonl").write_text(json.dumps(GOOD))
    refused(r"step 1 is in .*jsonl, too")
    (dumps / "again.jsonl").unlink()
    rescore(out, settings)
    refused("other settings .window 1, now 2.", RescoreSettings(str(toy_agent), str(dumps), window=2))

    recording = tmp_path / "recording"
    recording.mkdir()
    (recording / "entropy_step_1.json").write_text("[]\n")
    refused("a recording", out=recording)
    assert (recording / "entropy_step_1.json").read_text() == "[]\n"


def test_a_step_whose_first_segment_is_long_is_known_as_rescored_and_rescored_again(toy_agent, tmp_path):
    thought = "<think>" + "a " * 3000 + "</think>"
    for step, thought_of_step in ((1, thought), (2, "")):
        line = GOOD | {"output": thought_of_step + GOOD["output"], "step": step}
        (tmp_path / f"{step}.jsonl").write_text(json.dumps(line))
    out = tmp_path / "out"
    for seed in (0, 1):
        model = build_toy_agent(tmp_path / f"model{seed}", seed=seed, max_length=8192)
        for step in (1, 2):
            rescore(out, RescoreSettings(str(model), str(tmp_path / f"{step}.jsonl")))
    assert len(read(out, 1)) == len(read(out, 2))


def test_a_model_whose_error_has_no_words_is_told_by_the_errors_name(monkeypatch):
    import transformers

    from arpo_entropy_recorder.rescore.prefill import load_model

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", fail)
    with pytest.raises(UserError, match="here: cannot be loaded: MemoryError"):
        load_model("here")


def test_a_gpu_without_room_for_the_model_is_one_line(toy_agent, monkeypatch):
    from arpo_entropy_recorder.rescore.prefill import load_model

    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 14 GiB")

    monkeypatch.setattr(torch.nn.Module, "to", fail)
    with pytest.raises(UserError, match=r"cannot be loaded: CUDA out of memory\.$"):
        load_model(str(toy_agent))


@pytest.mark.parametrize("missing", [["torch"], ["torch", "transformers"]])
@pytest.mark.parametrize("command", [["rescore"], ["plot", "--rollout_dir"]], ids=lambda words: words[0])
def test_without_torch_one_line_says_what_to_install(
    command, missing, toy_agent, tmp_path, monkeypatch, capsys
):
    from arpo_entropy_recorder.cli import main

    (tmp_path / "1.jsonl").write_text(json.dumps(GOOD))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "arpo_entropy_recorder.commands.arguments.find_spec", lambda name: None if name in missing else True
    )
    assert main([*command, str(tmp_path), "--model", str(toy_agent)]) == 2
    line = f"rescore needs torch and transformers: pip install {' '.join(missing)}"
    assert capsys.readouterr().err == f"arpo-entropy: error: {line}\n"
    assert [file.name for file in tmp_path.iterdir()] == ["1.jsonl"]


def test_the_guides_script_plots_a_dump_with_one_command(toy_agent, tmp_path):
    (tmp_path / "dumps").mkdir()
    (tmp_path / "dumps" / "1.jsonl").write_text(json.dumps(GOOD))
    command = [sys.executable, "-m", "arpo_entropy_recorder", "plot", "--rollout_dir", "dumps"]
    without = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (without.returncode, without.stderr.count("\n")) == (2, 1)
    assert "--model PATH" in without.stderr
    done = subprocess.run([*command, "--model", str(toy_agent)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "entropy_increase.png").stat().st_size > 10_000
    assert len(read(tmp_path / "dumps" / "entropies")) == 2


def test_a_plot_of_a_dump_may_leave_bad_lines_out(toy_agent, tmp_path, monkeypatch, capsys):
    from arpo_entropy_recorder.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "dumps").mkdir()
    (tmp_path / "dumps" / "1.jsonl").write_text(f"{json.dumps(GOOD)}\n[1]\n")
    command = ["plot", "--rollout_dir", "dumps", "--model", str(toy_agent)]
    assert main(command) == 2
    assert "line 2" in capsys.readouterr().err
    assert main([*command, "--skip_bad"]) == 0
    assert "skipped: dumps/1.jsonl: line 2" in capsys.readouterr().err
    assert (tmp_path / "entropy_increase.png").exists()


def test_a_batchs_own_tensors_have_the_entropies_of_the_plain_form(toy_agent, oracle, tmp_path):
    """verl's `input_ids` are prompt and response, padded on both sides: no response is scored in its own wake."""
    tokenizer = oracle.tokenizer
    pad = tokenizer.pad_token_id
    prompt = encode_prompts(["Q"], tokenizer)[0]
    response = tokenizer.encode(GOOD["output"], add_special_tokens=False)
    mask = [int(not 2 <= at < len(response) - 1) for at in range(len(response))]
    left, right = [pad] * 3, [pad] * 2
    forms = {
        "plain": {"prompt_ids": prompt, "response_ids": response},
        "whole": {"input_ids": [*left, *prompt, *response, *right], "response_ids": [*response, *right]},
        "verl": {
            "prompts": left + prompt,
            "responses": response + right,
            "input_ids": [*left, *prompt, *response, *right],
            "attention_mask": [0] * 3 + [1] * len(prompt + response) + [0] * 2,
            "response_mask": [*mask, 0, 0],
        },
    }
    found = {}
    for name, entry in forms.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jsonl").write_text(json.dumps(entry | {"score": math.nan}))
        rescore(tmp_path / name / "out", RescoreSettings(str(toy_agent), str(tmp_path / name)))
        found[name] = [entry["entropy"] for entry in read(tmp_path / name / "out")]
    assert found["whole"] == pytest.approx(found["plain"], abs=1e-6)
    assert found["verl"] == pytest.approx(found["plain"], abs=1e-6)


def test_what_could_not_be_put_back_is_kept_and_named(toy_agent, tmp_path, capsys):
    from arpo_entropy_recorder.cli import main

    (tmp_path / "dumps").mkdir()
    prompts = ("no roles", "user\nwhat?\nuser\nsaid\nassistant\n", GOOD["input"])
    lines = [json.dumps(GOOD | {"input": prompt}) for prompt in prompts]
    (tmp_path / "dumps" / "1.jsonl").write_text("\n".join(lines))
    out = tmp_path / "out"
    assert main(["rescore", str(tmp_path / "dumps"), "--model", str(toy_agent), "-o", str(out)]) == 0
    counts = json.loads((out / "rescore.json").read_text())["steps"]["1"]["lines"]
    assert counts == {"all": 3, "without turn markers": 1, "ambiguous turns": 1}
    assert [entry.get("inexact") for entry in read(out)] == [True] * 4 + [None] * 2
    capsys.readouterr()
    assert main(["stats", str(out)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Records whose prompt or turns may not be the policy's: 4." in said
    assert main(["report", str(out), "-o", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text()
    assert "all 3, without turn markers 1, ambiguous turns 1" in page


def test_a_dry_run_says_what_is_understood_and_loads_no_model(toy_agent, tmp_path, capsys, monkeypatch):
    from arpo_entropy_recorder.cli import main

    (tmp_path / "1.jsonl").write_text(json.dumps(GOOD))
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", None)
    assert main(["rescore", str(tmp_path), "--model", str(toy_agent), "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "prompt = input, response = output",
        "1 lines, all with their turn markers",
        "1 results in <result>",
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["1.jsonl"]
