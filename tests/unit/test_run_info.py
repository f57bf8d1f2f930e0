"""What `entropy_run.json` holds, and that nothing depends on it."""

import json
from types import SimpleNamespace

import pytest
from rank_processes import columns

from arpo_entropy_recorder.commands.watch import _state
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.recorder.run_info import gather_run_info
from arpo_entropy_recorder.recorder.settings import Settings
from arpo_entropy_recorder.step_files.find import find_files
from arpo_entropy_recorder.step_files.names import RUN_INFO
from arpo_entropy_recorder.step_files.read import read_steps
from arpo_entropy_recorder.step_files.run_info import read_run_info
from arpo_entropy_recorder.step_files.write import StepWriter

INFO = {"name": "a run", "model": "Qwen2.5-7B", "vocab_size": 151_936}


def record(directory, *steps, **options):
    writer = StepWriter(directory, **{"run_info": INFO, **options})
    for step in steps:
        writer.add(step, False, columns(step, options.get("dp_rank", 0)))
        writer.flush()
    writer.close()


def test_each_run_has_its_entry(tmp_path):
    record(tmp_path, 1, 2, 1)
    record(tmp_path, 3)
    entries = read_run_info(tmp_path)
    assert [entry["run"] for entry in entries] == [0, 1, 2]
    assert all(INFO.items() <= entry.items() for entry in entries)
    assert all(entry["date"].endswith("+00:00") for entry in entries)
    assert {run for step in read_steps([tmp_path]) for run in step.columns["run"]} == {0, 1, 2}


def test_only_rank_0_writes_it_and_only_if_told(tmp_path):
    record(tmp_path, 1, dp_rank=1, dp_size=2)
    record(tmp_path, 1, run_info=None)
    assert not (tmp_path / RUN_INFO).exists()
    assert read_run_info(tmp_path) == []


def test_no_command_takes_it_for_a_step_file(tmp_path):
    record(tmp_path, 1)
    found = [tmp_path / "entropy_step_1.json"]
    for paths in (
        [tmp_path],
        [tmp_path / "*.json"],
        [tmp_path / "entropy_*"],
        sorted(tmp_path.glob("*.json")),
    ):
        assert find_files(paths) == found
    assert [name for name, *_ in _state(tmp_path)] == ["entropy_step_1.json"]


@pytest.mark.parametrize("data", [b"", b"[{", b"{}", b'[{"name": 1}]', b"[1]", b'[{"run": "0"}]'])
def test_another_file_of_that_name_is_in_nobody_s_way(tmp_path, data, caplog):
    (tmp_path / RUN_INFO).write_bytes(data)
    record(tmp_path, 1)
    assert len(list(read_steps([tmp_path]))) == 1
    assert (tmp_path / RUN_INFO).read_bytes() == data
    assert "the run is not described" in caplog.text
    with pytest.raises(UserError, match=r"entropy_run\.json: cannot be read") as error:
        read_run_info(tmp_path)
    assert str(error.value).isprintable()


def test_a_directory_of_that_name_is_in_nobody_s_way(tmp_path):
    (tmp_path / RUN_INFO).mkdir()
    record(tmp_path, 1)
    assert len(list(read_steps([tmp_path]))) == 1


def test_a_run_that_recorded_nothing_is_not_described(tmp_path):
    StepWriter(tmp_path, run_info=INFO).close()
    assert not (tmp_path / RUN_INFO).exists()


def test_a_rollout_s_run_is_described(tmp_path):
    engine = SimpleNamespace(
        llm_engine=SimpleNamespace(model_config=SimpleNamespace(model="/models/Qwen2.5-7B/"))
    )
    settings = Settings(save_dir=tmp_path / "my run" / "entropy", window=20)
    info = gather_run_info({"temperature": 1, "top_p": 0.95}, engine, 151_936, settings)
    assert json.loads(json.dumps(info)) == info
    expected = {"name": "my run", "model": "Qwen2.5-7B", "temperature": 1.0, "top_p": 0.95, "window": 20}
    assert expected.items() <= info.items()
    assert gather_run_info({}, engine, 10, Settings(save_dir=tmp_path / "x"))["name"] == "x"


def test_what_a_rollout_does_not_know_is_null():
    info = gather_run_info(None, None, 10, Settings())
    assert [info[key] for key in ("model", "temperature", "top_p")] == [None] * 3
