"""The reader, the log parser and the journal under coverage-guided fuzzing; see fuzz.py."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from arpo_entropy_recorder.analysis.logfile import curves_of, read_rows
from arpo_entropy_recorder.step_files.names import StepKey
from arpo_entropy_recorder.step_files.run_log import RunLog, parse_run_log

SECONDS = int(os.environ.get("ARPO_FUZZ_SECONDS", "45"))


@pytest.mark.faults
@pytest.mark.parametrize("target", ["reader", "directory", "log", "journal"])
def test_nothing_is_found_in(target, tmp_path, capsys):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip(f"NOT FUZZED: {target}; atheris is not installed: pip install atheris")
    command = [sys.executable, Path(__file__).parents[1] / "helpers" / "fuzz.py", target, tmp_path / "fuzz"]
    limits = [f"-max_total_time={SECONDS}", "-max_len=8192", "-seed=1"]
    done = subprocess.run([*command, *limits], capture_output=True, text=True, timeout=SECONDS + 120)
    runs = re.search(r"Done (\d+) runs in (\d+) second", done.stderr)
    left = [path.name for path in (tmp_path / "fuzz").glob("*-*")]
    with capsys.disabled():
        print(f"\nfuzz {target}: {runs[0] if runs else 'not finished'}, findings {len(left)}")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert not left
    assert int(runs[1]) > 1000


def test_what_the_fuzzer_found_in_a_journal_stays_found():
    """A run of 31 digits made the rank that joins shards count up to it."""
    history = parse_run_log(
        b'{"run": 9999999999999999999999999999990, "dp_size": 1, "host": "a", "pid": 1}\n'
    )
    assert history.run == -1
    history = RunLog(run=10**8, first={10**8: StepKey(7, False)})
    assert history.is_current(StepKey(6, False), 0)
    assert not history.is_current(StepKey(7, False), 0)
    assert not RunLog(run=10**8).is_current(StepKey(6, False), 0)


def test_what_the_fuzzer_found_in_a_log_stays_found(tmp_path):
    """Python refuses to read an int of more than 4,300 digits."""
    log = tmp_path / "run.log"
    nines = "9" * 5000
    log.write_text(f"step:{nines} - entropy/round_1/mean:0.5\nstep:3 - entropy/round_{nines}/mean:0.5\n")
    assert list(read_rows(log)[0]) == [3]
    assert curves_of(read_rows(log)[0]) == {}
