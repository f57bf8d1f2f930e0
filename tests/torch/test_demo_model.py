"""The demo's model says the same in every environment, and the same as the quantised file that it was made of."""

import json
import os
import subprocess
import sys

import pytest
import torch
import transformers
from demo_model import MODEL, MODELS, ROOT, needs_model
from transformers import AutoModelForCausalLM, AutoTokenizer

# What transformers 5.19 computed from the GGUF file; every environment is compared with it.
REFERENCE = ROOT / "tests" / "data" / "demo_model_logits.json"
RECORDED = ROOT / "tests" / "data" / "real_run"
TURNS = [
    {"role": "system", "content": "Look up a word with <search>word</search>."},
    {"role": "user", "content": "What is an estuary, and how many letters does the word have?"},
]

COMPARE = """
import sys
from pathlib import Path
from convert_demo_model import load_original
original, tokenizer = load_original(Path(sys.argv[1]))
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
found = AutoModelForCausalLM.from_pretrained(sys.argv[2]).state_dict()
expected = original.state_dict()
assert found.keys() == expected.keys()
assert all(value.dtype == torch.float32 and torch.equal(value, found[name]) for name, value in expected.items())
converted = AutoTokenizer.from_pretrained(sys.argv[2])
text = "<think> a word </think>\\n<search>estuary</search> 12.5 \u00e9"
assert tokenizer.encode(text) == converted.encode(text)
assert tokenizer.chat_template == converted.chat_template
print(len(found) - 1, "tensors are equal")
"""

pytestmark = needs_model


def token_ids(tokenizer):
    text = tokenizer.apply_chat_template(TURNS, add_generation_prompt=True, tokenize=False)
    return tokenizer.encode(text, add_special_tokens=False)


@torch.no_grad()
def logits_of(model, ids):
    return model(torch.tensor([ids])).logits[0].float()


@pytest.fixture(scope="module")
def converted():
    model = AutoModelForCausalLM.from_pretrained(MODEL).float().eval()
    return model, AutoTokenizer.from_pretrained(MODEL)


def test_logits_are_those_of_every_other_environment(converted):
    model, tokenizer = converted
    reference = json.loads(REFERENCE.read_text())
    ids = token_ids(tokenizer)
    assert ids == reference["ids"]
    assert tokenizer.decode(ids) == reference["text"]
    found = logits_of(model, ids)[:, :: reference["every"]]
    torch.testing.assert_close(found, torch.tensor(reference["logits"]), rtol=0, atol=1e-3)


@pytest.mark.skipif(transformers.__version__ < "5", reason="the GGUF file is read by transformers 5")
@pytest.mark.skipif(not (MODELS / "packages").is_dir(), reason="no models/packages: run make model")
def test_weights_are_those_of_the_quantised_file():
    """In a process of its own: transformers looks for what it needs once, as it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", COMPARE, str(MODELS / "packages"), str(MODEL)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.split() == ["272", "tensors", "are", "equal"]


@pytest.mark.parametrize("step", [1, 2, 3])
def test_the_recorded_runs_tokens_are_the_words_of_its_dump(step):
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    lines = (RECORDED / "rollouts" / f"{step}.jsonl").read_text().splitlines()
    outputs = [json.loads(line)["output"] for line in lines]
    for entry in json.loads((RECORDED / "entropies" / f"entropy_step_{step}.json").read_text()):
        # A segment may begin or end amid a character.
        text = tokenizer.decode(entry["tokens"], skip_special_tokens=True).strip("\ufffd")
        assert text in outputs[entry["sample_idx"]]
