"""prime-rl's token exports as step files: against the numbers that were put into made-up exports."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.figures.catalogue import draw
from arpo_entropy_recorder.step_files.read import read_steps
from arpo_entropy_recorder.step_files.values import prompt_digest

VOCAB = 1000
token = st.integers(0, VOCAB - 1)
nats = st.none() | st.floats(0, 6.5, width=16)
stretch = st.lists(st.tuples(token, nats), min_size=1, max_size=4)
# A prompt, and stretches of the policy and of others in turn, beginning with the policy.
sequence = st.tuples(stretch, st.lists(stretch, min_size=1, max_size=5))


def line(prompt, stretches, **more):
    entry = {"schema_version": 1, "token_ids": [], "entropy": [], "loss_mask": []}
    for number, part in enumerate([prompt, *stretches]):
        for token_id, value in part:
            entry["token_ids"].append(token_id)
            entry["entropy"].append(value)
            entry["loss_mask"].append(number % 2 == 1)
    return json.dumps(entry | {"step": 3, "env_name": "wiki"} | more)


def export(directory, lines, step=3, stable=True):
    folder = directory / "token_exports" / f"step_{step}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rank_0.jsonl").write_text("\n".join(lines) + "\n")
    if stable:
        (folder / "STABLE").touch()
    return folder


PLAIN = line([(1, 0.0)], [[(2, 1.5), (3, 0.5)], [(4, 0.1)], [(5, 2.5)]])


def run(directory, *more):
    return main(
        ["import", "prime-rl", str(directory), "-o", str(directory / "out"), "--vocab-size", "1000", *more]
    )


def records(directory, step=3):
    return json.loads((directory / "out" / f"entropy_step_{step}.json").read_text())


@given(st.lists(sequence, min_size=1, max_size=4))
def test_each_segment_of_the_policy_is_a_record(tmp_path_factory, sequences):
    directory = tmp_path_factory.mktemp("run")
    export(directory, [line(*one) for one in sequences])
    assert run(directory, "--window", "2") == 0
    expected = [
        (index, number // 2, part, prompt)
        for index, (prompt, stretches) in enumerate(sequences)
        for number, part in enumerate(stretches)
        if number % 2 == 0
    ]
    found = records(directory)
    assert len(found) == len(expected)
    for entry, (index, number, part, prompt) in zip(found, expected, strict=True):
        assert (entry["sample_idx"], entry["round"], entry["is_after_tool_call"]) == (
            index,
            number,
            number > 0,
        )
        assert (entry["tool"], entry["source"], entry["global_step"]) == (None, "imported", 3)
        assert entry["tokens"] == [token_id for token_id, _ in part]
        assert entry["prompt"] == prompt_digest([token_id for token_id, _ in prompt])
        for value, (_, in_nats) in zip(entry["window"], part, strict=False):
            if in_nats is None:
                assert value is None
            else:
                assert value == pytest.approx(in_nats / math.log(VOCAB), abs=1e-6)
        assert entry["entropy"] == entry["window"][0]


def test_figures_say_what_was_imported(tmp_path, capsys):
    export(tmp_path, [PLAIN] * 3)
    assert run(tmp_path) == 0
    (info,) = json.loads((tmp_path / "out" / "entropy_run.json").read_text())
    assert (info["imported"], info["forward"], info["vocab_size"]) == (
        "prime-rl token exports", "the trainer's forward pass", 1000
    )  # fmt: skip
    capsys.readouterr()
    assert main(["stats", str(tmp_path / "out")]) == 0
    line_said = "Imported: prime-rl token exports, the trainer's forward pass."
    assert line_said in " ".join(capsys.readouterr().out.split())
    figure = draw("rounds", analyse(read_steps([tmp_path / "out"])))
    assert line_said in " ".join(figure.get_supxlabel().split())


def test_a_step_that_is_being_written_is_left_out_and_named(tmp_path, capsys):
    export(tmp_path, [PLAIN])
    export(tmp_path, [PLAIN], step=4, stable=False)
    assert run(tmp_path) == 0
    assert "still being written: step_4" in capsys.readouterr().err
    assert not (tmp_path / "out" / "entropy_step_4.json").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello", "line 1: not JSON"),
        (line([(1, 0.0)], [[(2, 1.0)]], schema_version=2), "not a sequence of schema_version 1"),
        (line([(1, 0.0)], [[(2, 7.5)]]), "7.500 nats are more than the logarithm of 1,000"),
        (line([(1, 0.0)], [[(2, 1.0)]], entropy=[0.0]), "not of one length"),
        (line([(1, 0.0)], [[(2, -1.0)]]), "'entropy': missing, or with a value"),
        (line([(2**63, 0.0)], [[(2, 1.0)]]), "'token_ids': missing, or with a value"),
        (line([(1, math.nan)], [[(2, 10**400)]]), "'entropy': missing, or with a value"),
        (line([], [[(2, 1.0)]]), "so that there is no prompt"),
        (line([(1, 1.0)], []), "has no token of the policy"),
    ],
)
def test_an_export_that_is_not_as_expected_is_one_line(tmp_path, text, said, capsys):
    export(tmp_path, [text])
    assert run(tmp_path) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("out/entropy_step*"))


def test_a_recording_is_never_imported_over(tmp_path, capsys):
    export(tmp_path, [PLAIN])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "entropy_step_1.json").write_text("[]")
    assert run(tmp_path) == 2
    assert "has step files that were not imported from prime-rl" in capsys.readouterr().err
    (tmp_path / "out" / "entropy_step_1.json").unlink()
    assert run(tmp_path) == run(tmp_path) == 0
    assert run(tmp_path / "out") == 2
    assert "give prime-rl's token_exports" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--window", "5"], ["--vocab-size", "2000"]])
def test_one_directory_takes_no_imports_of_two_settings(tmp_path, capsys, more):
    export(tmp_path, [PLAIN])
    assert run(tmp_path) == 0
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    capsys.readouterr()
    assert run(tmp_path, *more) == 2
    said = capsys.readouterr().err
    told = "window 1, now 5" if "--window" in more else "vocab_size 1000, now 2000"
    assert f"out: imported before with other settings ({told}); choose another directory or remove" in said
    assert said.count("\n") == 1
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
    assert run(tmp_path) == 0, "the same again goes on"


def test_a_failed_import_leaves_nothing_and_can_be_tried_again(tmp_path, capsys):
    export(tmp_path, [PLAIN], step=3)
    export(tmp_path, [line([(1, 0.0)], [[(2, 9.0)]])], step=4)
    assert run(tmp_path) == 2
    assert "step_4/rank_0.jsonl: line 1 'entropy': 9.000 nats" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run(tmp_path, "--vocab-size", "100000") == 0
    assert len(list(read_steps([tmp_path / "out"]))) == 2
