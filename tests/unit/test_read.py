import json
import os
import re
import shutil
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from step_file_oracle import accepted, compare, one_line, record

from arpo_entropy_recorder.step_files import decode, file_decoder
from arpo_entropy_recorder.step_files import find as files
from arpo_entropy_recorder.step_files.decode import ReadError
from arpo_entropy_recorder.step_files.find import find_files
from arpo_entropy_recorder.step_files.read import read_steps
from arpo_entropy_recorder.step_files.schema import FIELD


def put(directory, content, name="entropy_step_1.json"):
    path = Path(directory) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(json.dumps(content))
    return path


def problem(*paths):
    """The one line that reading ends with."""
    with pytest.raises(ReadError) as error:
        list(read_steps(paths))
    return one_line(error.value)


# What is read


def test_the_guide_s_own_file_is_read(tmp_path):
    data = [
        {"sample_idx": 3, "round": 1, "entropy": 0.25, "is_after_tool_call": True},
        {"sample_idx": 4, "round": 2, "entropy": None, "is_after_tool_call": False},
        {"sample_idx": 5, "round": 0, "entropy": 1, "is_after_tool_call": False},
    ]
    path = tmp_path / "entropy_step_100.json"
    path.write_text(json.dumps(data, indent=2))
    (step,) = read_steps([str(path)])
    assert (step.global_step, step.validate, len(step), step.stale, step.missing_ranks) == (
        100,
        False,
        3,
        False,
        (),
    )
    assert set(step.columns) == {"sample_idx", "round", "entropy", "is_after_tool_call"}
    np.testing.assert_array_equal(step.columns["entropy"], [0.25, np.nan, 1.0])
    assert step.columns["sample_idx"].dtype == np.int64
    assert step.columns["is_after_tool_call"].tolist() == [True, False, False]


def test_optional_keys_that_only_some_records_have(tmp_path):
    put(
        tmp_path,
        [
            record(window=[0.1, None], tool="python", parent_idx=None, tokens=[1, 2], unknown={"x": [1]}),
            record(window=[0.5], do_sample=False, padding=True, parent_idx=7, source="rescored"),
            record(),
        ],
    )
    (step,) = read_steps([tmp_path])
    columns = step.columns
    np.testing.assert_array_equal(columns["window"], [[0.1, np.nan], [0.5, np.nan], [np.nan, np.nan]])
    assert columns["tool"].tolist() == ["python", None, None]
    assert columns["source"].tolist() == [None, "rescored", None]
    assert columns["parent_idx"].tolist() == [-1, 7, -1]
    assert columns["do_sample"].tolist() == [True, False, True]
    assert columns["padding"].tolist() == [False, True, False]
    assert [t.tolist() for t in columns["tokens"]] == [[1, 2], [], []]
    assert "unknown" not in columns


@pytest.mark.parametrize("layout", ["lines", "indent", "compact", "nested"])
def test_large_files_are_read_alike_in_every_layout(tmp_path, monkeypatch, layout):
    monkeypatch.setattr(decode, "CHUNK_BYTES", 500)
    rng = np.random.default_rng(0)
    data = [
        record(
            sample_idx=i,
            entropy=float(rng.random()),
            **({"window": [0.1] * (i % 4 + 1)} if i > 50 else {}),
            **({"tool": "x},\\n{"} if i % 7 == 0 else {}),
        )
        for i in range(200)
    ]
    if layout == "nested":
        odd = [json.dumps(r | {"extra": "@"}).replace('"@"', "[{},\n{},\n{}]") for r in data[150:]]
        lines = ",\n".join([*map(json.dumps, data[:150]), *odd])
        text = f"[\n{lines}\n]\n"
    elif layout == "lines":
        text = "[\n" + ",\n".join(map(json.dumps, data)) + "\n]\n"
    else:
        text = json.dumps(data, indent=2 if layout == "indent" else None)
    put(tmp_path, text.encode())
    (step,) = read_steps([tmp_path])
    assert step.columns["sample_idx"].tolist() == list(range(200))
    assert step.columns["entropy"].tolist() == [r["entropy"] for r in data]
    assert step.columns["tool"].tolist() == [r.get("tool") for r in data]
    assert np.isfinite(step.columns["window"]).sum(1).tolist() == [len(r.get("window", [])) for r in data]


def test_steps_come_in_the_order_of_training(tmp_path):
    for name in ("step_10", "step_9", "validate_step_9", "step_100", "validate_step_0"):
        put(tmp_path, [record()], f"entropy_{name}.json")
    put(tmp_path, b"not ours", "entropy_step_x.json.bak")
    put(tmp_path, b"not ours", ".entropy_step_5.json.dp0.tmp")
    steps = [(s.global_step, s.validate) for s in read_steps([tmp_path])]
    assert steps == [(0, True), (9, False), (9, True), (10, False), (100, False)]
    assert [s.global_step for s in read_steps([tmp_path], validate=False)] == [9, 10, 100]
    assert [s.global_step for s in read_steps([tmp_path], validate=True)] == [0, 9]


def test_paths_can_be_files_quoted_patterns_and_directories_and_count_once(tmp_path):
    for run in ("a", "b [1]"):
        for step in (1, 2, 10):
            put(tmp_path / run, [record()], f"entropy_step_{step}.json")
    pattern = str(tmp_path / "a" / "entropy_step_*.json")
    assert [p.name for p in find_files([pattern])] == [f"entropy_step_{s}.json" for s in (1, 2, 10)]
    assert len(find_files([pattern, tmp_path / "a", tmp_path / "a" / "entropy_step_2.json"])) == 3
    assert len(find_files([str(tmp_path / "*")])) == 6
    assert len(find_files([tmp_path / "b [1]"])) == 3
    assert [s.path.parent.name for s in read_steps([str(tmp_path / "*")])] == ["a"] * 3 + ["b [1]"] * 3


def test_a_file_counts_once_however_it_is_spelt(tmp_path, monkeypatch):
    for step in (1, 2):
        put(tmp_path / "a", [record()], f"entropy_step_{step}.json")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "best.json").symlink_to(tmp_path / "a" / "entropy_step_2.json")
    monkeypatch.chdir(tmp_path)
    spellings = ["a/entropy_step_1.json", "a", tmp_path / "a", "a/../a", "link", "best.json"]
    assert find_files(spellings) == [Path("a/entropy_step_1.json"), Path("a/entropy_step_2.json")]
    assert [len(list(read_steps([spelling, *spellings]))) for spelling in spellings] == [2] * 6


def test_a_validation_run_alone_makes_no_training_step_stale(tmp_path):
    for step in (1, 2, 3):
        put(tmp_path, [record(run=0)], f"entropy_step_{step}.json")
        put(tmp_path, [record(run=0)], f"entropy_validate_step_{step}.json")
    put(tmp_path, [record(run=1)], "entropy_validate_step_1.json")
    stale = [(step.global_step, step.validate) for step in read_steps([tmp_path]) if step.stale]
    assert stale == [(2, True), (3, True)]


def test_on_bad_gets_each_bad_file_once(tmp_path, monkeypatch):
    decoded, done, bad = [], [], []
    monkeypatch.setattr(
        file_decoder, "decode", lambda data, path: decoded.append(path) or decode.decode(data, path)
    )
    for step in (3, 1, 2):
        put(tmp_path, [record()], f"entropy_step_{step}.json")
    put(tmp_path, b"[", "entropy_step_2.json")
    put(tmp_path, b"", "entropy_step_3.dp0of2.run1.call0.json")
    put(tmp_path, [record(dp_rank=1)], "entropy_step_3.dp1of2.run1.call0.json")
    steps = list(read_steps([tmp_path], progress=done.append, on_bad=lambda error: bad.append(str(error))))
    assert [(step.global_step, len(step)) for step in steps] == [(1, 1), (3, 2)]
    assert len(decoded) == len(set(decoded)) == 5
    assert sorted(done) == sorted(decoded)
    first, second = bad
    assert "entropy_step_2.json: not JSON" in first
    assert "dp0of2.run1.call0.json: the file is empty" in second


def test_a_bad_file_is_in_no_renamed_files_way(tmp_path):
    put(tmp_path, [record(global_step=1)], "copy.json")
    named = put(tmp_path, [record(global_step=1)], "entropy_step_1.json")
    assert "leave one of them out" in problem(tmp_path / "*.json")
    named.write_bytes(b"[")
    bad = []
    (step,) = read_steps([tmp_path / "*.json"], on_bad=bad.append)
    assert (step.global_step, len(bad)) == (1, 1)


def test_progress_is_told_of_each_file(tmp_path):
    for step in range(3):
        put(tmp_path, [record()], f"entropy_step_{step}.json")
    done = []
    for _ in read_steps([tmp_path], progress=done.append):
        pass
    assert done == find_files([tmp_path])


def test_a_renamed_file_goes_by_its_records(tmp_path):
    path = put(
        tmp_path, [record(global_step=s, sample_idx=i) for i, s in enumerate([7, 3, 7])], "best run.json"
    )
    assert [(s.global_step, s.columns["sample_idx"].tolist()) for s in read_steps([path])] == [
        (3, [1]),
        (7, [0, 2]),
    ]
    assert [s.global_step for s in read_steps([put(tmp_path, [record()], "mine.json")])] == [0]


def test_a_copy_under_another_name_is_not_counted_twice_nor_makes_steps_stale(tmp_path):
    for step, run in ((1, 0), (2, 1), (3, 1)):
        put(tmp_path, [record(global_step=step, run=run)], f"entropy_step_{step}.json")
    shutil.copy(tmp_path / "entropy_step_3.json", tmp_path / "best.json")
    pattern = str(tmp_path / "*.json")
    with pytest.raises(ReadError, match=r"best\.json: step 3 is in entropy_step_3\.json, too; leave one"):
        list(read_steps([pattern]))
    (tmp_path / "entropy_step_3.json").unlink()
    assert [(s.global_step, s.stale) for s in read_steps([pattern])] == [(3, False), (1, False), (2, False)]


def test_a_step_with_and_without_leading_zeros_is_in_two_files(tmp_path):
    put(tmp_path, [record()], "entropy_step_01.json")
    assert [step.global_step for step in read_steps([tmp_path])] == [1]
    put(tmp_path, [record()], "entropy_validate_step_1.json")
    assert len(list(read_steps([tmp_path]))) == 2
    put(tmp_path, [record()], "entropy_step_1.json")
    assert problem(tmp_path).endswith(
        "entropy_step_1.json: step 1 is in entropy_step_01.json, too; leave one of them out, or join their records "
        "in one file"
    )
    told = []
    found = list(read_steps([tmp_path], on_bad=told.append))
    assert [(step.global_step, step.validate) for step in found] == [(1, True)]
    assert len(told) == 1


def test_renamed_files_of_one_step_are_not_pooled(tmp_path):
    for run in (1, 2):
        put(tmp_path, [record(global_step=3)], f"r{run}_3.json")
        put(tmp_path, [record(global_step=3)], f"r{run}_validate_3.json")
        put(tmp_path, [record()], f"r{run}.json")
    assert problem(tmp_path / "r?_3.json").endswith(
        "r2_3.json: step 3 is in r1_3.json, too; leave one of them out, or join their records in one file"
    )
    assert problem(tmp_path / "r?.json").endswith(
        "r2.json: no global_step in its records, nor in those of r1.json; name each file entropy_step_N.json"
    )
    assert len(list(read_steps([tmp_path / "r1*.json"]))) == 3
    put(tmp_path, [], "r1.json")
    assert len(list(read_steps([tmp_path / "r?.json"]))) == 2, "no record is in both"


def test_a_renamed_validation_file_is_not_read_as_training(tmp_path):
    kept = put(tmp_path, [record(global_step=7)], "Best_Validate_run.json")
    plain = put(tmp_path, [record()], "validate-old.json")
    assert [(s.global_step, s.validate) for s in read_steps([kept, plain])] == [(7, True), (0, True)]
    with pytest.raises(ReadError, match="no training step files"):
        find_files([kept], validate=False)


@given(st.randoms(use_true_random=False))
def test_a_trajectory_s_start_does_not_depend_on_the_order_of_records(tmp_path_factory, random):
    rows = [
        record(sample_idx=i, call=call, round=n, is_after_tool_call=n > 0, entropy=(i + n) / 10)
        for call in (0, 1)
        for i in range(3)
        for n in range(3)
    ]
    shuffled = random.sample(rows, len(rows))
    (step,) = read_steps([put(tmp_path_factory.mktemp("x"), shuffled)])
    assert [r["round"] for r, is_start in zip(shuffled, step.starts, strict=True) if is_start] == [0] * 6
    assert step.columns["entropy"][step.trajectories[1]].tolist() == [0, 0.1, 0.2] * 2


def test_of_equal_rounds_the_first_record_is_the_start(tmp_path):
    rounds = [1, 0, 0]
    (step,) = read_steps([put(tmp_path, [record(round=n, is_after_tool_call=False) for n in rounds])])
    assert step.starts.tolist() == [False, True, False]


# What cannot be read


@pytest.mark.parametrize("kind", ["", "validate_"])
def test_a_file_whose_name_and_records_disagree_about_the_step_is_refused(tmp_path, kind):
    rows = [record(), record(global_step=9), record(global_step=3)]
    path = put(tmp_path, rows, f"entropy_{kind}step_9.json")
    assert problem(path) == (
        f"{path}: entry 2 'global_step': 3, and the file's name says 9; name the file after its step or correct the "
        "records"
    )
    put(tmp_path, [record()], "entropy_step_1.json")
    bad = []
    assert [step.global_step for step in read_steps([tmp_path], on_bad=bad.append)] == [1]
    assert len(bad) == 1


@pytest.mark.parametrize("key", ["prompt", "prompt_idx"])
def test_two_trajectories_under_one_number_are_refused(tmp_path, key):
    one, other = ("a", "b") if key == "prompt" else (0, 1)
    rows = [record(**{key: None}), record(**{key: one}), record(**{key: None}), record(**{key: other})]
    path = put(tmp_path, rows)
    assert problem(path) == (
        f"{path}: sample_idx 0 {key!r}: its records name several prompts, so that they are of several trajectories; "
        "add call or dp_rank, which tells them apart"
    )
    put(tmp_path, [r | {"call": 0} for r in rows])
    assert problem(path).endswith("; add dp_rank, which tells them apart")
    put(tmp_path, [record()], "entropy_step_2.json")
    bad = []
    assert [step.global_step for step in read_steps([tmp_path], on_bad=bad.append)] == [2]
    assert len(bad) == 1
    put(tmp_path, [r | {"dp_rank": rank} for rank, r in enumerate(rows)])
    put(tmp_path, rows[:3], "entropy_step_2.json")
    assert len(list(read_steps([tmp_path]))) == 2, "null names no prompt"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b'[{"sample_idx": 0, "round"', "truncated"),
        (b"hello", "not JSON"),
        (b'{"sample_idx": 0}', "a step file is a JSON list of records"),
        (b"[1]", "entry 0: Expected object, got int"),
        (b"\xff\xfe[]", "not JSON"),
        (b"[" * 100_000, "entry 0: Expected object, got array"),
        (b'[{"x":' + b"[" * 100_000, "nested too deeply"),
        (
            [record(), {"sample_idx": 0, "is_after_tool_call": True, "entropy": 0.5}],
            "entry 1 'round': this required key is missing",
        ),
        ([record(round=True)], "entry 0 'round': Expected int, got bool"),
        ([record(round=1.5)], "entry 0 'round': Expected int, got float"),
        ([record(round="1")], "entry 0 'round': Expected int, got str"),
        ([record(round=-1)], "entry 0 'round': the number is negative"),
        ([record(), record(), record(sample_idx=None)], "entry 2 'sample_idx': Expected int, got null"),
        ([record(is_after_tool_call=1)], "entry 0 'is_after_tool_call': Expected bool, got int"),
        ([record(entropy=True)], "entry 0 'entropy': Expected .*, got bool"),
        ([record(entropy="0.5")], "entry 0 'entropy'"),
        (
            [record(), record(entropy=1.0000001)],
            "entry 1 'entropy': the number is outside \\[0, 1\\] .nats, perhaps",
        ),
        ([record(entropy=-0.25)], "entry 0 'entropy': the number is outside"),
        ([record(entropy=10**400)], "step_1.json"),
        ([record(entropy=float("inf"))], "entry 0 'entropy': Expected .*, got Infinity"),
        ([record(entropy=float("-inf"))], "entry 0 'entropy': Expected .*, got -Infinity"),
        (
            [record(entropy=float("nan")), record(window=[0.5, float("inf")])],
            "entry 1 'window': .*, got Infinity",
        ),
        ([record(tool=float("inf"), other=float("nan"))], "entry 0 'tool': Expected .*, got Infinity"),
        ([record(other=float("nan")), record(entropy="NaN")], "entry 1 'entropy': Expected .*, got str"),
        ([record(round=float("nan"))], "entry 0 'round': Expected int, got null"),
        ([record(token_id=10**400)], "step_1.json"),
        ([record(token_id=2**63)], "entry 0 'token_id': the number has more than 64 bits"),
        ([record(tokens=[1, 2**63])], "entry 0 'tokens': the number has more than 64 bits"),
        ([record(tokens=[-1])], "entry 0 'tokens': the number is negative"),
        ([record(), record(window=[0.5, 1.5])], "entry 1 'window': the number is outside"),
        ([record(window=0.5)], "entry 0 'window': Expected array, got float"),
        ([record(tool=3)], "entry 0 'tool'"),
    ],
)
def test_broken_content_is_one_line_with_file_entry_and_key(tmp_path, content, expected):
    path = put(tmp_path, content)
    message = problem(path)
    assert message.startswith(f"{path}: ")
    assert re.search(expected, message), message


def test_the_entry_is_counted_over_the_whole_file(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "CHUNK_BYTES", 200)
    for bad, expected in (({"entropy": 2}, "is outside"), ({"round": "x"}, "Expected int")):
        lines = [json.dumps(record(**(bad if i == 77 else {}))) for i in range(100)]
        path = put(tmp_path, ("[\n" + ",\n".join(lines) + "\n]\n").encode())
        assert "entry 77 " in problem(path)
        assert expected in problem(path)


def test_paths_that_lead_nowhere(tmp_path):
    assert "no such file" in problem(tmp_path / "entropy_step_1.json")
    assert "no such file" in problem(str(tmp_path / "entropy_*.json"))
    assert "no entropy_step_*.json in this directory" in problem(tmp_path)
    assert "cannot be read" in problem("a\0b")
    assert "cannot be read" in problem("x" * 300)
    assert "no path given" in problem()
    loop = tmp_path / "entropy_step_1.json"
    loop.symlink_to(loop)
    assert "symbolic links" in problem(loop)
    assert "symbolic links" in problem(tmp_path)
    put(tmp_path / "v", [record()], "entropy_validate_step_1.json")
    with pytest.raises(ReadError, match="no training step files"):
        find_files([tmp_path / "v"], validate=False)


@pytest.mark.skipif(os.name == "nt", reason="NOT TESTED: no FIFOs here")
def test_a_fifo_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "entropy_step_1.json")
    start = time.monotonic()
    assert "not a regular file" in problem(tmp_path)
    assert time.monotonic() - start < 1


def test_a_directory_named_like_a_step_file(tmp_path):
    (tmp_path / "run" / "entropy_step_1.json").mkdir(parents=True)
    assert "entropy_step_1.json" in problem(tmp_path / "run")


def test_a_file_of_five_gigabytes_is_refused_without_being_read(tmp_path):
    path = tmp_path / "entropy_step_1.json"
    with open(path, "wb") as file:
        file.truncate(5_000_000_000)
    tracemalloc.start()
    assert "5.0 GB, more than" in problem(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_control_characters_are_escaped_wherever_they_are_shown(tmp_path):
    path = put(tmp_path, [1], "entropy\x1b[31m\n\u202e.json")
    message = problem(path)
    assert r"\x1b[31m\n\u202e" in message
    assert r"\x1b" in problem("no\x1b[2Jsuch")
    put(tmp_path, b'[{"\x1b[31m": 1}]')
    problem(tmp_path / "entropy_step_1.json")


def test_a_file_that_grows_while_it_is_read_is_an_error_or_right(tmp_path):
    path = tmp_path / "entropy_step_1.json"
    text = b"[" + b",".join(json.dumps(record(sample_idx=i)).encode() for i in range(3000)) + b"]"
    stop, read_often = threading.Event(), threading.Event()

    def grow():
        with open(path, "wb", buffering=0) as file:
            for start in range(0, len(text), 4096):
                file.write(text[start : start + 4096])
                time.sleep(0.001)
                # A reader on a busy machine shall have looked at the unfinished file, too.
                if start > len(text) // 2:
                    read_often.wait(60)
        stop.set()

    path.write_bytes(b"")
    writer = threading.Thread(target=grow)
    writer.start()
    attempts = 0
    while not stop.is_set():
        attempts += 1
        if attempts > 3:
            read_often.set()
        try:
            (step,) = read_steps([path])
        except ReadError as error:
            one_line(error)
        else:
            assert len(step) == 3000
    writer.join()
    assert attempts > 3
    assert len(next(read_steps([path]))) == 3000


def test_a_hostile_shard_name_costs_nothing(tmp_path):
    put(tmp_path, [record(dp_rank=3)], "entropy_step_1.dp3of99999.run0.call0.json")
    put(tmp_path, [record()], f"entropy_step_1.dp3of{'9' * 30}.run0.call0.json")
    put(tmp_path, [record()], f"entropy_step_{'9' * 100}.json")
    (step,) = read_steps([tmp_path])
    assert len(step) == 1
    assert len(step.missing_ranks) == 99998


# Fuzz: an error of one line, or what Python's own JSON reader says


def read_one(path):
    try:
        (step,) = read_steps([path])
    except ReadError as error:
        one_line(error)
        return None
    return step


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    directory = tmp_path_factory.mktemp("fuzz")
    yield directory / "entropy_step_1.json"
    shutil.rmtree(directory)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.integers()
    | st.sampled_from([2**63 - 1, 2**63, 10**400, -(2**64)])
    | st.floats()
    | st.floats(0, 1)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
PROPER = {
    "sample_idx": st.integers(0, 9),
    "round": st.integers(0, 9),
    "is_after_tool_call": st.booleans(),
    "entropy": st.none() | st.floats(0, 1) | st.sampled_from([0, 1]),
    "parent_idx": st.none() | st.integers(0, 9),
    "tool": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    "window": st.lists(st.none() | st.floats(0, 1), max_size=3),
}


@st.composite
def nearly_records(draw):
    records = []
    for _ in range(draw(st.integers(0, 5))):
        r = {k: draw(v) for k, v in PROPER.items() if k in list(PROPER)[:4] or draw(st.booleans())}
        if draw(st.integers(0, 4)) == 0:
            r[draw(st.sampled_from([*FIELD, "other"]))] = draw(VALUES)
        if draw(st.integers(0, 15)) == 0:
            del r[draw(st.sampled_from(sorted(r)))]
        records.append(r if draw(st.integers(0, 30)) else draw(VALUES))
    return records


@given(records=nearly_records(), indent=st.sampled_from([None, 0, 2]))
def test_structured_input_is_accepted_exactly_when_the_schema_says_so(place, records, indent):
    data = json.dumps(records, indent=indent).encode()
    place.write_bytes(data)
    expected, step = accepted(data), read_one(place)
    assert (step is None) == (expected is None)
    if step is not None:
        compare(step, expected)


MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["cut", "drop", "insert", "double", "flip"]), st.floats(0, 1), st.binary(max_size=6)
    ),
    max_size=4,
)


@given(records=nearly_records(), mutations=MUTATIONS, chunk=st.sampled_from([20, 1 << 20]))
def test_damaged_files_are_an_error_or_right(place, records, mutations, chunk):
    data = b"[\n" + b",\n".join(json.dumps(r).encode() for r in records) + b"\n]\n"
    for kind, where, extra in mutations:
        at = int(where * len(data))
        if kind == "cut":
            data = data[:at]
        elif kind == "drop":
            data = data[:at] + data[at + 1 + len(extra) :]
        elif kind == "insert":
            data = data[:at] + extra + data[at:]
        elif kind == "double":
            data = data[:at] + data[at : at + 40] * 2 + data[at + 40 :]
        elif at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << len(extra)]) + data[at + 1 :]
    place.write_bytes(data)
    before, decode.CHUNK_BYTES = decode.CHUNK_BYTES, chunk
    try:
        step = read_one(place)
    finally:
        decode.CHUNK_BYTES = before
    if step is not None:
        # What is no UTF-8 may stand in a key that nobody knows, which is ignored as a whole.
        compare(step, accepted(data) or accepted(data.decode("utf-8", "replace").encode()))


@given(
    data=st.binary(max_size=80)
    | st.text(alphabet='[]{}",:0123456789eE.-truefalsn \n', max_size=60).map(str.encode)
)
def test_any_bytes_are_an_error_or_right(place, data):
    place.write_bytes(data)
    step = read_one(place)
    if step is not None:
        # What is no UTF-8 may stand in a key that nobody knows, which is ignored as a whole.
        compare(step, accepted(data) or accepted(data.decode("utf-8", "replace").encode()))


@given(path=st.text(max_size=20))
def test_any_path_is_an_error_or_files(tmp_path_factory, path):
    try:
        find_files([str(tmp_path_factory.getbasetemp() / "none" / path.lstrip("/."))])
    except ReadError as error:
        one_line(error)


def test_one_step_is_in_memory_at_a_time(tmp_path):
    lines = ",\n".join(json.dumps(record(sample_idx=i)) for i in range(20_000))
    for step in range(6):
        put(tmp_path, f"[\n{lines}\n]\n".encode(), f"entropy_step_{step}.json")
    size = files.find_files([tmp_path])[0].stat().st_size
    tracemalloc.start()
    assert sum(len(step) for step in read_steps([tmp_path])) == 120_000
    assert tracemalloc.get_traced_memory()[1] < 4 * size
    tracemalloc.stop()
