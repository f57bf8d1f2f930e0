"""A directory that the recorder of commit 01a828b left behind is read and resumed.

Two ranks recorded steps 1 and 2 (run 0); resumed (run 1), rank 0 had recorded step 2 again when the job died.
"""

import pytest
from rank_processes import columns

from arpo_entropy_recorder.step_files.read import read_steps
from arpo_entropy_recorder.step_files.write import StepWriter


def text(step, run, *ranks):
    """The records of `ranks`, as they were written."""
    records = [
        f'{{"global_step":{step},"sample_idx":0,"prompt_idx":0,"round":1,"tool":"python","is_after_tool_call":true,'
        f'"token_id":{10 * step + rank},"entropy":0.25,"call":0,"run":{run},"dp_rank":{rank}}}'
        for rank in ranks
    ]
    return ("[\n" + ",\n".join(records) + "\n]\n").encode()


FILES = {
    ".entropy_recorder.dp0": b'\n{"run":0,"dp_size":2,"host":"node","pid":17}\n\n{"run":0,"first":[1,false]}\n'
    b'\n{"run":1,"dp_size":2,"host":"node","pid":23}\n\n{"run":1,"first":[2,false]}\n',
    ".entropy_recorder.dp1": b'\n{"run":0,"dp_size":2,"host":"node","pid":18}\n\n{"run":0,"first":[1,false]}\n'
    b'\n{"run":1,"dp_size":2,"host":"node","pid":24}\n',
    ".entropy_recorder.lock": b"",
    ".entropy_step_2.json.dp0.tmp": b'[\n{"global_step":2,"sam',
    "entropy_step_1.json": text(1, 0, 0, 1),
    "entropy_step_2.json": text(2, 0, 0, 1),
    "entropy_step_2.dp0of2.run1.call0.json": text(2, 1, 0),
}


@pytest.fixture
def directory(tmp_path):
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def told(directory):
    return [
        (step.global_step, step.columns["run"].tolist(), step.missing_ranks, step.stale)
        for step in read_steps([directory])
    ]


def test_an_old_directory_is_read(directory):
    assert told(directory) == [(1, [0, 0], (), False), (2, [1], (1,), False)]


def test_an_old_directory_is_resumed_by_both_ranks(directory):
    writers = [StepWriter(directory, dp_rank=rank, dp_size=2, run_info={}) for rank in range(2)]
    assert not list(directory.glob(".*.tmp"))
    for step in (2, 3):
        for rank, writer in enumerate(writers):
            writer.add(step, False, columns(step, rank, records=1))
            writer.flush()
    for writer in writers:
        writer.close()
    assert told(directory) == [(1, [0, 0], (), False), (2, [2, 2], (), False), (3, [2, 2], (), False)]
    assert (directory / "entropy_step_1.json").read_bytes() == FILES["entropy_step_1.json"]
    assert sorted(path.name for path in directory.glob("entropy_step_*")) == [
        "entropy_step_1.json",
        "entropy_step_2.json",
        "entropy_step_3.json",
    ]
    for rank in range(2):
        name = f".entropy_recorder.dp{rank}"
        assert (directory / name).read_bytes().startswith(FILES[name])


def test_an_old_directory_is_resumed_by_one_rank(directory):
    writer = StepWriter(directory)
    writer.add(2, False, columns(2, records=1))
    writer.close()
    assert told(directory) == [(1, [0, 0], (), False), (2, [2], (), False)]
