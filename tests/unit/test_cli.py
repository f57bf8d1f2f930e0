"""The command line as a person types it, judged by output, exit status and files."""

import subprocess
import sys

import pytest
from command_line import ENVIRONMENT, PNG, ROOT, SCRIPT, arpo_entropy, assert_refused, record, run, write_step

from arpo_entropy_recorder.analysis import simulate


@pytest.fixture
def steps(tmp_path):
    directory = tmp_path / "steps"
    directory.mkdir()
    for step in (1, 2):
        write_step(
            directory / f"entropy_step_{step}.json",
            *(record(0.1 + 0.1 * number, number, sample) for number in range(4) for sample in range(3)),
        )
    return directory


# What a reader of step files may lack, or what takes too long to load.
HEAVY = ("torch", "vllm", "transformers", "pyarrow")


def run_script(*words, cwd):
    """The guide's script in a process of its own, and the names of all packages that it imported."""
    result = run("-X", "importtime", SCRIPT, *words, cwd=cwd)
    lines = result.stderr.splitlines(keepends=True)
    loaded = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    result.stderr = "".join(line for line in lines if not line.startswith("import time:"))
    return result, loaded


def test_the_guides_first_command_as_written(tmp_path):
    result, loaded = run_script(
        "--simulate",
        "--num_rounds",
        "5",
        "--num_samples",
        "100",
        "--output",
        "demo.png",
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "demo.png").read_bytes().startswith(PNG)
    assert "matplotlib" in loaded
    assert not loaded & {*HEAVY}


def test_the_guides_script_says_what_to_install_where_nothing_is(tmp_path):
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-S", str(SCRIPT), "--simulate"]  # -S: without site-packages
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"pip install '{ROOT}'" in done.stderr


def test_the_picture_has_the_guides_default_name(tmp_path, steps):
    result = arpo_entropy("plot", "--entropy_file", steps / "entropy_step_1.json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "entropy_increase.png").read_bytes().startswith(PNG)


def test_files_a_quoted_glob_and_a_directory_give_the_same_picture(tmp_path, steps):
    first, *others = sorted(steps.glob("*.json"))
    commands = {
        "glob": ["--entropy_file", "steps/entropy_step_*.json"],
        "directory, as with stats": ["steps"],
        "files": [first, "--entropy_file", *others],
    }
    for name, words in commands.items():
        result = arpo_entropy("plot", *words, "--output", f"{name}.svg", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    pictures = {(tmp_path / f"{name}.svg").read_bytes() for name in commands}
    assert len(pictures) == 1


def test_options_may_be_spelt_with_dashes(tmp_path):
    for dash in ("_", "-"):
        words = f"--simulate --num{dash}rounds 2 --num{dash}samples=9 --output {ord(dash)}.svg".split()
        assert arpo_entropy("plot", *words, cwd=tmp_path).returncode == 0
    assert len({path.read_bytes() for path in tmp_path.glob("*.svg")}) == 1


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], ["give one source", "none"]),
        (["--simulate", "--entropy_file", "x.json"], ["step files and --simulate"]),
        (["--log_file", "run.log", "--rollout_dir", "d"], ["--log-file and --rollout-dir"]),
        (["--simulate", "--num_rounds", "0"], ["--num-rounds 0", "1 to 100"]),
        (["--simulate", "--num_rounds", "-5"], ["--num-rounds -5"]),
        (["--simulate", "--num_rounds", "five"], ["--num-rounds", "five"]),
        (["--simulate", "--num_samples", "1000000000000"], ["--num-samples"]),
        (["--simulate", "--output", "figure.xyz"], ["--output figure.xyz: ", ".png"]),
        (["--simulate", "--output", "missing/figure.png"], ["--output missing/figure.png: "]),
        (["x.json", "--simulate"], ["step files and --simulate"]),
        (["--log_file", "run.log", "--skip_bad"], ["--skip-bad goes with step files or --rollout-dir"]),
        (["--entropy_file", "x.json", "--num_rounds", "3"], ["--num-rounds goes with --simulate"]),
        (["x.json", "--num-samples", "0"], ["--num-samples goes with --simulate"]),
        (["x.json", "--model", "m"], ["--model goes with --rollout-dir"]),
        (["--simulate", "--output=~nosuchuser/x.png"], ["no home directory ~nosuchuser"]),
        (["--simulate", "--bogus"], ["--bogus"]),
        (["--entropy_file", "missing.json"], ["missing.json"]),
        (["--entropy_file", "x\x1b[31m\ny.json"], ["x\\x1b[31m\\ny.json"]),
    ],
)
def test_what_cannot_be_plotted_is_one_line_and_no_picture(tmp_path, words, named):
    assert_refused(arpo_entropy("plot", *words, cwd=tmp_path), *named, cwd=tmp_path)


def test_a_file_without_records_after_a_tool_call_is_refused(tmp_path):
    path = write_step(tmp_path / "entropy_step_1.json", record(0.5, 0))
    result = arpo_entropy("plot", "--entropy_file", path, cwd=tmp_path)
    assert_refused(result, "no record with an entropy is after a tool call", cwd=tmp_path)


def test_a_truncated_file_is_named(tmp_path):
    path = write_step(tmp_path / "entropy_step_1.json", record(0.5), record(0.6))
    path.write_bytes(path.read_bytes()[:-9])
    for command in (["plot", "--entropy_file", path], ["stats", path]):
        assert_refused(arpo_entropy(*command, cwd=tmp_path), "entropy_step_1.json", cwd=tmp_path)


def test_stats_prints_the_numbers_by_round(tmp_path):
    write_step(
        tmp_path / "entropy_step_1.json", record(0.25, 0), record(0.7), record(0.8, sample=1), record(None, 2)
    )
    result = arpo_entropy("stats", tmp_path, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    rows = [line.replace("│", " ").split() for line in result.stdout.splitlines()]
    assert ["0", "(start)", "1", "0.2500", "-", "-", "0.0%"] in rows
    assert ["1", "2", "0.7500", "0.0707", "-", "100.0%"] in rows
    assert "1 without an entropy (null)" in result.stdout


def test_help_is_a_manual_that_loads_little_and_names_the_guides_options(tmp_path):
    assert "example:" in arpo_entropy("--help", cwd=tmp_path).stdout
    result, loaded = run_script("--help", cwd=tmp_path)
    assert "argparse" in loaded
    assert not loaded & {*HEAVY, "matplotlib", "numpy", "scipy"}
    manual = result.stdout
    assert "examples:" in manual
    for option in (
        "entropy_file",
        "log_file",
        "rollout_dir",
        "output",
        "simulate",
        "num_rounds",
        "num_samples",
    ):
        assert f"--{option}" in manual
    for default in ("entropy_increase.png", "5", "100"):
        assert f"(default: {default}" in " ".join(manual.split())


def test_an_interrupt_is_quiet(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(simulate, "simulate_steps", interrupt)
    result = arpo_entropy("plot", "--simulate", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (130, "")


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    steps = write_step(tmp_path / "entropy_step_1.json", record(0.5))
    command = f"'{sys.executable}' -m arpo_entropy_recorder stats '{steps}' | true; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=True,
    )
    assert result.stdout.strip() in {"0", "1"}
    assert result.stderr == ""
