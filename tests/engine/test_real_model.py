"""Exactness on a real pretrained model: the demo's, of 135 M parameters, where `make model` has made it.

float32 is compared with a transformers forward pass. In bfloat16 two implementations differ in the third digit
of a logit, so there the reference is the very rows that the engine sampled from, and the difference from
transformers is printed.
"""

import json
import os
import subprocess
import sys

import pytest
from demo_model import MODEL, ROOT, needs_model
from engines import KIND, Oracle

from arpo_entropy_recorder.rescore.dumps import read_dumps
from arpo_entropy_recorder.rescore.retokenize import Retokenizer
from arpo_entropy_recorder.rescore.run import RescoreSettings, rescore

NATS = 1e-4
ROW_NATS = 1e-5

pytestmark = [
    needs_model,
    pytest.mark.skipif(
        KIND == "v2",
        reason="NOT RUN: model runner V2 takes 1,024 allowed tokens, our loop allows the vocabulary",
    ),
]


def run(out, dtype):
    """The run's records beside the loop's segments, and what the sampler saw."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [
            sys.executable,
            ROOT / "tests" / "helpers" / "real_run.py",
            MODEL,
            out,
            "--dtype",
            dtype,
            "--sampled",
        ],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    books = json.loads((out / "books.json").read_text())
    records = json.loads((out / "entropies" / "entropy_step_1.json").read_text())
    return list(zip(records, books["segments"][0], strict=True)), books["sampled"]


@pytest.fixture(scope="module")
def oracle():
    return Oracle(MODEL)


@pytest.fixture(scope="module")
def float32(tmp_path_factory):
    out = tmp_path_factory.mktemp("float32")
    return out, *run(out, "float32")


def differences(pairs, oracle):
    """Recorded minus transformers, in nats, for every token of every window; one forward pass a trajectory."""
    last = {segment["sample_idx"]: segment["context"] + segment["tokens"] for _, segment in pairs}
    expected = {sample: oracle.window_nats(tokens[:1], tokens[1:], 1.0) for sample, tokens in last.items()}
    found = []
    for entry, segment in pairs:
        start = len(segment["context"]) - 1
        nats = expected[segment["sample_idx"]][start : start + len(entry["window"])]
        found += [value * oracle.norm - other for value, other in zip(entry["window"], nats, strict=True)]
    return found


def not_sampled_from(pairs, sampled, norm):
    """Recorded tokens for which the sampler was given no row of that entropy, each row counting once."""
    rows = sorted(map(tuple, sampled))
    lost = []
    for entry, segment in pairs:
        for token, value in zip(segment["tokens"], entry["window"], strict=False):
            near = [row for row in rows if row[0] == token and abs(row[1] - value * norm) < ROW_NATS]
            if near:
                rows.remove(min(near, key=lambda row: abs(row[1] - value * norm)))
            else:
                lost.append((token, value * norm))
    return lost


def test_float32_equals_transformers(float32, oracle):
    _, pairs, sampled = float32
    found = differences(pairs, oracle)
    after = sum(entry["is_after_tool_call"] for entry, _ in pairs)
    print(
        f"{KIND}, float32: {len(found)} entropies of {len(pairs)} records, {after} of them after a tool, "
        f"at most {max(map(abs, found)):.1e} nats from transformers"
    )
    assert max(map(abs, found)) < NATS
    assert not not_sampled_from(pairs, sampled, oracle.norm)


@pytest.mark.skipif(KIND != "v1", reason="NOT RUN: bfloat16 is compared on the V1 engine alone")
def test_bfloat16_equals_the_rows_sampled_from(oracle, tmp_path):
    pairs, sampled = run(tmp_path, "bfloat16")
    found = differences(pairs, oracle)
    print(
        f"{KIND}, bfloat16: {len(found)} entropies, at most {max(map(abs, found)):.1e} nats from transformers"
    )
    assert not not_sampled_from(pairs, sampled, oracle.norm)


def test_rescoring_the_dump_gives_the_live_entropies(float32, oracle, tmp_path):
    """As far as its text retokenizes to the tokens that were sampled: behind that the contexts are others."""
    out, pairs, _ = float32
    settings = RescoreSettings(
        str(MODEL), str(out / "rollouts"), window=20, dtype="float32", several_turns=True
    )
    rescore(tmp_path, settings)
    again = json.loads((tmp_path / "entropy_step_1.json").read_text())
    again = {(entry["sample_idx"], entry["round"]): entry["window"] for entry in again}
    (dump,) = read_dumps(out / "rollouts" / "1.jsonl")
    retokenizer = Retokenizer(oracle.tokenizer, settings.tools, several_turns=True)
    texts = [retokenizer.read(line).tokens for line in dump.lines]
    apart, compared = [], 0
    for entry, segment in pairs:
        live, told = segment["context"] + segment["tokens"], texts[entry["sample_idx"]]
        differs = (i for i, (a, b) in enumerate(zip(live, told, strict=False)) if a != b)
        alike = next(differs, min(len(live), len(told)))
        # The distribution of the token at a position depends on those before it.
        width = alike - len(segment["context"]) + 1
        window = again.get((entry["sample_idx"], entry["round"]), [])
        found = [
            abs(a - b) * oracle.norm for a, b in zip(entry["window"][: max(width, 0)], window, strict=False)
        ]
        apart += found
        compared += bool(found)
    print(
        f"{KIND}, rescored: {len(apart)} entropies of {compared} of {len(pairs)} records, "
        f"at most {max(apart):.1e} nats from the live ones"
    )
    assert max(apart) < NATS
