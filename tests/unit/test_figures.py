"""Every figure's artists against the records themselves, in plain Python."""

import statistics as oracle
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from made_steps import draw_steps, make_run, make_step
from matplotlib.collections import PathCollection, QuadMesh

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.analysis.simulate import simulate_steps
from arpo_entropy_recorder.analysis.statistics import Group, Origins
from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.catalogue import FIGURES, FigureSpec, draw
from arpo_entropy_recorder.figures.chinese import CHINESE
from arpo_entropy_recorder.figures.words import Words
from arpo_entropy_recorder.report.page import make_report

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


def curves(axes):
    return {line.get_label(): line.get_xydata() for line in axes.get_lines() if line.get_gid() == "curve"}


def test_each_round_is_a_line_over_the_steps_with_the_interval_as_its_band():
    axes = draw_steps("steps", STEPS).axes[0]
    expected = mean_by("step", "round")
    drawn = curves(axes)
    for number in range(4):
        label = f"round {number}" if number else "before any tool call"
        assert dict(drawn[label].tolist()) == pytest.approx({s: expected[s, number] for s in (1, 2, 3, 4)})
    analysis = analyse(STEPS)
    low, high = analysis.steps.cells[2][1].interval()
    edges = [path.vertices for band in axes.collections for path in band.get_paths()]
    at_step_2 = np.concatenate([vertices[vertices[:, 0] == 2, 1] for vertices in edges])
    assert np.isclose(at_step_2, low).any()
    assert np.isclose(at_step_2, high).any()


def test_where_a_step_has_too_few_records_for_a_band_they_are_points():
    axes = draw_steps(
        "steps", [make_step([(1, True, 0.2), (1, True, 0.8)]), make_step([(1, True, 0.5)] * 9, 2)]
    ).axes[0]
    points = [line.get_xydata().tolist() for line in axes.get_lines() if line.get_gid() == "records"]
    assert sorted(points[0]) == [[1, 0.2], [1, 0.8]]
    assert "fewer than 5" in axes.figure.get_supxlabel()
    assert "fewer than 5" not in draw_steps("steps", [make_step([(1, True, 0.5)] * 9)]).get_supxlabel()


def test_many_rounds_are_told_by_a_scale_without_bands_and_few_steps_by_points():
    picture = draw_steps("steps", make_run(steps=3, trajectories=60, rounds=30))
    assert len(picture.axes) == 2
    assert all(line.get_marker() == "o" for line in picture.axes[0].get_lines() if line.get_gid() == "curve")
    assert not picture.axes[0].collections
    assert "Band" not in picture.get_supxlabel()


def test_a_long_runs_lines_are_running_means_over_the_steps_own_and_the_caption_says_so():
    entropies = np.random.default_rng(0).random(160)
    gone = (40, 41)  # steps without a record of round 1
    kept = [step for step in range(1, 161) if step not in gone]
    steps = [
        make_step([(0, False, 0.5)] + [(1, True, entropies[step - 1])] * (step in kept), step)
        for step in range(1, 161)
    ]
    picture = draw_steps("steps", steps)
    expected = [
        [sum(three) / 3, sum(entropies[step - 1] for step in three) / 3]
        for three in zip(kept, kept[1:], kept[2:], strict=False)
    ]
    assert np.allclose(curves(picture.axes[0])["round 1"], expected)
    own = next(line.get_xydata() for line in picture.axes[0].get_lines() if line.get_gid() == "raw")
    assert own.tolist() == [[step, entropies[step - 1]] for step in kept]
    caption = picture.get_supxlabel().replace("\n", " ")
    assert "running means over 3 steps; faint lines: mean of each round's records at each step" in caption
    assert "running" not in draw_steps("steps", steps[:150]).get_supxlabel()


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
    axes.figure.draw_without_rendering()
    assert [label.get_text() for label in axes.get_xticklabels()] == [str(tick) for tick in ticks]


def test_the_heat_maps_cells_are_the_means_with_a_dot_for_few_records_and_empty_for_none():
    gap = make_step([(0, False, 0.1), (3, True, 0.8)], global_step=9)
    axes = draw_steps("heatmap", [*STEPS, gap]).axes[0]
    (mesh,) = [artist for artist in axes.collections if isinstance(artist, QuadMesh)]
    (dots,) = [artist for artist in axes.collections if artist.get_gid() == "few"]
    dotted = {(x - 0.5, y - 0.5) for x, y in dots.get_offsets().tolist()}
    expected = {**mean_by("step", "round"), (9, 0): 0.1, (9, 3): 0.8}
    counts = Counter((step, number) for step, _, number, _, _ in rows())
    for column, step in enumerate([1, 2, 3, 4, 9]):
        for number in range(4):
            cell = mesh.get_array()[number, column]
            if (step, number) in expected:
                assert cell == pytest.approx(expected[step, number])
            else:
                assert cell is np.ma.masked
            few = (step, number) in expected and counts[step, number] < 5
            assert ((column, number) in dotted) == few
    assert "Dot: fewer than 5 records" in axes.figure.get_supxlabel().replace("\n", " ")
    many = draw_steps("heatmap", simulate_steps(3, 100))
    assert "Dot" not in many.get_supxlabel()
    assert not any(artist.get_gid() == "few" for artist in many.axes[0].collections)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0 (start)", "1", "2", "3"]


def test_a_heat_map_of_one_value_has_a_readable_scale():
    scale = draw_steps("heatmap", [make_step([(1, True, 0.7)] * 3)]).axes[1]
    low, high = scale.get_ylim()
    assert low < 0.7 < high
    assert high - low >= 0.01


@pytest.mark.parametrize(("highest", "end"), [(0.33, 0.4), (0.09, 0.1), (0.012, 0.015), (0.0, 0.0125)])
@pytest.mark.parametrize("name", ["rounds", "steps", "tools", "window"])
def test_the_axis_ends_a_little_above_low_entropies_and_the_caption_says_that_06_lies_above(
    name, highest, end
):
    tools, window = np.array([None, *["python"] * 9]), np.full((10, 2), highest)
    records = [(0, False, highest), *[(1, True, highest)] * 9]
    picture = draw_steps(name, [make_step(records, tool=tools, window=window)])
    axes = picture.axes[0]
    assert axes.get_ylim() == pytest.approx((0, end))
    assert axes.get_yticks()[-1] == pytest.approx(end)
    caption = picture.get_supxlabel().replace("\n", " ")
    assert "0.6, the guide's mark of a high entropy, lies above this picture." in caption
    assert "Dashed" not in caption
    assert not any(np.allclose(line.get_ydata(), 0.6) for line in axes.get_lines() if len(line.get_ydata()))


def test_one_record_or_bar_above_a_half_takes_the_whole_axis():
    low = [(1, True, 0.02)] * 20
    assert draw_steps("rounds", [make_step([*low, (1, True, 0.51)])]).axes[0].get_ylim() == (0, 1)
    wide = [(1, True, 0.0), (1, True, 0.45)]  # mean + sd = 0.54
    assert draw_steps("rounds", [make_step(wide)]).axes[0].get_ylim() == (0, 1)
    assert draw_steps("steps", [make_step([(1, True, 0.02)] * 20)]).axes[0].get_ylim() != (0, 1)


def test_each_tools_marks_are_its_means_per_round():
    axes = draw_steps("tools", STEPS).axes[0]
    expected = mean_by("tool", "round")
    assert len(axes.containers) == 2
    for container in axes.containers:
        line = container.lines[0]
        tool = line.get_label().split()[0]
        for x, y in line.get_xydata():
            assert y == pytest.approx(expected[tool, round(x)])
    points = sum(len(a.get_offsets()) for a in axes.collections if isinstance(a, PathCollection))
    assert points == sum(number > 0 for *_, number, _, _ in rows())


def test_the_window_is_averaged_token_by_token_over_what_is_there():
    drawn = curves(draw_steps("window", STEPS).axes[0])
    for label, wanted in (("after a tool result", True), ("at the answer's start", False)):
        (xy,) = [data for name, data in drawn.items() if name.startswith(label)]
        for at in range(4):
            values = [
                value
                for step in STEPS
                for value, after in zip(
                    step.columns["window"][:, at].tolist(), step.columns["is_after_tool_call"], strict=True
                )
                if after == wanted and value == value
            ]
            assert xy[at].tolist() == pytest.approx([at + 1, oracle.fmean(values)])


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
    assert dict(axes.containers[0].lines[0].get_xydata().tolist()) == pytest.approx(
        {number: oracle.fmean(changes) for number, changes in expected.items()}
    )
    assert "Wilcoxon signed-rank p =" in axes.figure.get_supxlabel().replace("\n", " ")


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_exists_in_chinese_says_what_it_left_out_and_when_it_is_simulated(name):
    chinese = Words(chinese=CHINESE)
    analysis = analyse(simulate_steps(3, 50), FIGURES[name].parts)
    texts = [
        text.get_text()
        for text in draw(name, analysis, chinese).findobj(match=lambda a: hasattr(a, "get_text"))
    ]
    assert "SIMULATED" in texts
    analysis.origins = Origins(Counter(recorded=2, rescored=1, other=1), incomplete=4)
    analysis.left_out = Counter(greedy=3)
    caption = draw(name, analysis, chinese).get_supxlabel()
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


@pytest.mark.parametrize("name", ["rounds", "change", "tools"])
def test_no_record_after_a_tool_call_stops_a_figure_of_results(name):
    with pytest.raises(UserError, match="after a tool call"):
        draw_steps(name, [make_step([(0, False, 0.5)])])


def test_the_bootstraps_of_a_step_figure_and_a_heat_map_are_made_once(monkeypatch):
    analysis = analyse(STEPS)
    calls = []
    interval = Group.interval
    monkeypatch.setattr(Group, "interval", lambda group: calls.append(group) or interval(group))
    draw("steps", analysis)
    once = len(calls)
    draw("heatmap", analysis)
    assert once == len(calls) > 0


def test_a_heat_map_alone_makes_no_bootstrap(monkeypatch):
    monkeypatch.setattr(Group, "interval", None)
    draw_steps("heatmap", STEPS)


def test_a_figure_is_added_by_its_entry_alone(monkeypatch, tmp_path, capsys):
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
    monkeypatch.setitem(FIGURES, "dummy", spec)
    assert "dummy     a line of help" in help_of("plot", capsys)
    assert "dummy" in help_of("watch", capsys)
    assert draw_steps("dummy", STEPS).get_suptitle() == f"{analyse(STEPS).rounds.after_tool.n} records"
    page = make_report(STEPS)
    assert '<figure id="figure-dummy"' in page
    assert 'alt="Nothing to see. ' in page
    assert "A dummy: no tool" in make_report([make_step([(1, True, 0.5)])])


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
