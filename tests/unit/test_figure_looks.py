"""How a figure looks: what stands out, which colours are told apart, and that no text is in the way of another."""

from functools import cache

import numpy as np
import pytest
from made_steps import draw_steps, make_step, texts_of
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from arpo_entropy_recorder.analysis.analysis import Analysis, analyse
from arpo_entropy_recorder.analysis.breakdown import Curve
from arpo_entropy_recorder.analysis.simulate import simulate_steps
from arpo_entropy_recorder.figures.catalogue import FIGURES, draw
from arpo_entropy_recorder.figures.media import MEDIA
from arpo_entropy_recorder.figures.style import take_words


@pytest.mark.parametrize("rounds", [2, 6, 30])
def test_a_logs_rounds_go_from_dark_to_light_in_blues_far_from_the_starts_orange(rounds):
    log = Analysis((), from_log=True)
    log.steps.curves = {number: Curve(np.arange(1, 4.0), np.full(3, 0.1)) for number in range(rounds + 1)}
    picture = draw("steps", log)
    *after, start = [
        to_rgb(line.get_color()) for line in picture.axes[0].get_lines() if line.get_gid() == "curve"
    ]
    assert len(after) == rounds
    greys = [np.dot(colour, (0.299, 0.587, 0.114)) for colour in after]
    assert greys == sorted(greys)
    assert all(blue > red for red, _, blue in after)
    assert start[2] < start[0]
    assert len(picture.axes) == 1 + (rounds > 6)  # many rounds are told by a scale of colours
    assert_tidy(picture)


@pytest.mark.parametrize("sizes", [{1: 1, 2: 20}, {1: 400, 2: 3}])
def test_the_guides_means_are_larger_than_any_record_and_lie_over_them(sizes):
    records = [(0, False, 0.2), *((number, True, 0.5) for number, n in sizes.items() for _ in range(n))]
    axes = draw_steps("guide", [make_step(records)]).axes[0]
    clouds = [artist for artist in axes.collections if isinstance(artist, PathCollection)]
    largest = max(size**0.5 for cloud in clouds for size in cloud.get_sizes())
    for container in axes.containers:
        mark = container.lines[0]
        assert mark.get_markersize() > 1.5 * largest
        assert mark.get_zorder() > max(cloud.get_zorder() for cloud in clouds)


@pytest.mark.parametrize(("name", "across"), [("guide", 0), ("rounds", 0), ("tools", 1), ("change", 0)])
@pytest.mark.parametrize("count", [1, 40])
def test_the_records_lie_around_their_place_and_none_on_another(name, across, count):
    records = [(0, False, 0.2), *[(1, True, 0.5)] * count]
    sample, tool = np.zeros(count + 1, int), np.array([None] + ["python"] * count)
    axes = draw_steps(name, [make_step(records, sample_idx=sample, tool=tool)]).axes[0]
    (cloud,) = [artist for artist in axes.collections if artist.get_gid() == "points-1"]
    place = cloud.get_offsets()[:, across]
    assert place.mean() == pytest.approx(1)
    assert len(set(place.tolist())) == count
    assert np.abs(place - 1).max() < 0.31


def test_tools_are_a_sorted_list_with_few_records_last_and_names_cut_in_the_middle():
    tools = {
        "a": (0.2, 9),
        "b": (0.5, 9),
        "few": (0.9, 4),
        "name " * 5 + "of 1": (0.3, 9),
        "c$_x$": (0.01, 5),
    }
    records = [(1, True, entropy) for entropy, n in tools.values() for _ in range(n)]
    column = np.array([name for name, (_, n) in tools.items() for _ in range(n)], object)
    picture = draw_steps("tools", [make_step([(0, False, 0.1), *records], tool=np.append([None], column))])
    axes = picture.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["before any tool call", "b", "name name na…e name of 1", "a", "c$_x$", "few"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # from top to bottom
    assert_tidy(picture)


def test_of_very_many_tools_those_called_most_are_shown_and_the_others_counted():
    tools = np.array([f"tool {number}" for number in range(40) for _ in range(1 + (number < 30))])
    picture = draw_steps("tools", [make_step([(1, True, 0.5)] * len(tools), tool=tools)])
    names = {label.get_text() for label in picture.axes[0].get_yticklabels()}
    assert names == {f"tool {number}" for number in range(30)}
    assert "not shown: 10." in picture.get_supxlabel().replace("\n", " ")
    assert_tidy(picture)


@pytest.mark.parametrize("name", [*FIGURES, "guide"])
def test_the_caption_starts_under_the_axes_edge_and_explains_the_dashed_line_where_there_is_one(name):
    picture = draw_of(name, 1, 1, "screen")
    drawn, axes = texts_of(picture), picture.axes[0]
    assert_tidy(picture, drawn)
    (caption,) = [box for text, box in drawn if text == picture.get_supxlabel()]
    assert caption.x0 == pytest.approx(axes.bbox.x0, abs=1)
    dashed = any(np.allclose(line.get_ydata(), 0.6) for line in axes.get_lines() if len(line.get_ydata()))
    explained = "Dashed: 0.6, the guide's mark of a high entropy." in picture.get_supxlabel().replace(
        "\n", " "
    )
    assert dashed == explained == (name == "guide")


@pytest.mark.parametrize("name", FIGURES)
def test_a_page_that_has_title_and_caption_as_text_gets_a_picture_without_them(name):
    picture = draw(name, simulated(5, 12_345))
    caption = picture.get_supxlabel()
    title = picture.axes[0].get_title("left")
    assert {title, caption} <= words_of(picture)
    assert take_words(picture).replace("\u00a0", " ") == caption.replace("\n", " ")
    assert not {title, caption} & words_of(picture)


@pytest.mark.parametrize(
    ("name", "medium"),
    [
        ("rounds", "paper"),
        ("change", "screen"),
        ("heatmap", "paper"),
        ("guide", "screen"),
        ("guide", "paper"),
    ],
)
def test_of_very_many_rounds_no_text_is_cut_off_or_overlaps_another(name, medium):
    """The other figures do not tell rounds apart; `rounds`, `change` and `guide` have the same axis."""
    assert_tidy(draw_of(name, 40, 20, medium))


@pytest.mark.parametrize("name", [*FIGURES, "guide"])
@pytest.mark.parametrize(
    ("num_rounds", "num_samples", "medium"), [(5, 12_345, "paper"), (13, 2_000, "slide")]
)
def test_no_text_is_cut_off_or_overlaps_another(name, num_rounds, num_samples, medium):
    assert_tidy(draw_of(name, num_rounds, num_samples, medium))


@pytest.mark.parametrize("name", [*FIGURES, "guide"])
def test_a_papers_figure_fits_its_column_in_text_of_7_to_8_points(name):
    picture = draw_of(name, 5, 12_345, "paper")
    assert picture.get_figwidth() == 3.3
    sizes = {text.get_fontsize() for text in picture.findobj(Text) if text.get_text().strip("SIMULATED ")}
    assert min(sizes) >= 7
    assert max(sizes) <= 8


def words_of(picture):
    return {text.get_text() for text in picture.findobj(Text)}


@cache
def simulated(num_rounds, num_samples):
    analysis = analyse(simulate_steps(num_rounds, num_samples))
    analysis.vocab_size = 151_936
    return analysis


@cache
def draw_of(name, num_rounds, num_samples, medium):
    """A simulated run's figure, with enough prompts for `effect`."""
    analysis = simulated(num_rounds, max(num_samples, 5) if name == "effect" else num_samples)
    return draw(name, analysis, medium=MEDIA[medium])


def assert_tidy(picture, drawn=None):
    """No text of the picture is cut off, and none overlaps another; `drawn` is what `texts_of` says of it."""
    drawn = [(text, box) for text, box in drawn or texts_of(picture) if text != "SIMULATED"]
    page = picture.bbox
    for text, box in drawn:
        assert min(box.x0, box.y0, page.x1 - box.x1, page.y1 - box.y1) >= 0, text
    for index, (text, box) in enumerate(drawn):
        for other, other_box in drawn[index + 1 :]:
            overlap = box.intersection(box, other_box)
            assert overlap is None or min(overlap.width, overlap.height) < 2, (text, other)
