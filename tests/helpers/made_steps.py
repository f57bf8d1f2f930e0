"""Steps made up for the tests of statistics and figures, and what a figure says."""

import numpy as np
from matplotlib.text import Text

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.figures.catalogue import FIGURES, draw
from arpo_entropy_recorder.step_files.read import Step


def draw_steps(name, steps, **how):
    """The figure of this name, of these steps."""
    parts = FIGURES[name].parts if name in FIGURES else ()
    return draw(name, analyse(steps, parts), **how)


def make_step(records, global_step=1, validate=False, stale=False, **columns):
    """A step of (round, after tool, entropy) triples, each a trajectory of its own unless `columns` say so."""
    rounds, after, entropy = zip(*(records := list(records)), strict=True)
    base = {
        "sample_idx": np.arange(len(records)),
        "round": np.array(rounds),
        "is_after_tool_call": np.array(after),
        "entropy": np.array(entropy, float),
    }
    return Step(global_step, validate, base | columns, stale=stale)


def make_run(steps=3, trajectories=12, rounds=3, seed=0, window_size=4):
    """Steps of trajectories of different lengths with tools and windows, some entropies null."""
    random = np.random.default_rng(seed)
    for global_step in range(1, steps + 1):
        length = random.integers(0, rounds + 1, trajectories)
        sample, number = zip(
            *[(s, r) for s in range(trajectories) for r in range(length[s] + 1)], strict=True
        )
        n = len(sample)
        window = random.random((n, window_size))
        window[random.random((n, window_size)) < 0.1] = np.nan
        number = np.array(number)
        columns = {
            "sample_idx": np.array(sample),
            "tool": np.where(number == 0, None, random.choice(["python", "search"], n)),
            "window": window,
        }
        yield make_step(zip(number, number > 0, window[:, 0], strict=True), global_step, **columns)


def texts_of(figure):
    """Every text that is drawn on the picture, with its extent."""
    figure.draw_without_rendering()
    outside = set()
    for axis in [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]:
        low, high = sorted(axis.get_view_interval())
        outside |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
    drawn = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent()) for text in drawn if text not in outside]
