"""Two runs are compared at the same steps, prompt by prompt where they share prompts, and seeds are never pooled."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from made_steps import make_step
from matplotlib.legend import Legend
from real_like_runs import write_run

from arpo_entropy_recorder.analysis.analysis import Analysis, analyse
from arpo_entropy_recorder.analysis.compare import (
    common_steps,
    difference,
    differences,
    remarks,
    seed_line,
    unlike,
)
from arpo_entropy_recorder.analysis.pairs import Pairs
from arpo_entropy_recorder.analysis.statistics import Origins
from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.figures.catalogue import draw_runs
from arpo_entropy_recorder.step_files.read import read_steps


def a_run(random, ratio, steps=1, prompts=30, names="shared", difficulty=None, own=0.3):
    """Pairs of prompts with names; `difficulty` is what a prompt adds to the log ratio in every run."""
    pairs = Pairs()
    named = np.array([f"{names}{number}" for number in range(prompts)], object)
    difficulty = np.zeros(prompts) if difficulty is None else difficulty
    for step in range(1, steps + 1) if isinstance(steps, int) else steps:
        before = 0.05 * np.exp(random.normal(0, own, prompts))
        after = before * ratio * np.exp(difficulty + random.normal(0, own, prompts))
        records = [(0, False, value) for value in before] + [(1, True, value) for value in after]
        sample = np.tile(np.arange(prompts), 2)
        pairs.add(make_step(records, step, sample_idx=sample, prompt=np.tile(named, 2)))
    return pairs


def test_shared_prompts_are_compared_one_by_one():
    random = np.random.default_rng(0)
    difficulty = random.normal(0, 0.8, 30)
    one, other = (a_run(random, ratio, difficulty=difficulty, own=0.1) for ratio in (2.6, 2.0))
    found = difference("one", [one], "other", [other])
    assert (found.over, found.n) == ("shared prompts", (30, 30))
    assert found.low < 1.3 < found.high
    assert found.low > 1, "the prompts' common difficulty cancels"
    unpaired = difference(
        "one", [a_run(random, 2.6, names="x", difficulty=difficulty, own=0.1)], "other", [other]
    )
    assert (unpaired.over, unpaired.n) == ("prompts", (30, 30))
    assert unpaired.high / unpaired.low > 1.5 * found.high / found.low


def test_the_paired_interval_is_that_of_leaving_prompts_out():
    random = np.random.default_rng(1)
    one, other = (a_run(random, ratio, prompts=200) for ratio in (1.5, 2.0))
    found = difference("one", [one], "other", [other])
    _, a, b, _ = one.means.columns()
    _, c, d, _ = other.means.columns()

    def log_ratio(kept):
        return np.log(a[kept].sum() / b[kept].sum() / c[kept].sum() * d[kept].sum())

    everyone = np.arange(200)
    left_out = np.array([log_ratio(everyone != prompt) for prompt in everyone])
    error = np.sqrt(199 / 200 * np.square(left_out - left_out.mean()).sum())  # the jackknife
    assert np.log(found.ratio) == pytest.approx(log_ratio(everyone >= 0))
    assert np.log(found.high / found.low) == pytest.approx(2 * 1.972 * error, rel=0.02)


@pytest.mark.parametrize("names", [("p", "p"), ("p", "q")])
def test_runs_alike_are_seldom_told_apart(names):
    random = np.random.default_rng(2)
    found = [
        difference("a", [a_run(random, 1.5, names=names[0])], "b", [a_run(random, 1.5, names=names[1])])
        for _ in range(100)
    ]
    assert np.mean([not each.low < 1 < each.high for each in found]) <= 0.09  # 5 of 100 expected


def test_runs_are_compared_where_the_shorter_one_ends():
    random = np.random.default_rng(3)
    long, short = a_run(random, 2.0, 60), a_run(random, 2.0, 40)
    assert common_steps([long, short]) == (36, 40)
    assert common_steps([long, a_run(random, 2.0, 10)]) == (1, 10)
    assert difference("a", [long], "b", [short]).steps == (36, 40)
    other = Pairs()
    other.add(make_step([(0, False, 0.1), (1, True, 0.2)], 100, sample_idx=np.zeros(2)))
    assert common_steps([long, other]) is None


def test_runs_without_a_step_in_common_are_not_compared():
    random = np.random.default_rng(8)
    early, late = a_run(random, 2.0, 10), a_run(random, 1.5, range(101, 111))
    (found,) = differences({"early": [early], "late": [late]})
    assert found.line == "late / early: no ratio of ratios, as they have no step in common."
    assert np.isnan(found.ratio)
    assert seed_line({"a": [early, late], "b": [late]}).startswith("a's 2 seeds: no step in common.")
    seeds = {"a": [a_run(random, 2.0, 10, own=0) for _ in range(2)], "b": [late]}
    assert seed_line(seeds).startswith("a's 2 seeds: 2.00x, 2.00x.")


def test_seeds_are_not_pooled():
    random = np.random.default_rng(4)
    ratios = {"arpo": (2.0, 2.4, 2.2), "grpo": (1.0, 1.1)}
    runs = {name: [a_run(random, ratio, own=0.05) for ratio in seeds] for name, seeds in ratios.items()}
    (found,) = differences(runs)
    assert (found.one, found.other, found.over, found.n) == ("grpo", "arpo", "seeds", (2, 3))
    assert found.ratio == pytest.approx(np.sqrt(1.1) / np.cbrt(2.0 * 2.4 * 2.2), rel=0.03)
    assert found.low < found.ratio < found.high < 1
    line = seed_line(runs)
    assert "arpo's 3 seeds: " in line
    assert "may be the seed's" not in line
    single = {"arpo": runs["arpo"], "grpo": runs["grpo"][:1]}
    assert "One seed of grpo: differences may be the seed's." in seed_line(single)
    (found,) = differences(single)
    assert found.over == "prompts"
    assert found.high < 1
    assert seed_line({"a": runs["grpo"][:1], "b": runs["grpo"][1:]}).startswith("One seed of each")


def test_what_runs_do_not_share_is_told():
    infos = {
        "a": [{"vocab_size": 10, "temperature": 1.0, "window": 1}],
        "b": [{"vocab_size": 10, "temperature": 0.7}],
    }
    assert unlike(infos) == ["The runs differ in temperature: a 1.0, b 0.7."]
    assert unlike({"a": [{}], "b": [{}]}) == []
    infos["b"][0]["temperature"] = [1.0]
    assert unlike(infos) == ["The runs differ in temperature: a 1.0, b [1.0]."]


def test_records_of_different_kinds_are_told():
    pairs = a_run(np.random.default_rng(6), 2.0)
    runs = {kind: [Analysis(kind=kind, pairs=pairs)] for kind in ("sampled", "greedy")}
    found = remarks(runs, {kind: [{}] for kind in runs})
    assert found[1:] == ["Records of different kinds are compared: greedy, sampled."]
    assert len(remarks({"a": runs["greedy"], "b": runs["greedy"]}, {"a": [{}], "b": [{}]})) == 1


def test_records_of_different_sources_are_told():
    pairs = a_run(np.random.default_rng(6), 2.0)
    runs = {
        name: [Analysis(pairs=pairs, origins=Origins(Counter({source: 3})))]
        for name, source in (("a", "rescored"), ("b", "recorded"))
    }
    found = remarks(runs, {name: [{}] for name in runs})
    assert found[1:] == ["Records of different sources are compared: a rescored, b recorded."]
    assert len(remarks({"a": runs["a"], "b": runs["a"]}, {"a": [{}], "b": [{}]})) == 1


def test_without_a_ratio_the_line_says_so():
    random = np.random.default_rng(5)
    line = difference("a", [a_run(random, 2.0, prompts=3)], "b", [a_run(random, 2.0)]).line
    assert "no ratio of ratios" in line
    assert "nan" not in line


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seeds", [((0.0,), (2.0,)), ((0.0, 2.0), (2.0, 3.0)), ((2.0,), (0.0, 2.0))])
def test_a_ratio_of_0_gives_no_ratio_of_ratios(seeds):
    random = np.random.default_rng(9)
    one, other = (
        [a_run(random, ratio, names=name) for ratio in of_run]
        for name, of_run in zip("ab", seeds, strict=True)
    )
    found = difference("a", one, "b", other)
    assert found.line == (
        "a / b in steps 1 to 1: no ratio of ratios, too few prompts, starts not clearly above 0, or a ratio of 0."
    )
    assert np.isnan([found.ratio, found.low, found.high]).all()


@pytest.mark.filterwarnings("error")
def test_seeds_that_are_all_alike_are_compared_without_a_warning():
    random = np.random.default_rng(11)
    one, other = ([a_run(random, ratio, own=0)] * 2 for ratio in (2.0, 4.0))
    assert "lower, 0.50x [0.50, 0.50] over 2 and 2 seeds" in difference("a", one, "b", other).line


def test_a_seed_without_a_ratio_is_told():
    random = np.random.default_rng(10)
    line = seed_line({"a": [a_run(random, 2.0, own=0), a_run(random, 2.0, prompts=3)]})
    assert line == "a's 2 seeds: 2.00x, no ratio."


def test_shared_prompts_whose_starts_are_not_clearly_above_0_have_no_ratio_of_ratios():
    random, runs = np.random.default_rng(7), []
    for level in (0.3, 0.1):
        records = [(0, False, 0.5 if row == 0 else 0.0) for row in range(20)]
        records += [(1, True, level * random.uniform(0.9, 1.1)) for _ in range(20)]
        named = np.tile(np.array([f"p{row}" for row in range(20)], object), 2)
        runs.append(Pairs())
        runs[-1].add(make_step(records, 1, sample_idx=np.tile(np.arange(20), 2), prompt=named))
    found = difference("a", runs[:1], "b", runs[1:])
    assert found.over == "shared prompts"
    assert "no ratio of ratios" in found.line


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    out = tmp_path_factory.mktemp("compare")
    for story in ("hold", "collapse"):
        write_run(out / story, story, steps=20, n=4)
    return out


def test_compare_says_each_answer_and_the_difference(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [f"{story}={runs / story / 'entropies'}" for story in ("hold", "collapse")]
    assert main(["compare", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("hold: ")
    assert "collapse: " in "\n".join(lines)
    assert any(line.startswith("collapse / hold in steps 16 to 20: ") for line in lines)
    assert lines[-1] == "One seed of each: differences may be the seed's."
    assert main(["compare", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["name"] for run in found["runs"]] == ["hold", "collapse"]
    assert found["runs"][0]["trend"]["last"]["steps"] == [16, 20]
    assert found["differences"][0]["over"] == "shared prompts"
    assert "groups" not in found["runs"][0]
    assert list(tmp_path.iterdir()) == [], "nothing is drawn unless it is asked for"


@pytest.mark.parametrize("words", [["{}/hold/entropies"], ["a={}/hold/entropies", "b={}/hold/entropies"]])
def test_one_run_is_not_compared_with_itself(runs, capsys, words):
    assert main(["compare", *(word.format(runs) for word in words)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_directory_by_another_path_is_the_same_run(runs, tmp_path, capsys):
    (tmp_path / "link").symlink_to(runs / "hold/entropies")
    assert main(["compare", f"a={runs}/hold/entropies", f"b={tmp_path}/link"]) == 2
    assert "a directory is given twice" in capsys.readouterr().err


def test_only_a_given_name_makes_runs_seeds(runs, tmp_path, capsys):
    for parent, story in (("x", "hold"), ("y", "collapse")):
        (tmp_path / parent).mkdir()
        (tmp_path / parent / "ckpt").symlink_to(runs / story / "entropies")
    for words in (["{}/x/ckpt", "{}/y/ckpt"], ["ckpt={}/x/ckpt", "{}/y/ckpt"]):
        assert main(["compare", *(word.format(tmp_path) for word in words)]) == 2
        said = capsys.readouterr().err
        assert said.endswith("two runs are called ckpt; give each its own name: NAME=DIR\n")
        assert said.count("\n") == 1
    assert main(["compare", f"ckpt={tmp_path}/x/ckpt", f"ckpt={tmp_path}/y/ckpt"]) == 0
    assert "ckpt's 2 seeds: " in capsys.readouterr().out


def test_a_pattern_of_several_runs_wants_names(runs, capsys):
    assert main(["compare", f"{runs}/*/entropies", str(runs / "hold/entropies")]) == 2
    said = capsys.readouterr().err
    assert f"name each run: collapse={runs}/collapse/entropies hold={runs}/hold/entropies" in said


@pytest.mark.parametrize("figure", ["effect", "rounds"])
def test_compare_draws_runs_beside_each_other(runs, tmp_path, capsys, figure):
    words = [f"{story}={runs / story / 'entropies'}" for story in ("hold", "collapse")]
    path = tmp_path / "runs.png"
    assert main(["compare", *words, "-f", figure, "-o", str(path)]) == 0
    assert path.stat().st_size > 10_000
    assert f"{path} drawn" in capsys.readouterr().err


def test_boxes_of_several_runs_stand_beside_each_other(runs):
    steps = {name: list(read_steps([runs / name / "entropies"])) for name in ("hold", "collapse")}
    analyses = {name: [analyse(found)] for name, found in steps.items()}
    figure = draw_runs(analyses, name="rounds")
    boxes = [bar for bar in figure.axes[0].patches if bar.get_gid() == "box"]
    rounds = sum(1 + len(seeds[0].rounds.by_round) for seeds in analyses.values())
    assert len(boxes) == rounds
    spans = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in boxes)
    assert all(left[1] < right[0] for left, right in pairwise(spans))
    names = {text.get_text() for legend in figure.findobj(Legend) for text in legend.get_texts()}
    assert names == {"hold", "collapse"}
