"""Step files that a user's own script wrote: NaN, keys of its own, rounds from 1."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.step_files.read import read_steps

odd = st.sampled_from([math.nan, math.inf, -math.inf, 0.5, None, "NaN", 'a "NaN" b', {"x": [math.nan]}])


def record(sample, number, entropy=0.5, **more):
    return {
        "sample_idx": sample,
        "round": number,
        "is_after_tool_call": number > 0,
        "entropy": entropy,
    } | more


def write(directory, step, records):
    directory.mkdir(exist_ok=True)
    (directory / f"entropy_step_{step}.json").write_text(json.dumps(records))


def columns(directory):
    return [step.columns for step in read_steps([directory])]


@given(st.lists(st.tuples(st.floats(0, 1) | st.just(math.nan), odd), min_size=1, max_size=5))
def test_nan_is_null_and_what_is_not_read_does_not_matter(tmp_path_factory, values):
    directory = tmp_path_factory.mktemp("steps")
    write(directory, 1, [record(i, 0, value, other=other) for i, (value, other) in enumerate(values)])
    write(directory, 2, [record(i, 0, None if math.isnan(v) else v) for i, (v, _) in enumerate(values)])
    written, plain = columns(directory)
    np.testing.assert_array_equal(written["entropy"], plain["entropy"])


def test_nan_is_counted_and_infinity_is_named(tmp_path, capsys):
    write(tmp_path, 1, [record(i, number, 0.1) for i in range(5) for number in (0, 1)])
    write(tmp_path, 2, [record(0, 0), record(0, 1, math.nan)])
    assert main(["stats", str(tmp_path)]) == 0
    assert "Left out: 1 without an entropy (null)." in capsys.readouterr().out
    write(tmp_path, 2, [record(0, 0), record(0, 1, math.inf)])
    assert main(["stats", str(tmp_path)]) == 2
    line = capsys.readouterr().err
    assert "entropy_step_2.json: entry 1 'entropy': Expected" in line
    assert line.count("\n") == 1


def test_nats_above_one_are_refused_with_their_likely_cause(tmp_path, capsys):
    write(tmp_path, 1, [record(0, 0, 1.2), record(0, 1, 1.8)])
    assert main(["stats", str(tmp_path)]) == 2
    assert "outside [0, 1] (nats, perhaps: divide them by ln(vocabulary size))" in capsys.readouterr().err


@given(
    st.lists(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=3), min_size=1, max_size=4), min_size=1,
             max_size=3)
)  # fmt: skip
def test_rounds_from_one_are_read_as_rounds_from_zero(tmp_path_factory, steps):
    """Steps of trajectories of entropies, in the guide's own numbering and in ours."""
    ours, guides = tmp_path_factory.mktemp("ours"), tmp_path_factory.mktemp("guides")
    for step, trajectories in enumerate(steps):
        records = [record(i, n, value) for i, t in enumerate(trajectories) for n, value in enumerate(t)]
        write(ours, step, records)
        write(guides, step, [entry | {"round": entry["round"] + 1} for entry in records])
    for found, expected in zip(columns(guides), columns(ours), strict=True):
        assert found["round"].tolist() == expected["round"].tolist()
    assert all(step.rounds_from_one for step in read_steps([guides]))
    assert not any(step.rounds_from_one for step in read_steps([ours]))


@pytest.mark.parametrize(
    "other",
    [record(0, 0), record(0, 2), record(0, 1)],
    ids=["a round 0 elsewhere", "a start of round 2", "a start after a tool"],
)
def test_rounds_are_left_alone_unless_all_of_a_directory_start_at_one(tmp_path, other):
    start = record(0, 1) | {"is_after_tool_call": False}
    write(tmp_path, 1, [start, record(0, 2)])
    write(tmp_path, 2, [other])
    assert columns(tmp_path)[0]["round"].tolist() == [1, 2]


def test_one_line_says_that_rounds_are_read_one_lower(tmp_path, capsys):
    write(tmp_path, 1, [record(0, 1) | {"is_after_tool_call": False}, record(0, 2)])
    write(tmp_path, 2, [record(0, 1) | {"is_after_tool_call": False}, record(0, 2)])
    assert main(["stats", str(tmp_path), "--csv"]) == 0
    said = capsys.readouterr()
    assert said.err.count("no round 0 there: rounds are taken to count from 1") == 1
    assert "round,,1,,,2," in said.out
