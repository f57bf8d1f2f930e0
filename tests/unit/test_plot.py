"""The guide's figure: its artists hold the statistics, and everything on it fits: no pixel is compared."""

import re
import statistics as oracle
from collections import Counter

import numpy as np
import pytest
from made_steps import texts_of
from matplotlib.collections import PathCollection
from matplotlib.container import ErrorbarContainer

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.analysis.simulate import simulate_steps
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.catalogue import draw
from arpo_entropy_recorder.figures.marks import POINTS_SHOWN
from arpo_entropy_recorder.figures.picture import picture_path, save
from arpo_entropy_recorder.step_files.read import Step


def draw_rounds(entropies):
    """The figure of {round: entropies}, round 0 being the start."""
    columns = {
        "round": np.array([number for number, values in entropies.items() for _ in values]),
        "entropy": np.array([value for values in entropies.values() for value in values], float),
    }
    columns["is_after_tool_call"] = columns["round"] > 0
    columns["sample_idx"] = np.arange(len(columns["round"]))
    return draw("guide", analyse([Step(global_step=7, validate=False, columns=columns)], ()))


def clouds(figure):
    """{x: plotted entropies} of the points."""
    found = {}
    for artist in figure.axes[0].collections:
        if isinstance(artist, PathCollection):
            x, y = np.asarray(artist.get_offsets()).T if len(artist.get_offsets()) else ([], [])
            assert np.abs(np.asarray(x) - np.round(x)).max(initial=0) < 0.3  # never nearer to another round
            found[int(artist.get_gid().removeprefix("points-"))] = sorted(y)
    return found


def bars(figure):
    """{x: (mean, half length of the bar)}."""
    found = {}
    for container in figure.axes[0].containers:
        assert isinstance(container, ErrorbarContainer)
        line, _, (stems,) = container.lines
        for x, mean, stem in zip(*line.get_data(), stems.get_segments(), strict=True):
            found[int(x)] = (mean, (stem[1, 1] - stem[0, 1]) / 2 if len(stem) else None)
    return found


ENTROPIES = {0: [0.1, 0.25, 0.3], 1: [0.7, 0.95, 0.61], 2: [0.5, 0.4], 4: [0.8]}


def test_every_record_is_a_point_in_its_round():
    assert clouds(draw_rounds(ENTROPIES)) == {x: sorted(values) for x, values in ENTROPIES.items()}


def test_marks_are_the_means_and_bars_one_sample_standard_deviation():
    found = bars(draw_rounds(ENTROPIES))
    assert found.keys() == ENTROPIES.keys()
    for number, values in ENTROPIES.items():
        mean, half = found[number]
        assert mean == pytest.approx(oracle.fmean(values))
        if len(values) > 1:
            assert half == pytest.approx(oracle.stdev(values))
        else:
            assert half is None or np.isnan(half)


def test_the_start_has_a_mark_of_its_own_and_none_where_it_was_not_recorded():
    with_start, without = (
        draw_rounds(ENTROPIES),
        draw_rounds({1: [0.5, 0.6]}),
    )
    assert len(with_start.axes[0].containers) == 2
    markers = {c.lines[0].get_marker() for c in with_start.axes[0].containers}
    assert len(markers) == 2  # told apart in grey, too
    assert len(without.axes[0].containers) == 1


def test_the_axis_counts_rounds_in_whole_numbers_with_the_records_under_each():
    figure = draw_rounds(ENTROPIES)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2", "4"]
    (counts,) = axes.child_axes
    assert [label.get_text() for label in counts.get_xticklabels()] == ["n = 3", "n = 3", "n = 2", "n = 1"]
    assert axes.get_ylim() == (0, 1)
    assert any(np.allclose(line.get_ydata(), 0.6) for line in axes.get_lines())


def test_many_records_are_thinned_and_the_caption_says_so():
    analysis = analyse(simulate_steps(5, 20_000), ())
    figure = draw("guide", analysis)
    shown = sum(len(points) for points in clouds(figure).values())
    assert shown <= POINTS_SHOWN
    assert f"{shown:,} of 120,000 records" in figure.get_supxlabel().replace("\n", " ")
    assert bars(figure)[1][0] == analysis.rounds.by_round[1].mean  # of all records, not of those shown


def test_what_was_left_out_is_in_the_caption():
    analysis = analyse(simulate_steps(), ())
    analysis.left_out = Counter(greedy=1234)
    figure = draw("guide", analysis)
    assert "Left out: 1,234 greedy." in figure.get_supxlabel().replace("\n", " ")


def test_simulated_data_says_so_in_the_picture_and_recorded_data_does_not():
    made_up = draw("guide", analyse(simulate_steps(), ()))
    assert "SIMULATED" in [text for text, _ in texts_of(made_up)]
    assert not any("simulated" in text.lower() for text, _ in texts_of(draw_rounds(ENTROPIES)))


def test_without_a_record_after_a_tool_call_there_is_one_clear_line():
    with pytest.raises(UserError, match="no record with an entropy is after a tool call"):
        draw_rounds({0: [0.5]})


@pytest.mark.parametrize("suffix", ["pdf", "svg"])  # a PNG has no date, and the drawing is that of the SVG
def test_the_same_data_gives_the_same_bytes(tmp_path, monkeypatch, suffix):
    for name, day in (("a", "1"), ("b", "9")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", day + 5 * "0")  # matplotlib's now
        save(draw_rounds(ENTROPIES), tmp_path / f"{name}.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_picture_that_fails_half_way_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    figure = draw_rounds(ENTROPIES)

    def break_off(beside, **_):
        beside.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", break_off)
    with pytest.raises(UserError, match="No space left"):
        save(figure, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("output", ["figure.xyz", "figure", "no/such/dir/figure.png", ".", "file/figure.png"])
def test_an_impossible_output_is_refused_before_any_work(tmp_path, monkeypatch, output):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"^{re.escape(output)}: "):
        picture_path(output)
