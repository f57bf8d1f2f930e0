"""How a figure looks: what stands out, which colours are told apart, and that no text is in the way of another."""

import numpy as np
import pytest
from made_steps import draw_steps, make_run, make_step, texts_of
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb

from arpo_entropy_recorder.analysis.simulate import simulate_steps
from arpo_entropy_recorder.figures.catalogue import FIGURES
from arpo_entropy_recorder.figures.style import take_words


@pytest.mark.parametrize("rounds", [2, 6, 30])
def test_rounds_go_from_dark_to_light_in_blues_that_are_far_from_the_starts_orange(rounds):
    axes = draw_steps("steps", simulate_steps(rounds, 50)).axes[0]
    *after, start = [to_rgb(line.get_color()) for line in axes.get_lines() if line.get_gid() == "curve"]
    assert len(after) == rounds
    greys = [np.dot(colour, (0.299, 0.587, 0.114)) for colour in after]
    assert greys == sorted(greys)
    assert all(blue > red for red, _, blue in after)
    assert start[2] < start[0]


@pytest.mark.parametrize("sizes", [{1: 1, 2: 20}, {1: 400, 2: 3}])
@pytest.mark.parametrize("name", ["rounds", "tools", "change"])
def test_a_mean_is_larger_than_any_record_and_lies_over_them(name, sizes):
    records = [(0, False, 0.2), *((number, True, 0.5) for number, n in sizes.items() for _ in range(n))]
    sample, tool = np.zeros(len(records), int), np.array([None] + ["python"] * (len(records) - 1))
    axes = draw_steps(name, [make_step(records, sample_idx=sample, tool=tool)]).axes[0]
    clouds = [artist for artist in axes.collections if isinstance(artist, PathCollection)]
    largest = max(size**0.5 for cloud in clouds for size in cloud.get_sizes())
    for container in axes.containers:
        mark = container.lines[0]
        assert mark.get_markersize() > 1.5 * largest
        assert mark.get_zorder() > max(cloud.get_zorder() for cloud in clouds)


@pytest.mark.parametrize("name", ["rounds", "tools", "change"])
@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_the_records_lie_around_their_mean(name, count):
    records = [(0, False, 0.2), *[(1, True, 0.5)] * count]
    sample, tool = np.zeros(count + 1, int), np.array([None] + ["python"] * count)
    axes = draw_steps(name, [make_step(records, sample_idx=sample, tool=tool)]).axes[0]
    (cloud,) = [artist for artist in axes.collections if artist.get_gid() == "points-1"]
    x = cloud.get_offsets()[:, 0]
    assert x.mean() == pytest.approx(1)
    assert len(set(x.tolist())) == count
    assert np.abs(x - 1).max() < 0.31


def test_eight_tools_have_colours_of_their_own_and_their_records_the_tools_marker():
    tools = np.array([f"tool {number}" for number in range(8)])
    axes = draw_steps("tools", [make_step([(1, True, 0.5)] * 8, tool=tools)]).axes[0]
    marks = [container.lines[0] for container in axes.containers]
    assert len({mark.get_markerfacecolor() for mark in marks}) == 8
    clouds = [artist for artist in axes.collections if isinstance(artist, PathCollection)]
    assert len({cloud.get_paths()[0].vertices.tobytes() for cloud in clouds}) == 8


def test_no_two_of_many_tools_look_alike():
    tools = np.array([f"tool {number}" for number in range(40)])
    lines = [
        container.lines[0]
        for container in draw_steps("tools", [make_step([(1, True, 0.5)] * 40, tool=tools)])
        .axes[0]
        .containers
    ]
    assert len({(line.get_marker(), line.get_markerfacecolor()) for line in lines}) == 40


@pytest.mark.parametrize("name", FIGURES)
def test_the_caption_starts_under_the_axes_edge_and_explains_the_dashed_line_where_there_is_one(name):
    picture = draw_steps(name, make_run(steps=4, trajectories=30))
    axes = picture.axes[0]
    (caption,) = [box for text, box in texts_of(picture) if text == picture.get_supxlabel()]
    assert caption.x0 == pytest.approx(axes.bbox.x0, abs=1)
    dashed = any(np.allclose(line.get_ydata(), 0.6) for line in axes.get_lines() if len(line.get_ydata()))
    explained = "Dashed: 0.6, the guide's mark of a high entropy." in picture.get_supxlabel().replace(
        "\n", " "
    )
    assert dashed == explained == (name not in ("heatmap", "change"))


@pytest.mark.parametrize("name", FIGURES)
def test_a_page_that_has_title_and_caption_as_text_gets_a_picture_without_them(name):
    picture = draw_steps(name, simulate_steps(3, 50))
    caption = picture.get_supxlabel().replace("\n", " ")
    title = picture.axes[0].get_title("left")
    assert take_words(picture).replace("\u00a0", " ") == caption
    assert not {title, caption} & {text for text, _ in texts_of(picture)}
    assert_tidy(picture)


@pytest.mark.parametrize(("rounds", "tools"), [(1, 5), (10, 5), (2, 30)])
def test_many_tools_with_long_names_stand_between_title_and_axes(rounds, tools):
    names = np.array([f"{index} {'a very long name of a tool, ' * 2}" for index in range(tools)])
    step = make_step([(number, True, 0.5) for number in range(1, rounds + 1) for _ in names],
                     tool=np.tile(names, rounds))  # fmt: skip
    picture = draw_steps("tools", [step])
    assert_tidy(picture)
    axes = picture.axes[0]
    assert axes.get_legend().get_window_extent().y0 >= axes.bbox.y1
    assert axes.bbox.height > 2 * picture.dpi


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize(("num_rounds", "num_samples"), [(1, 1), (5, 12_345), (13, 20_000), (40, 100)])
def test_no_text_is_cut_off_or_overlaps_another(name, num_rounds, num_samples):
    assert_tidy(draw_steps(name, simulate_steps(num_rounds, num_samples)))


def assert_tidy(picture):
    """No text of the picture is cut off, and none overlaps another."""
    drawn = [(text, box) for text, box in texts_of(picture) if text != "SIMULATED"]
    page = picture.bbox
    for text, box in drawn:
        assert min(box.x0, box.y0, page.x1 - box.x1, page.y1 - box.y1) >= 0, text
    for index, (text, box) in enumerate(drawn):
        for other, other_box in drawn[index + 1 :]:
            overlap = box.intersection(box, other_box)
            assert overlap is None or min(overlap.width, overlap.height) < 2, (text, other)
