"""The figure of after / before over training, against sums over prompts in plain Python."""

import numpy as np
import pytest
from made_steps import make_step, texts_of

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.analysis.ratio import fieller
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.catalogue import draw, draw_runs
from arpo_entropy_recorder.figures.media import MEDIA


def made(steps, factor=2.0, prompts=8, validate=False, seed=0):
    """A run of prompts with one trajectory each, whose entropy is about `factor` times its start's after a result."""
    random = np.random.default_rng(seed)
    for step in steps:
        start = random.uniform(0.01, 0.02, prompts)
        after = factor * start * random.uniform(0.9, 1.1, prompts)
        records = [(0, False, e) for e in start] + [(1, True, e) for e in after]
        row = np.tile(np.arange(prompts), 2)
        yield make_step(records, step, validate, sample_idx=row, prompt_idx=row)


def drawn(axes, name):
    return [line.get_xydata() for line in axes.get_lines() if line.get_gid() == name]


def test_each_point_is_the_ratio_of_sums_over_neighbouring_steps_and_below_are_the_means():
    steps = list(made(range(1, 41)))
    axes, below, *_ = draw("effect", analyse(steps, ["pairs"])).axes
    (ratio,), (after,), (before,) = drawn(axes, "ratio"), drawn(below, "after"), drawn(below, "before")
    assert ratio[:, 0].tolist() == list(range(1, 41))
    for row, (_, value) in enumerate(ratio.tolist()):
        near = [
            step.columns["entropy"] for step in steps[max(row - 2, 0) : row + 3]
        ]  # 40 prompts are 5 steps
        start, end = (np.concatenate([e[part] for e in near]) for part in (slice(8), slice(8, 16)))
        assert value == pytest.approx(end.sum() / start.sum())
        assert after[row, 1] == pytest.approx(end.mean())
        assert before[row, 1] == pytest.approx(start.mean())
    assert "Each point adds up 5 steps." in axes.figure.get_supxlabel().replace("\n", " ")
    low, high = axes.get_ylim()
    assert np.log2([low, high]).tolist() == [-1, 2]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["1/2x", "1x", "2x", "4x"]


def test_no_line_crosses_steps_without_a_record_and_a_lone_step_is_a_point():
    axes = draw("effect", analyse(made([1, 2, 3, 9, 14, 15]), ["pairs"])).axes[0]
    (ratio,) = drawn(axes, "ratio")
    assert [x for x, y in ratio.tolist() if y == y] == [1, 2, 3, 9, 14, 15]
    assert np.isnan(ratio[:, 1]).tolist() == [False] * 3 + [True, False, True] + [False] * 2


def test_validation_is_a_dashed_line_of_its_own():
    steps = [*made(range(1, 31)), *made(range(10, 31, 10), factor=4.0, validate=True)]
    axes = draw("effect", analyse(steps, ["pairs"])).axes[0]
    training, validation = drawn(axes, "ratio")
    assert np.nanmax(training[:, 1]) < 2.2 < 3.6 < np.nanmin(validation[:, 1])
    assert validation[:, 0].tolist() == [10, 20, 30]
    (dashed,) = [line for line in axes.get_lines() if line.get_gid() == "ratio" and line.is_dashed()]
    assert "Left out" not in axes.figure.get_supxlabel()
    assert dashed.get_xydata()[:, 0].tolist() == [10, 20, 30]


def test_runs_are_lines_by_name_and_seeds_thin_with_their_geometric_mean():
    one, two = (
        analyse(made(range(1, 31), factor, seed=seed), ["pairs"]) for seed, factor in enumerate((1, 4))
    )
    other = analyse(made(range(1, 21), 0.5), ["pairs"])
    picture = draw_runs({"arpo": [one, two], "a$_b$": [other]}, medium=MEDIA["paper"])
    axes = picture.axes[0]
    first, second, mean, alone = drawn(axes, "ratio")
    assert mean[:, 1] == pytest.approx(np.sqrt(first[:, 1] * second[:, 1]))
    assert alone[-1, 0] == 20
    assert {"arpo", "a$_b$"} <= {text for text, _ in texts_of(picture)}
    caption = picture.get_label()
    assert "Thin: one seed each" in caption
    assert "arpo: 30 steps, 1 to 30. 30 steps, 1 to 30. a$_b$: 20 steps, 1 to 20." in caption


def test_an_interval_from_0_on_goes_down_to_the_axis_end():
    random = np.random.default_rng(0)
    row = np.tile(np.arange(5), 2)
    steps = []
    for step in range(1, 9):
        after = np.where(np.arange(5) == 0, 0.08, 0.001 * random.uniform(0.5, 1.5, 5))
        records = [*((0, False, 0.01) for _ in after), *((1, True, e) for e in after)]
        steps.append(make_step(records, step, sample_idx=row, prompt_idx=row))
    analysis = analyse(steps, ["pairs"])
    assert fieller(analysis.pairs.sums)[1].tolist() == [0] * 8
    axes = draw("effect", analysis).axes[0]
    (band,) = [part for part in axes.collections if part.get_gid() == "interval"]
    corners = np.concatenate([path.vertices for path in band.get_paths()])
    for step in range(1, 9):
        heights = corners[corners[:, 0] == step, 1]
        assert 0 < heights.min() <= axes.get_ylim()[0]
        assert heights.max() > 1


def test_where_before_may_be_zero_no_ratio_is_drawn_but_the_level_is():
    records = [(0, False, 0.0)] * 8 + [(1, True, 0.1)] * 8
    row = np.tile(np.arange(8), 2)
    steps = [make_step(records, step, sample_idx=row, prompt_idx=row) for step in (1, 2)]
    axes, below, *_ = draw("effect", analyse(steps, ["pairs"])).axes
    assert np.isnan(drawn(axes, "ratio")[0][:, 1]).all()
    assert drawn(below, "after")[0][:, 1].tolist() == pytest.approx([0.1, 0.1])


def test_too_few_prompts_are_one_clear_line_with_the_runs_name():
    few = analyse(made([1], prompts=4), ["pairs"])
    with pytest.raises(UserError, match=r"^grpo: prompts .*: 4; there have to be 5$"):
        draw_runs({"arpo": [analyse(made([1, 2]), ["pairs"])], "grpo": [few]})
