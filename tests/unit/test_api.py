"""Runs in Python: nothing is read before it is asked for, and the numbers are those of the commands."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from real_like_runs import write_run

import arpo_entropy_recorder as aer
from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.errors import UserError

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    out = tmp_path_factory.mktemp("api")
    write_run(out / "arpo", "hold", steps=40, prompts=4, n=4)
    write_run(out / "grpo", "collapse", steps=40, prompts=4, n=4)
    (out / "arpo/entropies/entropy_run.json").write_text(
        json.dumps([{"run": 0, "vocab_size": 1000, "model": "m", "date": None}])
    )
    return out


@pytest.fixture(scope="module")
def run(runs):
    return aer.load(runs / "arpo/entropies")


def records_of(directory):
    files = sorted(Path(directory).glob("entropy_step_*.json"))
    return [record for file in files for record in json.loads(file.read_text())]


def test_loading_needs_numpy_and_reads_nothing(runs):
    code = (
        "import sys, arpo_entropy_recorder as aer; assert 'numpy' not in sys.modules;"
        f"run = aer.load({str(runs / 'arpo/entropies')!r}); run.meta; repr(run);"
        "heavy = {'matplotlib', 'scipy', 'pandas', 'pyarrow', 'torch', 'rich'} & sys.modules.keys();"
        "assert not heavy, heavy; assert 'analysis' not in vars(run)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(aer.__file__).parents[1])


def test_a_run_has_its_directorys_name_and_meta(runs, run):
    assert run.name == "arpo"
    assert aer.load(runs / "arpo/entropies", name="mine").name == "mine"
    assert (run.meta["model"], run.meta["vocab_size"]) == ("m", 1000)
    assert run.steps.tolist() == list(range(1, 41))
    assert aer.load(runs / "grpo/entropies").meta == {}


def test_stats_are_those_of_the_command(runs, run, capsys):
    main(["stats", str(runs / "arpo/entropies"), "--json"])
    said = json.loads(capsys.readouterr().out)
    found = json.loads(json.dumps(run.stats()))
    assert {**found, "answer": None} == {**said, "answer": None}
    assert found["answer"] == run.verdict


def test_both_ends_of_a_slice_count(run):
    assert run.where(steps=slice(31, 40)).steps.tolist() == list(range(31, 41))
    assert run.where(steps=(31, None)).steps.tolist() == list(range(31, 41))
    assert run.where(steps=7).steps.tolist() == [7]
    with pytest.raises(UserError, match="slice with a step"):
        run.where(steps=slice(1, 9, 2))


def test_a_selection_is_narrowed_by_another(run):
    late = run.where(steps=slice(31, 40)).where(tool="python").where(rounds=slice(2, None))
    columns = late.numpy()
    after = columns["is_after_tool_call"]
    assert set(columns["tool"][after]) == {"python"}
    assert columns["round"][after].min() == 2
    assert columns["global_step"].min() == 31
    assert late.analysis.rounds.after_tool.n == np.count_nonzero(after & ~np.isnan(columns["entropy"]))
    with pytest.raises(UserError, match="choose first or mean"):
        run.where(over="max")


def test_the_arrays_have_every_record_that_counts(runs, run):
    records, columns = records_of(runs / "arpo/entropies"), run.numpy()
    assert len(columns["entropy"]) == len(records)
    expected = sum(record["entropy"] or 0 for record in records)
    assert np.nansum(columns["entropy"]) == pytest.approx(expected)
    mean = run.where(over="mean").numpy()
    expected = sum(np.mean([x for x in record["window"] if x is not None]) for record in records)
    assert np.nansum(mean["entropy"]) == pytest.approx(expected)


@pytest.mark.skipif(not find_spec("pyarrow"), reason="pyarrow is not installed")
def test_the_arrow_table_has_nulls(runs, run):
    table = run.arrow()
    records = records_of(runs / "arpo/entropies")
    assert table.num_rows == len(records)
    assert table["parent_idx"].null_count == sum(record["parent_idx"] is None for record in records)
    assert table["entropy"].null_count == sum(record["entropy"] is None for record in records)


def test_the_frame_has_the_arrays_or_says_what_it_needs(run):
    if find_spec("pandas"):
        assert len(run.df) == len(run.numpy()["entropy"])
    else:
        with pytest.raises(UserError, match="pip install pandas"):
            _ = run.df


def test_a_figure_is_drawn_and_its_axes_returned(run):
    axes = run.plot("rounds")
    assert axes.figure.axes[0] is axes
    with pytest.raises(UserError, match="pie: no such figure; choose "):
        run.plot("pie")


def test_a_figure_of_one_panel_goes_into_given_axes(run):
    figure, panels = plt.subplots(2, 3, layout="constrained")
    size = figure.get_size_inches().tolist()
    for ax, name in zip(
        panels.flat, ["rounds", "change", "steps", "heatmap", "tools", "window"], strict=True
    ):
        assert run.plot(name, ax=ax) is ax
        assert ax.get_title(loc="left")
        assert "40 steps, 1 to 40." in ax.get_label()  # the caption
        assert ax.collections
    assert figure.get_size_inches().tolist() == size
    assert figure.get_supxlabel() == ""
    assert run.plot("rounds").figure is not figure
    plt.close(figure)


def test_given_axes_leave_the_rest_of_their_figure_alone(run):
    figure, (mine, other) = plt.subplots(1, 2)
    other.plot([1, 2])
    run.plot("rounds", ax=mine)
    assert (len(other.lines), len(other.collections), other.get_title(loc="left")) == (1, 0, "")
    for name in (None, "effect"):
        with pytest.raises(UserError, match="effect has 2 panels, not one; into axes of yours go rounds, "):
            run.plot(name, ax=other)
    assert len(other.lines) == 1
    plt.close(figure)


def test_a_run_in_a_notebook_says_its_verdict(runs, run):
    assert run.verdict in run._repr_html_().replace("&gt;", ">").replace("&quot;", '"')
    hostile = aer.load(runs / "arpo/entropies", name="<b>")
    assert "<b>&lt;b&gt;</b>" in hostile._repr_html_()


def test_runs_are_compared_by_name(runs, run):
    found = aer.compare(arpo=run, grpo=runs / "grpo/entropies")
    (difference,) = found.differences
    assert (difference.one, difference.other) == ("grpo", "arpo")
    assert str(found).splitlines()[0] == f"arpo: {run.verdict}"
    assert difference.line in str(found)
    seeds = aer.compare(arpo=[run, str(runs / "grpo/entropies")])
    assert "arpo's 2 seeds" in str(seeds)
    with pytest.raises(UserError, match="two runs or more"):
        aer.compare(arpo=run)


def test_a_resumed_run_is_a_list_of_its_parts(runs, tmp_path):
    for part, steps in (("p1", range(1, 25)), ("p2", range(20, 41))):
        (tmp_path / part).mkdir()
        for step in steps:
            shutil.copy(runs / f"arpo/entropies/entropy_step_{step}.json", tmp_path / part)
    run = aer.load([tmp_path / "p1", tmp_path / "p2"], name="both")
    assert run.steps.tolist() == list(range(1, 41))
    with pytest.raises(UserError, match="several runs are given"):
        aer.load(f"{tmp_path}/p*")


def test_the_notebook_runs(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    shutil.copytree(runs / "arpo/entropies", runs / "entropies", dirs_exist_ok=True)
    names = {}
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    assert all(cell["outputs"] == [] for cell in cells)
    for source in sources:
        if ".df" in source and not find_spec("pandas"):
            continue  # the one cell that needs pandas
        exec(compile(source, NOTEBOOK.name, "exec"), names)
    said = capsys.readouterr().out
    assert said.splitlines()[0] == names["run"].verdict
    assert "grpo / arpo in steps 34 to 40: " in said
    assert names["axes"].figure
