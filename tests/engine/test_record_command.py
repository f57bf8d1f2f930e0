"""`arpo-entropy record` as a user types it, and what it says when it is typed wrong."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.step_files.schema import FIELD, REQUIRED

needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")


def record(*words, **environment):
    command = [sys.executable, "-m", "arpo_entropy_recorder", "record", *words]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("VLLM_ENABLE")} | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


WORDS = ["--model", "toy", "--steps", "2", "--batch-size", "2", "--n", "3", "--max-tool-calls", "2"]
WORDS += ["--response-length", "90", "--window", "3", "--record-tokens"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    out = tmp_path_factory.mktemp("record") / "new" / "entropies"
    return record(*WORDS, "--out", str(out)), out


@needs_vllm
def test_the_toy_is_recorded_step_by_step(recorded):
    done, out = recorded
    assert done.returncode == 0, done.stderr
    paths = [out / "entropy_step_1.json", out / "entropy_step_2.json"]
    assert done.stdout.split() == list(map(str, paths))
    assert "4/4 prompts" in done.stderr
    assert "Traceback" not in done.stderr
    for step, path in enumerate(paths, start=1):
        records = json.loads(path.read_text())
        assert {r["sample_idx"] for r in records} == set(range(6))
        assert {r["global_step"] for r in records} == {step}
        assert {r["prompt_idx"] for r in records} == {0, 1}
        assert max(r["round"] for r in records) == 2
        assert {r["tool"] for r in records} == {None, "search", "python"}
        for r in records:
            assert set(REQUIRED) <= set(r) <= set(FIELD)
            assert r["is_after_tool_call"] == (r["round"] > 0)
            assert 0 <= r["entropy"] <= 1
            assert r["window"][0] == pytest.approx(r["entropy"], abs=1e-6)
            assert len(r["window"]) == min(3, len(r["tokens"]))


@needs_vllm
def test_an_earlier_runs_file_is_not_shown_as_the_result_of_a_step_that_was_lost(tmp_path):
    (tmp_path / "entropy_step_1.json").write_text("[]")
    (tmp_path / ".entropy_step_1.json.dp0.tmp").mkdir()  # where the recorder would write
    done = record(*WORDS, "--out", str(tmp_path))
    assert done.returncode == 1
    assert done.stdout == ""
    lost = "entropy_step_1.json, entropy_step_2.json (entropy_step_1.json: of an earlier run)"
    assert f"{tmp_path}: not written: {lost}" in done.stderr
    assert (tmp_path / "entropy_step_1.json").read_text() == "[]"


@needs_vllm
def test_settings_for_training_do_not_steer_it_and_a_tilde_is_the_home_directory(tmp_path):
    """With more prompts at once than one prefill takes, which seeded requests on a CPU have to survive."""
    for_training = {"ARPO_ENTROPY_WINDOW": "3", "ARPO_ENTROPY_DISABLE": "1", "ARPO_ENTROPY_TOKENS": "1"}
    words = ["--model", "toy", "--batch-size", "16", "--n", "4", "--response-length", "60", "--out=~/x"]
    done = record(*words, HOME=str(tmp_path), **for_training)
    assert done.returncode == 0, done.stderr
    records = json.loads((tmp_path / "x" / "entropy_step_1.json").read_text())
    assert len({r["sample_idx"] for r in records}) == 64
    assert not any({"window", "tokens"} & set(r) for r in records)


BAD = {
    "no prompts option": (["--model", "gpt2"], "--prompts"),
    "missing file": (["--model", "toy", "--prompts", "missing.jsonl"], "missing.jsonl: cannot read"),
    "wrong kind of file": (["--model", "toy", "--prompts", "a.csv"], "a.csv"),
    "unknown tool": (["--model", "toy", "--tools", "browse"], "--tools 'browse': unknown tool"),
    "search without a command": (["--model", "toy", "--tools", "search"], "search=COMMAND"),
    "model is missing": (["--model", "./nowhere", "--prompts", "p.txt"], "./nowhere: not a model"),
    "model is an empty directory": (["--model", "empty", "--prompts", "p.txt"], "empty: not a model"),
    "model is a file": (["--model", "p.txt", "--prompts", "p.txt"], "p.txt: not a model"),
    "out is a file": (["--model", "toy", "--out", "p.txt"], "--output p.txt"),
    "no steps": (["--model", "toy", "--steps", "0"], "0 is not a whole number from 1 on"),
    "steps in words": (["--model", "toy", "--steps", "many"], "many is not a whole number"),
    "no time for tools": (["--model", "toy", "--tool-timeout", "0"], "0 is not a number above 0"),
    "temperature below 0": (["--model", "toy", "--temperature", "-1"], "-1 is not a number from 0 on"),
    "top-p above 1": (["--model", "toy", "--top-p", "1.5"], "1.5 is not above 0"),
    "another seed": (["--model", "toy", "--engine", "seed=3"], "give --seed instead"),
    "engine argument": (["--model", "toy", "--engine", "max_model_len"], "KEY=VALUE"),
    "an engine without a tokenizer": (
        ["--model", "toy", "--engine", "skip_tokenizer_init=true"],
        "leave it out",
    ),
    "a window beyond all measure": (["--model", "toy", "--window", "1000000000"], "from 1 to 10,000"),
    "a home of nobody": (["--model", "toy", "--out=~nosuchuser/x"], "no home directory ~nosuchuser"),
    "no words": ([], "--model"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_status_2(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.txt").write_text("a prompt\n")
    (tmp_path / "empty").mkdir()
    words, expected = BAD[name]
    assert main(["record", *words]) == 2
    printed = capsys.readouterr()
    (line,) = (line for line in printed.err.splitlines() if "error:" in line)
    assert expected in line
    assert "Traceback" not in printed.err
    assert not list(tmp_path.glob("**/entropy_step_*"))


@pytest.mark.parametrize("missing", ["safetensors", "tokenizers"])
def test_a_missing_package_is_named_as_pip_knows_it(missing, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "arpo_entropy_recorder.commands.arguments.find_spec", lambda name: None if name == missing else True
    )
    assert main(["record", "--model", "toy", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith(f": pip install {missing}\n")


def test_without_vllm_one_line_says_where_to_run(tmp_path):
    (tmp_path / "vllm.py").write_text("raise ImportError('No module named vllm')")
    done = record("--model", "toy", "--out", str(tmp_path), PYTHONPATH=f"{tmp_path}{os.pathsep}{os.getcwd()}")
    assert done.returncode == 2
    assert "vllm cannot be imported" in done.stderr
    assert "Traceback" not in done.stderr


@needs_vllm
def test_the_same_words_give_the_same_bytes_and_the_typed_directory_wins(recorded, plugged_in, tmp_path):
    """Also in the environment of a job, where vLLM loads the plug-in."""
    again, elsewhere = tmp_path / "again", tmp_path / "elsewhere"
    job = {
        "ARPO_ENTROPY_DIR": str(elsewhere),
        "ARPO_ENTROPY_JOB": "ab" * 32,
        "ARPO_ENTROPY_COLLECTOR": "tcp://127.0.0.1:9",
        "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(plugged_in)]),
    }
    assert record(*WORDS, "--out", str(again), **job).returncode == 0
    for path in again.glob("entropy_step_*.json"):
        assert path.read_bytes() == (recorded[1] / path.name).read_bytes()
    assert not elsewhere.exists()


@needs_vllm
def test_a_broken_model_is_one_line(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "no-such-model"}')
    (tmp_path / "p.txt").write_text("a prompt\n")
    done = record("--model", str(model), "--prompts", str(tmp_path / "p.txt"), "--out", str(tmp_path))
    assert done.returncode == 2
    assert f"{model}: vLLM does not start" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_help_has_examples_and_says_that_python_is_off(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["record", "--help"])
    printed = capsys.readouterr().out
    assert caught.value.code == 0
    assert "examples:" in printed
    assert "off unless named" in printed
