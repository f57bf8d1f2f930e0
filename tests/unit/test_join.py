"""Dumped lines and recorded trajectories: joined where they agree with exactly one, and branches' scores."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_steps import make_step
from real_like_runs import whole_texts, write_run
from report_steps import Bytes, Words, record, write_steps

from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.report.branches import BranchScores
from arpo_entropy_recorder.report.join import AMBIGUOUS, CUT, JOINED, MISSING, UNREADABLE, Join
from arpo_entropy_recorder.report.sample import Dumped
from arpo_entropy_recorder.step_files.read import read_steps
from arpo_entropy_recorder.step_files.values import prompt_digest


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    directory = tmp_path_factory.mktemp("join") / "run"
    write_run(directory, "collapse", 6)
    return directory


def test_lines_are_joined_with_the_trajectory_that_wrote_them(made):
    join = Join(made / "rollouts", Bytes())
    for step in read_steps([made / "entropies"]):
        entries = json.loads(step.path.read_text())
        texts = whole_texts(entries)
        lines = [
            json.loads(line)
            for line in (made / "rollouts" / f"{step.global_step}.jsonl").read_text().splitlines()
        ]
        samples = step.columns["sample_idx"][step.trajectories[1]]
        for number, dumped in join.of(step).items():
            wrote = texts[int(samples[number])]
            (line,) = [
                line
                for line in lines
                if line["input"] == dumped.prompt and line["output"] == _interleaved(wrote, dumped)
            ]
            assert dumped.score == line["score"]
    assert join.counts[MISSING] == join.counts[UNREADABLE] == 0
    assert join.counts[JOINED] > 10 * join.counts[AMBIGUOUS] > 0


def test_tags_are_known_in_any_directory(made, tmp_path):
    joins = [Join(made / "rollouts", Bytes())]
    (tmp_path / "a: b").mkdir()
    for file in (made / "rollouts").iterdir():
        (tmp_path / "a: b" / file.name).write_text(file.read_text().replace("result>", "information>"))
    joins.append(Join(tmp_path / "a: b", Bytes()))
    for step in read_steps([made / "entropies"]):
        assert joins[0].of(step).keys() == joins[1].of(step).keys()
    assert joins[0].counts == joins[1].counts


def _interleaved(wrote, dumped):
    return "".join(dumped.results.get(r, "") + wrote[r] for r in sorted(wrote))


def test_what_fits_twice_or_not_at_all_is_counted_and_not_joined(tmp_path):
    (tmp_path / "dumps").mkdir()
    records = [
        record(s, 0, 0.1, tokens=ids, prompt=f"{s:016x}")
        for s, ids in enumerate([(0, 1), (0, 1), (2, 3), (1,), (4,), (4,)])
    ]
    write_steps(tmp_path, {1: records})
    outputs = ["The answer ", "The answer ", "is 42", "never written", "<search>q</search>"]
    lines = [json.dumps({"input": "q", "output": text, "score": 1}) for text in outputs]
    (tmp_path / "dumps" / "1.jsonl").write_text("\n".join([*lines, '{"input": 3}']))
    tokenizer = type("Tokenizer", (Bytes,), {"decode": Words().decode})()
    join = Join(tmp_path / "dumps", tokenizer)
    (step,) = read_steps([tmp_path])
    assert join.of(step) == {2: Dumped("q", {}, 1.0)}
    assert join.counts == {JOINED: 1, CUT: 0, AMBIGUOUS: 4, MISSING: 1, UNREADABLE: 1}


def test_one_prompt_joined_with_two_texts_is_ambiguous(tmp_path):
    (tmp_path / "dumps").mkdir()
    write_steps(
        tmp_path, {1: [record(s, 0, 0.1, tokens=ids, prompt="0" * 16) for s, ids in ((0, (0,)), (1, (1,)))]}
    )
    lines = [json.dumps({"input": f"q{i}", "output": text}) for i, text in enumerate(["The ", "answer "])]
    (tmp_path / "dumps" / "1.jsonl").write_text("\n".join(lines))
    join = Join(tmp_path / "dumps", type("Tokenizer", (Bytes,), {"decode": Words().decode})())
    (step,) = read_steps([tmp_path])
    assert join.of(step) == {}
    assert join.counts[AMBIGUOUS] == 2


PROMPT = "0" * 16


def join_of(directory, trajectories, lines):
    """The join, the one step, and what `lines`, (prompt, response) each, say of `trajectories`, (prompt, text).

    A line's score is its number.
    """
    dumps = directory / "dumps"
    dumps.mkdir(exist_ok=True)
    write_steps(
        directory,
        {
            1: [
                record(s, 0, 0.1, tokens=list(text.encode()), prompt=p)
                for s, (p, text) in enumerate(trajectories)
            ]
        },
    )
    (dumps / "1.jsonl").write_text(
        "\n".join(json.dumps({"input": p, "output": text, "score": n}) for n, (p, text) in enumerate(lines))
    )
    join = Join(dumps, Bytes())
    (step,) = read_steps([directory])
    return join, {number: int(dumped.score) for number, dumped in join.of(step).items()}


def test_a_line_that_the_trainer_cut_is_joined(tmp_path):
    """Within the policy's text, a character or the tag of a result; known by the prompt of a line that is whole."""
    one, two = PROMPT, "1" * 16
    wrote = [
        (one, "a whole text"),
        (one, "a longer é"),
        (one, "b <search>q</search>"),
        (two, "z"),
        (two, "a longer"),
    ]
    lines = [("q", "a whole text"), ("q", "a longer \ufffd"), ("q", "b <search>q</search> <resu"), ("r", "z")]
    join, found = join_of(tmp_path, wrote, lines)
    assert found == {0: 0, 1: 1, 2: 2, 3: 3}
    assert join.counts == {JOINED: 4, CUT: 2, AMBIGUOUS: 0, MISSING: 1}


def test_a_cut_line_of_a_prompt_without_a_whole_one_is_known_by_digest(tmp_path):
    prompt = prompt_digest(list(b"q"))
    assert join_of(tmp_path, [(prompt, "all of it")], [("q", "all")])[1] == {0: 0}
    assert join_of(tmp_path, [(PROMPT, "all of it")], [("q", "all")])[1] == {}


@pytest.mark.parametrize(
    ("wrote", "lines"),
    [
        (["a b c", "a b d", "z"], ["a b", "z"]),
        (["a b c", "z"], ["a b", "a", "z"]),
        (
            ["a b c", "a b d", "z"],
            ["a b c", "a b", "z"],
        ),  # the first has a line of its own, and may have both
        (["a b c", "z"], ["a b c", "a b", "z"]),
    ],
)
def test_a_cut_line_that_may_be_anothers_is_not_joined(tmp_path, wrote, lines):
    join, found = join_of(tmp_path, [(PROMPT, t) for t in wrote], [("q", t) for t in lines])
    assert found == {wrote.index(text): n for n, text in enumerate(lines) if text in wrote}
    assert join.counts[CUT] == join.counts[MISSING] == 0
    assert join.counts[AMBIGUOUS] == len(wrote) - len(found)


@given(st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=6), st.integers(1, 5))
def test_no_cut_line_is_joined_with_anothers_trajectory(tmp_path_factory, texts, length):
    directory = tmp_path_factory.mktemp("cut")
    wrote = [(PROMPT, text) for text in [*texts, "z"]]
    lines = [text[:length] for _, text in wrote]
    _, found = join_of(directory, wrote, [("q", line) for line in lines])
    assert found == {number: number for number, line in enumerate(lines) if lines.count(line) == 1}


def test_branches_are_compared_with_their_prompts_others():
    # One prompt: 0 and 1 start; 2 and 3 branch from 0 behind its result, at entropies above and below the median.
    records = [
        (0, False, 0.1),
        (1, True, 0.3),
        (0, False, 0.1),
        (1, True, 0.3),
        (1, True, 0.9),
        (1, True, 0.2),
    ]
    step = make_step(
        records,
        sample_idx=np.array([0, 0, 1, 1, 2, 3]),
        parent_idx=np.array([-1, -1, -1, -1, 0, 0]),
        prompt_idx=np.zeros(6, int),
    )
    scores = BranchScores()
    scores.add(step, {number: Dumped("", {}, score) for number, score in enumerate([1.0, 0.0, 0.5, 0.25])})
    above, below = 0.5 - (1 + 0 + 0.25) / 3, 0.25 - (1 + 0 + 0.5) / 3
    assert scores.sums[1] == pytest.approx([1, above, above**2, 1, below, below**2])


def test_the_dump_needs_the_tokenizer_and_a_known_run(made, tmp_path, capsys):
    words = ["report", str(made / "entropies"), "-o", str(tmp_path / "page.html"), "--rollout-dir"]
    for more, message in (
        ([str(made / "rollouts")], "give --model PATH"),
        (["other=dumps", "--model", "toy"], "--rollout-dir other=dumps: write NAME=DIR, NAME one of run"),
    ):
        assert main([*words, *more]) == 2
        assert message in capsys.readouterr().err
