"""A run is named and joined; options choose among its records; several runs are never averaged in silence."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
from made_steps import make_step

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.analysis.choices import MEAN
from arpo_entropy_recorder.analysis.notes import notes
from arpo_entropy_recorder.analysis.selection import Selection
from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.step_files.read import read_steps
from arpo_entropy_recorder.step_files.runs import SeveralRunsError, find_one_run, find_run, named


def write_steps(directory, steps, value=0.2, validate=False, tools=("python", "search")):
    """Six trajectories a step; after tool results the entropy is twice the start's, in `search` three times."""
    directory.mkdir(parents=True, exist_ok=True)
    for step in steps:
        records = []
        for sample in range(6):
            tool = tools[sample % len(tools)]
            start = value * (1 + sample / 100)
            entropies = {0: start, 1: start * (3 if tool == "search" else 2)}
            records += [
                {"global_step": step, "sample_idx": sample, "prompt_idx": sample, "round": number,
                 "is_after_tool_call": number > 0, "tool": tool if number else None, "token_id": sample,
                 "entropy": entropy, "window": [entropy, entropy / 2, None]}
                for number, entropy in entropies.items()
            ]  # fmt: skip
        kind = "validate_" if validate else ""
        (directory / f"entropy_{kind}step_{step}.json").write_text(json.dumps(records))
    return directory


def stats(capsys, *words):
    assert main(["stats", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("directory", "name"), [("grpo/entropies", "grpo"), ("grpo/entropy", "grpo"), ("grpo/steps", "steps")]
)
def test_a_run_is_named_after_its_directory(tmp_path, directory, name):
    run = find_run(str(write_steps(tmp_path / directory, [1])))
    assert run.name == name
    assert find_run(f"mine={tmp_path / directory}").name == "mine"


def test_a_path_with_an_equals_sign_is_a_path(tmp_path, monkeypatch):
    write_steps(tmp_path / "lr=1e-5", [1])
    monkeypatch.chdir(tmp_path)
    assert named("lr=1e-5") == (None, ["lr=1e-5"])
    assert find_run("lr=1e-5").name == "lr=1e-5"
    assert find_run("a=lr=1e-5").name == "a"
    assert named("a=b,c") == ("a", ["b", "c"])


def test_of_a_resumed_run_the_later_directory_counts(tmp_path, capsys):
    write_steps(tmp_path / "d1", range(1, 8), 0.1)
    write_steps(tmp_path / "d2", [5, 6], 0.3)
    run = find_run(f"mine={tmp_path / 'd1'},{tmp_path / 'd2'}")
    steps = {(step.global_step, step.stale): step.columns["entropy"][0] for step in run.steps()}
    # Step 7 was recorded before the run went back to 5, and not again.
    assert steps == {
        **{(n, False): 0.1 for n in range(1, 5)},
        (7, True): 0.1,
        (5, False): 0.3,
        (6, False): 0.3,
    }
    found = stats(capsys, f"mine={tmp_path / 'd1'},{tmp_path / 'd2'}")
    assert {group["step"] for group in found["groups"] if "step" in group} == {1, 2, 3, 4, 5, 6}
    assert found["left_out"]["stale steps"] == 1
    main(["stats", f"mine={tmp_path / 'd1'},{tmp_path / 'd2'}"])
    assert (
        "mine: steps 5 to 6 are in several of its directories; the last one given counts"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((1000, 1000), 1000), ((1000, 2000), None), ((1000, None), None), ((None, 1000), None)],
)
def test_the_vocabulary_of_a_joined_run_is_known_if_all_parts_tell_the_same(tmp_path, sizes, expected):
    parts = [write_steps(tmp_path / f"d{part}", [part]) for part in (1, 2)]
    for part, size in zip(parts, sizes, strict=True):
        if size is not None:
            (part / "entropy_run.json").write_text(json.dumps([{"run": 0, "vocab_size": size}]))
    assert find_run(f"mine={parts[0]},{parts[1]}").vocab_size == expected


@pytest.mark.parametrize("command", ["stats", "plot", "export"])
def test_two_runs_are_refused_with_the_command_to_type(tmp_path, monkeypatch, capsys, command):
    if command == "export" and not find_spec("pyarrow"):
        pytest.skip("pyarrow is not installed")
    monkeypatch.chdir(tmp_path)
    write_steps(tmp_path / "arpo/entropies", [1])
    write_steps(tmp_path / "grpo/entropies", [1])
    output = ["-o", "out.parquet"] if command == "export" else []
    assert main([command, "arpo/entropies", "grpo/entropies", *output]) == 2
    said = capsys.readouterr().err
    assert f"{command} takes one run; compare several: arpo-entropy compare " in said
    assert "arpo=arpo/entropies grpo=grpo/entropies" in said
    assert said.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arpo", "grpo"]


def test_files_of_one_directory_are_one_run(tmp_path):
    directory = write_steps(tmp_path / "run", range(1, 4))
    files = sorted(map(str, directory.iterdir()))
    assert len(find_one_run(files).files) == 3
    assert find_one_run([f"{directory}/*.json"]).name == "run"
    write_steps(tmp_path / "x/run", [1])
    with pytest.raises(SeveralRunsError) as error:
        find_one_run([*files, str(tmp_path / "x/run")])
    assert error.value.words == [f"run={directory}", f"run2={tmp_path / 'x/run'}"]


@pytest.mark.parametrize("word", ["all=r[12]", "all=r3,r[12]", "lr=*"])
def test_a_pattern_under_one_name_joins_no_runs(tmp_path, monkeypatch, capsys, word):
    for name in ("lr=1", "lr=2") if word == "lr=*" else ("r1", "r2", "r3"):
        write_steps(tmp_path / name, [1, 2])
    monkeypatch.chdir(tmp_path)
    assert main(["stats", word]) == 2
    said = capsys.readouterr().err
    names = "lr-1=lr=1 lr-2=lr=2" if word == "lr=*" else "r1=r1 r2=r2"
    assert f"stats takes one run; compare several: arpo-entropy compare {names}" in said
    assert said.count("\n") == 1
    assert find_run("all=lr=[1]" if word == "lr=*" else "all=r[1]").name == "all"


@pytest.mark.parametrize(
    ("words", "steps"),
    [(["--steps", "3-5"], {3, 4, 5}), (["--steps", "8-"], {8, 9}), (["--steps", "-2"], {1, 2}), (["--steps=4"], {4}),
     (["--last", "2"], {8, 9}), (["--last", "99"], set(range(1, 10)))],
)  # fmt: skip
def test_steps_are_chosen_with_both_ends(tmp_path, capsys, words, steps):
    directory = write_steps(tmp_path / "run", range(1, 10))
    found = stats(capsys, directory, *words)
    assert {group["step"] for group in found["groups"] if "step" in group} == steps


def test_last_of_validations_alone_wants_to_be_told_so(tmp_path, capsys):
    directory = write_steps(tmp_path / "run", range(1, 4), validate=True)
    assert main(["stats", str(directory), "--last", "2"]) == 2
    said = capsys.readouterr().err
    assert "--last counts training steps, and only validations are there; add --validation" in said
    found = stats(capsys, directory, "--last", "2", "--validation")
    assert {group["step"] for group in found["groups"] if "step" in group} == {2, 3}


@pytest.mark.parametrize("word", ["a=,", "a=,,"])
def test_a_name_without_a_directory_is_refused(word, capsys):
    assert main(["stats", word]) == 2
    assert "a=: names no directory; write NAME=DIR or NAME=DIR,DIR" in capsys.readouterr().err


@pytest.mark.parametrize("steps", ["5-3", "", "-", "a", "3-5-7", "1.5", "9" * 20, f"1-{'9' * 20}", "9" * 40])
def test_a_wrong_range_is_refused(tmp_path, capsys, steps):
    assert main(["stats", str(tmp_path), f"--steps={steps}"]) == 2
    assert "--steps" in capsys.readouterr().err


def test_no_chosen_step_is_an_error_that_names_those_there(tmp_path, capsys):
    directory = write_steps(tmp_path / "run", range(1, 10))
    assert main(["stats", str(directory), "--steps", "20-30"]) == 2
    assert "no steps 20 to 30 there; steps 1 to 9 are" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("columns", "stale", "reason"),
    [
        ({}, True, "stale steps: 1"),
        ({"entropy": np.array([np.nan])}, False, "without an entropy (null): 1"),
        ({"padding": np.array([True])}, False, "padding rows: 1"),
    ],
)
def test_nothing_to_show_says_what_was_left_out(columns, stale, reason):
    with pytest.raises(UserError) as error:
        analyse([make_step([(1, True, 0.5)], stale=stale, **columns)])
    assert str(error.value).endswith(f"or a trajectory's start; left out: {reason}")
    with pytest.raises(UserError, match=r"a trajectory's start$"):
        analyse([make_step([(1, False, 0.5)])])


def test_a_stale_step_stays_stale_where_it_is_chosen():
    first, again = make_step([(1, True, 0.5)], 4), make_step([(1, True, 0.5)], 5)
    again.stale = True
    with pytest.raises(UserError, match="nothing to show"):
        analyse([first, again], selection=Selection(steps=(5, None)))


def test_after_one_tool_starts_stay_and_the_rest_is_counted(tmp_path, capsys):
    directory = write_steps(tmp_path / "run", range(1, 4))
    found = stats(capsys, directory, "--tool", "search")
    groups = {group["group"]: group for group in found["groups"]}
    assert {group["tool"] for group in found["groups"] if "tool" in group} == {"search"}
    assert (groups["initial"]["n"], groups["after_tool"]["n"]) == (18, 9)
    assert found["left_out"] == {"after other tools or rounds": 9}
    assert found["ratio"]["ratio"] == pytest.approx(3)
    assert main(["stats", str(directory), "--tool", "serach"]) == 2
    assert "check the tool's name" in capsys.readouterr().err


def test_the_share_with_a_result_is_that_with_a_chosen_tools(tmp_path, capsys):
    directory = write_steps(tmp_path / "run", range(1, 21), tools=("python", "python", "search"))
    for words, share in (((), 1), (("--tool", "search"), 1 / 3)):
        trend = stats(capsys, directory, *words)["trend"]
        assert (trend["first"]["with_tool"], trend["last"]["with_tool"]) == (share, share)


def test_a_branch_keeps_its_ancestors_whatever_is_chosen():
    step = make_step(
        [(0, False, 0.2), (1, True, 0.6), (2, True, 0.8)],
        sample_idx=np.array([0, 1, 2]),
        parent_idx=np.array([-1, 0, 1]),
        tool=np.array([None, "python", "search"], object),
    )
    analysis = analyse([step], selection=Selection(tool="search"))
    assert analysis.pairs.sums[0, :3] == pytest.approx([1, 0.8, 0.2])


def test_rounds_are_chosen_with_both_ends():
    step = make_step(
        [(0, False, 0.1)] + [(number, True, 0.1 * number) for number in range(1, 5)], sample_idx=np.zeros(5)
    )
    analysis = analyse([step], selection=Selection(rounds=(2, 3)))
    assert sorted(analysis.rounds.by_round) == [2, 3]
    assert analysis.rounds.initial.n == 1
    assert "Only rounds 2 to 3." in notes(analysis)


def test_over_the_window_means_are_compared(tmp_path, capsys):
    directory = write_steps(tmp_path / "run", range(1, 4))
    (first, *_) = stats(capsys, directory)["groups"]
    found = stats(capsys, directory, "--over", "mean")
    assert found["groups"][0]["mean"] == pytest.approx(first["mean"] * 0.75)
    main(["stats", str(directory), "--over", "mean"])
    printed = capsys.readouterr().out
    assert printed.startswith("Normalised entropy of the recorded window, mean")
    assert "Means over the recorded window, not the first token alone." in printed


def test_records_without_a_window_are_told_where_means_are_chosen():
    window = np.array([[0.2, 0.4], [np.nan, np.nan]])
    step = make_step([(1, True, 0.2), (1, True, 0.3)], window=window)
    said = notes(analyse([step], selection=Selection(over=MEAN)))
    assert said[-2:] == [
        "Left out: 1 without an entropy (null).",
        "Records without a window are counted as without an entropy.",
    ]
    assert not notes(analyse([step]))
    whole = make_step([(1, True, 0.2)], window=window[:1])
    assert len(notes(analyse([whole], selection=Selection(over=MEAN)))) == 1


def test_without_a_window_there_is_no_mean():
    with pytest.raises(UserError, match="step 1 has no window"):
        analyse([make_step([(1, True, 0.5)])], selection=Selection(over=MEAN))
    step = make_step([(1, True, np.nan)] * 2, window=np.array([[np.nan, np.nan], [0.2, 0.4]]))
    assert analyse([step], selection=Selection(over=MEAN)).rounds.after_tool.mean == pytest.approx(0.3)


def test_validations_are_read_where_they_are_asked_for(tmp_path, capsys):
    directory = write_steps(tmp_path / "run", range(1, 6), 0.1)
    write_steps(directory, [2, 4], 0.3, validate=True)
    assert stats(capsys, directory)["kind"] == "sampled"
    found = stats(capsys, directory, "--validation", "--last", "1")
    assert found["kind"] == "validation"
    assert {group["step"] for group in found["groups"] if "step" in group} == {4}
    analysis = analyse(read_steps([directory]))
    assert analysis.others["validation"].pairs.steps.tolist() == [2, 4]


@pytest.mark.skipif(not find_spec("pyarrow"), reason="pyarrow is not installed")
def test_export_takes_what_is_chosen(tmp_path, capsys):
    from pyarrow import csv

    directory = write_steps(tmp_path / "run", range(1, 6))
    out = tmp_path / "out.csv"
    assert main(["export", str(directory), "--steps", "2-3", "--tool", "search", "-o", str(out)]) == 0
    table = csv.read_csv(out).to_pydict()
    assert set(table["global_step"]) == {2, 3}
    assert sorted(table["tool"]) == [""] * 12 + ["search"] * 6


def test_a_source_without_files_takes_no_selection(capsys):
    assert main(["plot", "--simulate", "--last", "3"]) == 2
    assert "--last goes with step files or --rollout-dir" in capsys.readouterr().err


def test_nats_and_choices_stand_beside_the_mean_where_the_vocabulary_is_known(tmp_path, capsys):
    directory = write_steps(tmp_path / "run", range(1, 25))
    (first, *_) = stats(capsys, directory)["groups"]
    assert first["nats"] is first["choices"] is None
    entries = [{"run": 0, "vocab_size": 1000}, {"run": 1, "vocab_size": 1000}]
    (directory / "entropy_run.json").write_text(json.dumps(entries))
    found = stats(capsys, directory)
    assert found["vocab_size"] == 1000
    assert found["groups"][0]["nats"] == pytest.approx(first["mean"] * np.log(1000))
    assert found["groups"][0]["choices"] == pytest.approx(1000 ** first["mean"])
    main(["stats", str(directory)])
    after = found["trend"]["first"]["after"]
    assert (
        f"{after * np.log(1000):.2f} nats, as {1000**after:.3g} equally likely tokens"
        in capsys.readouterr().out
    )
    entries[1]["vocab_size"] = 2000  # the parts of the run differ
    (directory / "entropy_run.json").write_text(json.dumps(entries))
    assert stats(capsys, directory)["vocab_size"] is None
