"""What a step file holds, by the schema's words and Python's own json."""

import json
import math

import numpy as np

from arpo_entropy_recorder.step_files.schema import FIELD, FIELDS

NO_VALUE = object()  # Infinity, which no key may have


def record(**keys):
    return {"sample_idx": 0, "round": 1, "is_after_tool_call": True, "entropy": 0.5} | keys


def one_line(error):
    assert str(error).isprintable(), "one line, nothing that a terminal obeys"
    assert len(str(error)) < 1000
    return str(error)


def accepted(data):
    """The records, by the schema's words and Python's json; None where they are no file of step 1."""

    def literal(name):
        return None if name == "NaN" else NO_VALUE

    try:
        records = json.loads(data.decode(), parse_constant=literal, strict=False)
    except (ValueError, RecursionError):
        return None
    if not isinstance(records, list):
        return None
    for r in records:
        if not isinstance(r, dict) or any(f.required and f.name not in r for f in FIELDS):
            return None
        for key, value in r.items():
            if key not in FIELD:
                continue
            if not FIELD[key].accepts(value):
                return None
            values = [v for v in (value if isinstance(value, list) else [value]) if v is not None]
            if key in ("window", "entropy", "logprobs_entropy"):
                highest = 20 if key == "logprobs_entropy" else 1
                if not all(type(v) in (int, float) and 0 <= v <= highest for v in values):
                    return None
            elif key == "tokens":
                if not all(type(v) is int and 0 <= v < 2**63 for v in value):
                    return None
            elif key == "tools":
                if not all(isinstance(v, str) for v in values):
                    return None
            elif int in FIELD[key].types and not all(0 <= v < 2**63 for v in values):
                return None
    is_step_1 = all(r.get("global_step", 1) == 1 for r in records)
    return records if is_step_1 and one_prompt_each(records) else None


def one_prompt_each(records):
    """Whether the records of each trajectory name one prompt at most."""
    within = ("dp_rank",) if any("trajectory" in r for r in records) else ("call", "dp_rank")
    named = {}
    for r in records:
        trajectory = (*map(r.get, within), r["sample_idx"])
        for key in ("prompt", "prompt_idx"):
            if r.get(key) is not None and named.setdefault((key, trajectory), r[key]) != r[key]:
                return False
    return True


def starts_at_one(records):
    """Whether the records number rounds as the guide does."""
    first = {}
    for r in sorted(records, key=lambda r: r["round"]):
        first.setdefault((r.get("call"), r.get("dp_rank"), r["sample_idx"]), r)
    starts = [(r["round"], r["is_after_tool_call"]) for r in first.values()]
    return all(r["round"] for r in records) and set(starts) == {(1, False)}


def compare(step, records):
    assert len(step) == len(records)
    assert step.columns["round"].tolist() == [r["round"] - starts_at_one(records) for r in records]
    expected = [math.nan if r["entropy"] is None else float(r["entropy"]) for r in records]
    np.testing.assert_array_equal(step.columns["entropy"], expected)
