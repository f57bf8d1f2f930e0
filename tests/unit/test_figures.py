"""Every figure's artists against the records themselves, in plain Python."""

import math
import statistics as oracle
import subprocess
import sys
from collections import Counter
from io import BytesIO

import numpy as np
import pytest
from made_steps import draw_steps, make_run, make_step
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.text import Text

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.analysis.simulate import simulate_steps
from arpo_entropy_recorder.analysis.statistics import Group, Origins
from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.bins import bins_of
from arpo_entropy_recorder.figures.catalogue import FIGURES, FigureSpec, draw, draw_runs
from arpo_entropy_recorder.figures.chinese import CHINESE
from arpo_entropy_recorder.figures.scales import scale_for
from arpo_entropy_recorder.figures.spread import spread_of
from arpo_entropy_recorder.figures.words import Words
from arpo_entropy_recorder.report.page import make_page, read_run

STEPS = list(make_run(steps=4, trajectories=30))


def rows():
    """Every record with an entropy: step, sample, round, tool, entropy."""
    for step in STEPS:
        columns = (step.columns[name].tolist() for name in ("sample_idx", "round", "tool", "entropy"))
        for sample, number, tool, entropy in zip(*columns, strict=True):
            if entropy == entropy:
                yield step.global_step, sample, number, tool, entropy


def mean_by(*keys):
    groups = {}
    for step, sample, number, tool, entropy in rows():
        record = {"step": step, "sample": sample, "round": number, "tool": tool}
        groups.setdefault(tuple(record[key] for key in keys), []).append(entropy)
    return {key: oracle.fmean(values) for key, values in groups.items()}


def lines(axes, name):
    return [line.get_xydata() for line in axes.get_lines() if line.get_gid() == name]


def test_steps_are_medians_of_all_records_after_a_result_and_before_any_with_bands():
    axes = draw_steps("steps", STEPS).axes[0]
    after, start = lines(axes, "median")
    for drawn, wanted in ((after, lambda number: number > 0), (start, lambda number: number == 0)):
        for step, median in drawn.tolist():
            values = [e for at, _, number, _, e in rows() if at == step and wanted(number)]
            assert median == pytest.approx(oracle.median(values))
    assert [x for x, _ in after.tolist()] == [1, 2, 3, 4]
    at_step_2 = [e for at, _, number, _, e in rows() if at == 2 and number > 0]
    for name, share in (("p10-p90", 0.1), ("p10-p90", 0.9), ("box", 0.25), ("box", 0.75)):
        bands = [band for band in axes.collections if band.get_gid() == name and band.get_paths()]
        edges = np.concatenate([path.vertices for band in bands for path in band.get_paths()])
        edge = np.quantile(at_step_2, share)
        assert np.isclose(edges[edges[:, 0] == 2, 1], edge).any(), (name, share)


def test_where_a_step_has_too_few_records_for_a_band_they_are_points():
    steps = [make_step([(1, True, 0.2), (1, True, 0.8)]), make_step([(1, True, 0.5)] * 9, 2)]
    axes = draw_steps("steps", steps).axes[0]
    points = [a.get_offsets().tolist() for a in axes.collections if isinstance(a, PathCollection)]
    assert sorted(xy for cloud in points for xy in cloud) == [[1, 0.2], [1, 0.5]]  # 0.8 lies beyond the axis
    assert axes.get_ylim()[1] == 0.5
    assert "fewer than 5" in axes.figure.get_supxlabel()
    assert "fewer than 5" not in draw_steps("steps", [make_step([(1, True, 0.5)] * 9)]).get_supxlabel()


@pytest.mark.parametrize(
    ("steps", "spacing", "width", "count"),
    [
        ([7], 1, 1, 1),
        (range(1, 51), 1, 1, 50),
        (range(1, 301), 1, 10, 30),
        (range(10, 310, 10), 10, 10, 30),
        ([0, 50, 10**12], 50, 25 * 10**9, 41),
    ],
)
def test_long_runs_are_binned_by_round_numbers_of_steps(steps, spacing, width, count):
    steps = np.array(list(steps))
    bins = bins_of(steps)
    assert bins == (steps[0], spacing, width, count)
    assert bins.at(steps).min() >= 0
    assert bins.at(steps).max() == count - 1
    assert ((bins.edges[bins.at(steps)] < steps) & (steps < bins.edges[bins.at(steps) + 1])).all()


def test_a_long_runs_medians_are_those_of_bins_and_break_where_no_step_was_recorded():
    kept = [step for step in range(1, 161) if not 61 <= step <= 85]
    random = np.random.default_rng(0)
    entropies = {step: random.random(5) for step in kept}
    steps = [make_step([(1, True, entropy) for entropy in entropies[step]], step) for step in kept]
    picture = draw_steps("steps", steps)
    (drawn,) = lines(picture.axes[0], "median")
    assert len(drawn) == 16
    for centre, median in drawn.tolist():
        inside = [e for step in kept if abs(step - centre) < 5 for e in entropies[step]]
        assert len(inside) == 0 if median != median else median == pytest.approx(oracle.median(inside))
    assert np.isnan(drawn[:, 1]).tolist() == [x - 5 >= 60 and x + 5 <= 86 for x, _ in drawn.tolist()]
    assert "Steps are drawn in bins of 10." in picture.get_supxlabel().replace("\n", " ")


@pytest.mark.parametrize("name", ["steps", "heatmap"])
@pytest.mark.parametrize(
    ("numbers", "ticks"),
    [
        (range(1, 61), [1, 10, 20, 30, 40, 50, 60]),
        (range(4, 22), [5, 10, 15, 20]),
        (range(5, 6), [5]),
        (range(0, 9), [*range(9)]),
    ],
)
def test_ticks_are_round_steps_of_the_run_and_its_first(name, numbers, ticks):
    axes = draw_steps(name, [make_step([(1, True, 0.5)], number) for number in numbers]).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == [str(tick) for tick in ticks]


def test_the_heat_maps_cells_are_the_means_with_a_dot_for_few_records_and_empty_for_none():
    gap = make_step([(0, False, 0.1), (3, True, 0.8)], global_step=9)
    axes = draw_steps("heatmap", [*STEPS, gap]).axes[0]
    (mesh,) = [artist for artist in axes.collections if isinstance(artist, QuadMesh)]
    (dots,) = [artist for artist in axes.collections if artist.get_gid() == "few"]
    dotted = {(x - 1, y - 0.5) for x, y in dots.get_offsets().tolist()}
    expected = {**mean_by("step", "round"), (9, 0): 0.1, (9, 3): 0.8}
    counts = Counter((step, number) for step, _, number, _, _ in rows())
    for column, step in enumerate(range(1, 10)):
        for number in range(4):
            cell = mesh.get_array()[number, column]
            if (step, number) in expected:
                assert cell == pytest.approx(expected[step, number])
            else:
                assert cell is np.ma.masked
            few = (step, number) in expected and counts[step, number] < 5
            assert ((column, number) in dotted) == few
    assert "Dot: fewer than 5 records" in axes.figure.get_supxlabel().replace("\n", " ")
    assert mesh.norm.vmin > 0.1  # cells of few records set no limit of the colours
    many = draw_steps("heatmap", simulate_steps(3, 100))
    assert "Dot" not in many.get_supxlabel()
    assert not any(artist.get_gid() == "few" for artist in many.axes[0].collections)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0 (start)", "1", "2", "3"]


def test_a_heat_map_of_one_value_has_a_readable_scale():
    scale = draw_steps("heatmap", [make_step([(1, True, 0.7)] * 3)]).axes[1]
    low, high = scale.get_ylim()
    assert low < 0.7 < high
    assert high == pytest.approx(2 * low)


@pytest.mark.parametrize("name", ["rounds", "change", "guide"])
def test_a_box_for_each_of_too_many_rounds_is_refused(name):
    records = [(number, number > 0, 0.1) for number in range(502)]
    step = make_step(records, sample_idx=np.zeros(502, int))
    with pytest.raises(UserError, match=r"^50[12] rounds, .* choose heatmap or steps$"):
        draw_steps(name, [step])


def test_boxes_of_too_many_rounds_of_several_runs_are_refused():
    runs = {
        name: [analyse([make_step([(number, True, 0.1) for number in range(first, first + 300)])])]
        for name, first in (("a", 1), ("b", 301))
    }
    with pytest.raises(UserError, match="600 rounds, "):
        draw_runs(runs, name="rounds")


def test_a_heat_map_of_the_smallest_floats_is_drawn():
    for smallest in (1e-300, 5e-324):
        draw_steps("heatmap", [make_step([(1, True, smallest)] * 3)]).savefig(BytesIO())


@pytest.mark.parametrize(("highest", "end"), [(0.33, 0.4), (0.09, 0.1), (0.012, 0.015), (0.0, 0.0125)])
def test_the_guides_axis_ends_above_low_entropies_and_the_caption_says_so(highest, end):
    picture = draw_steps("guide", [make_step([(0, False, highest), *[(1, True, highest)] * 9])])
    axes = picture.axes[0]
    assert axes.get_ylim() == pytest.approx((0, end))
    assert axes.get_yticks()[-1] == pytest.approx(end)
    caption = picture.get_supxlabel().replace("\n", " ")
    assert "0.6, the guide's mark of a high entropy, lies above this picture." in caption
    assert "Dashed" not in caption
    assert not any(np.allclose(line.get_ydata(), 0.6) for line in axes.get_lines() if len(line.get_ydata()))


def test_one_record_or_bar_above_a_half_takes_the_guides_whole_axis():
    low = [(1, True, 0.02)] * 20
    assert draw_steps("guide", [make_step([*low, (1, True, 0.51)])]).axes[0].get_ylim() == (0, 1)
    wide = [(1, True, 0.0), (1, True, 0.45)]  # mean + sd = 0.54
    assert draw_steps("guide", [make_step(wide)]).axes[0].get_ylim() == (0, 1)


@pytest.mark.parametrize(
    ("low", "high", "limits"),
    [
        (0.03, 0.9, (0.01, 1)),
        (0.2, 0.3, (0.1, 0.5)),
        (1e-9, 0.11, (1e-4, 0.2)),
        (0, 0, (0.1, 1)),
        (1e-8, 3e-6, (1e-6, 5e-6)),
    ],
)
def test_a_log_axis_has_the_large_values_and_a_lane_for_the_others(low, high, limits):
    assert scale_for(low, high) == pytest.approx(limits)


def test_small_groups_set_no_limit_and_what_lies_beyond_is_a_triangle_at_the_edge():
    records = [(1, True, entropy) for entropy in (0.01, 0.02, 0.03, 0.02, 0.02)]
    axes = draw_steps("rounds", [make_step([*records, (2, True, 0.9), (2, True, 0.015)])]).axes[0]
    assert axes.get_ylim() == pytest.approx((0, 0.05))
    small = {
        a.get_gid(): a.get_offsets()[:, 1].tolist()
        for a in axes.collections
        if str(a.get_gid()).endswith("-2")
    }
    assert small == {"points-2": [0.015], "beyond-2": [pytest.approx(0.05)]}
    caption = axes.figure.get_supxlabel().replace("\n", " ")
    assert "No box below n = 5." in caption
    assert "Triangles: values beyond the axis." in caption
    assert len(lines(axes, "median")[0]) == 1


def test_a_box_has_the_quantiles_the_median_and_the_mean_of_its_round():
    axes = draw_steps("rounds", STEPS).axes[0]
    values = {number: [e for *_, at, _, e in rows() if at == number] for number in range(4)}
    for name, of in (("median", oracle.median), ("mean", oracle.fmean)):
        drawn = dict(xy for line in lines(axes, name) for xy in line.tolist())
        assert drawn == pytest.approx({number: of(group) for number, group in values.items()})
    boxes = {round(box.get_x() + box.get_width() / 2): box for box in axes.patches if box.get_gid() == "box"}
    for number, group in values.items():
        ends = boxes[number].get_y() + np.array([0, boxes[number].get_height()])
        assert ends == pytest.approx(np.quantile(group, (0.25, 0.75)))


def test_the_quantiles_of_groups_of_which_a_sample_is_kept_weigh_each_group_by_its_size():
    large, small = Group(kept=100), Group()
    large.add(np.full(1_000, 0.1))
    small.add(np.full(100, 0.9))
    assert spread_of([large, small])[3:] == pytest.approx((0.1, 0.1, 0.1, 0.1, 0.1), abs=1e-9)
    assert spread_of([large, small]).mean == pytest.approx((100 + 90) / 1_100)


def test_nats_are_on_a_second_axis_where_the_vocabulary_is_known():
    analysis = analyse(STEPS, ())
    assert len(draw("rounds", analysis).axes) == 1
    analysis.vocab_size = 151_936
    left, right = draw("rounds", analysis).axes
    assert np.array(right.get_ylim()) == pytest.approx(np.array(left.get_ylim()) * math.log(151_936))
    at = [
        axes.transData.transform((0, value))[1]
        for axes, value in ((left, 0.05), (right, 0.05 * math.log(151_936)))
    ]
    assert at[0] == pytest.approx(at[1])


def test_each_tools_row_has_the_median_of_its_records():
    axes = draw_steps("tools", STEPS).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    drawn = {names[round(y)]: x for line in lines(axes, "median") for x, y in line.tolist()}
    for tool in ("python", "search"):
        assert drawn[tool] == pytest.approx(oracle.median(e for _, _, _, name, e in rows() if name == tool))
    points = sum(len(a.get_offsets()) for a in axes.collections if isinstance(a, PathCollection))
    assert points == len(list(rows()))


def test_the_window_is_summed_up_token_by_token_over_what_is_there():
    axes = draw_steps("window", STEPS).axes[0]
    for median, mean, wanted in zip(lines(axes, "median"), lines(axes, "mean"), (True, False), strict=True):
        for at in range(4):
            values = [
                value
                for step in STEPS
                for value, after in zip(
                    step.columns["window"][:, at].tolist(), step.columns["is_after_tool_call"], strict=True
                )
                if after == wanted and value == value
            ]
            assert mean[at].tolist() == pytest.approx([at + 1, oracle.fmean(values)])
            # of each token a sample of 200 is kept
            assert median[at, 1] == pytest.approx(
                oracle.median(values), abs=0.0 if len(values) <= 200 else 0.1
            )


def test_the_change_is_each_records_against_its_own_start():
    axes = draw_steps("change", STEPS).axes[0]
    start = {(step, sample): entropy for step, sample, number, _, entropy in rows() if number == 0}
    expected = {}
    for step, sample, number, _, entropy in rows():
        if number and (step, sample) in start:
            expected.setdefault(number, []).append(entropy - start[step, sample])
    for artist in axes.collections:
        if isinstance(artist, PathCollection):
            number = int(artist.get_gid().removeprefix("points-"))
            assert sorted(artist.get_offsets()[:, 1]) == pytest.approx(sorted(expected[number]))
    assert dict(lines(axes, "mean")[0].tolist()) == pytest.approx(
        {number: oracle.fmean(changes) for number, changes in expected.items()}
    )
    assert "Wilcoxon signed-rank p =" in axes.figure.get_supxlabel().replace("\n", " ")


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_exists_in_chinese_says_what_it_left_out_and_when_it_is_simulated(name):
    analysis = analyse(simulate_steps(3, 50), FIGURES[name].parts)
    analysis.origins = Origins(Counter(recorded=2, rescored=1, other=1, simulated=9), incomplete=4)
    analysis.left_out = Counter(greedy=3)
    figure = draw(name, analysis, Words(chinese=CHINESE))
    assert "SIMULATED" in [text.get_text() for text in figure.findobj(Text)]
    caption = figure.get_supxlabel()
    assert "3贪心解码记录" in "".join(caption.split())
    assert "1other,2实时记录,1重新打分" in "".join(caption.split())
    assert "来自未完整记录的调用的记录" in "".join(caption.split())
    assert "10个训练步" in "".join(caption.split())


@pytest.mark.parametrize(
    ("count", "ticks"),
    [
        (2, [1, 2]),
        (8, [*range(1, 9)]),
        (20, [1, 5, 10, 15, 20]),
        (32, [1, 5, 10, 15, 20, 25, 30]),
        (60, [1, 10, 20, 30, 40, 50, 60]),
    ],
)
def test_a_windows_ticks_are_its_first_token_and_round_numbers(count, ticks):
    window = np.full((2, count), 0.5)
    axes = draw_steps("window", [make_step([(0, False, 0.5), (1, True, 0.5)], window=window)]).axes[0]
    assert axes.get_xticks().tolist() == ticks


@pytest.mark.parametrize(
    ("name", "missing"), [("tools", "names its tool"), ("window", "entropy_window"), ("change", "initial")]
)
def test_what_a_figure_needs_and_the_records_lack_is_one_clear_line(name, missing):
    with pytest.raises(UserError, match=missing):
        draw_steps(name, [make_step([(1, True, 0.5)])])


@pytest.mark.parametrize("name", ["rounds", "guide", "change", "tools"])
def test_no_record_after_a_tool_call_stops_a_figure_of_results(name):
    with pytest.raises(UserError, match="after a tool call"):
        draw_steps(name, [make_step([(0, False, 0.5)])])


def test_no_figure_makes_a_bootstrap(monkeypatch):
    monkeypatch.setattr(Group, "interval", None)
    for name in FIGURES:
        draw_steps(name, make_run(window_size=20))


@pytest.fixture
def empty_registry():
    """The registry without any figure, so that none but the test's is drawn."""
    before = dict(FIGURES)
    FIGURES.clear()
    yield FIGURES
    FIGURES.clear()
    FIGURES.update(before)  # in their order


def test_a_figure_is_added_by_its_entry_alone(empty_registry, monkeypatch, tmp_path, capsys):
    (tmp_path / "dummy_figure.py").write_text(
        "from matplotlib.figure import Figure\n"
        "from arpo_entropy_recorder.errors import UserError\n"
        "def plot(analysis, words):\n"
        "    if not analysis.tools.groups: raise UserError('no tool')\n"
        "    figure = Figure()\n"
        "    figure.suptitle(f'{analysis.rounds.after_tool.n} records')\n"
        "    return figure\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    spec = FigureSpec("dummy", "A dummy", "Nothing to see.", "a line of help", "dummy_figure", ("tools",))
    empty_registry["dummy"] = spec
    assert "dummy     a line of help" in help_of("plot", capsys)
    assert "dummy" in help_of("watch", capsys)
    assert draw_steps("dummy", STEPS).get_suptitle() == f"{analyse(STEPS).rounds.after_tool.n} records"
    page = make_page([read_run("run", STEPS)])
    assert '<figure id="figure-dummy-0"' in page
    assert 'alt="Nothing to see. ' in page
    assert "A dummy: no tool" in make_page([read_run("run", [make_step([(1, True, 0.5)])])])


def help_of(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    return capsys.readouterr().out


def test_the_registry_needs_no_plotting_library():
    code = (
        "import sys, arpo_entropy_recorder.commands.plot, arpo_entropy_recorder.commands.watch; "
        "sys.exit(any(name in sys.modules for name in ('matplotlib', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_reading_and_summing_up_need_no_plotting_library():
    code = (
        "import sys, arpo_entropy_recorder.analysis.analysis, arpo_entropy_recorder.analysis.logfile, "
        "arpo_entropy_recorder.analysis.summary; sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
