"""A run at a glance while it trains, against sums over prompts in plain Python."""

import io

import numpy as np
import pytest
from made_steps import make_step
from rich.console import Console

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.analysis.watched import WatchScreen, sparkline, step_lines

PROMPTS = np.tile(np.arange(6), 2)


def run(steps, after=lambda step: 0.4):
    """Steps of 6 prompts with starts of 0.1 and 0.3, and entropies of about `after(step)` after a result."""
    for step in range(1, steps + 1):
        starts = [(0, False, e) for e in (0.1, 0.3) * 3]
        results = [(1, True, after(step) * factor) for factor in (0.9, 1.1) * 3]
        yield make_step([*starts, *results], step, sample_idx=PROMPTS, prompt_idx=PROMPTS)


def lines(steps):
    pairs = analyse(steps).pairs
    return list(step_lines(pairs, range(len(pairs.steps))))


def screen(steps, width=80, encoding="utf-8"):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=width, legacy_windows=False)
    console.print(WatchScreen(analyse(steps), "compare the mean", ["x.png redrawn"]))
    file.flush()
    return file.buffer.getvalue().decode(encoding)


def test_a_line_has_ratio_and_level_against_the_first_steps():
    told = lines(run(7, lambda step: 0.4 if step <= 5 else 0.1))
    assert told[4].startswith("step 5: after 0.40, before 0.20, ratio 2.00x [")
    assert "level" not in told[4]
    assert told[5].startswith("step 6: after 0.10, before 0.20, ratio 0.50x [")
    assert told[5].endswith("], level 0.25x of steps 1 to 5, prompts 6")


def test_a_step_without_results_says_so():
    steps = list(run(1))
    silent = make_step([(0, False, 0.1)], 2)
    assert lines([*steps, silent])[1] == (
        "step 2: no trajectory has an entropy before and after a tool result, and none was given a tool result"
    )


def test_of_few_prompts_no_ratio_is_given():
    few = make_step([(0, False, 0.1), (1, True, 0.2)], 1, sample_idx=np.zeros(2, int))
    assert lines([few]) == ["step 1: after 0.20, before 0.10, no ratio, prompts 1"]


def test_the_screen_shows_phases_last_step_and_answer():
    shown = screen(run(20, lambda step: 0.4 if step <= 10 else 0.1))
    assert "1 to 5" in shown
    assert "16 to 20        30     0.20    0.10   0.50x   0.25x" in shown
    assert "last: 20         6     0.20    0.10   0.50x   0.25x" in shown
    assert "after  ████████▁▁▁" in shown.replace("██████████▁", "████████▁")
    assert "2.00x -> 0.50x" in shown
    assert "Gone: at the end the entropy after tool results is below the start's" in shown
    assert shown.rstrip().endswith("x.png redrawn")


def test_a_narrow_screen_and_one_without_bars_are_whole():
    for line in screen(run(300), width=50).splitlines():
        assert len(line) <= 50
    plain = screen(run(3), encoding="ascii")
    assert "last: 3" in plain
    assert "?" not in plain


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([1, 10, 100], "▁▅█"),  # on a log scale
        ([1, np.nan, 100, 0], "▁ █▁"),
        ([5, 5], "▅▅"),
        ([1, 1.5], "▂▇"),  # all bars are at least a factor of two
        ([np.nan, 0], " ▁"),
        ([], ""),
    ],
)
def test_bars_are_on_a_log_scale(values, bars):
    assert sparkline(np.array(values, float)) == bars
