"""What pyarrow reads back from an export is what the step files hold."""

import json
import sys

import pytest

from arpo_entropy_recorder.analysis.export import export
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.step_files.read import read_steps
from arpo_entropy_recorder.step_files.schema import FIELDS

parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: export is not tested")

RECORDS = {
    "entropy_step_3.json": [
        {
            "sample_idx": 0,
            "round": 0,
            "entropy": 0.25,
            "is_after_tool_call": False,
            "parent_idx": None,
            "tool": None,
        },
        {
            "sample_idx": 1,
            "round": 1,
            "entropy": None,
            "is_after_tool_call": True,
            "parent_idx": 0,
            "tool": "python",
        },
    ],
    "entropy_step_4.json": [
        {
            "sample_idx": 0,
            "round": 2,
            "entropy": 1,
            "is_after_tool_call": True,
            "window": [1, 0.5],
            "tokens": [7, 8, 9],
        },
        {
            "sample_idx": 2,
            "round": 0,
            "entropy": 0.5,
            "is_after_tool_call": False,
            "do_sample": False,
            "padding": True,
        },
    ],
    "entropy_validate_step_4.json": [
        {"sample_idx": 0, "round": 0, "entropy": 0.125, "is_after_tool_call": False, "dp_rank": 1},
    ],
}


@pytest.fixture
def run(tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    for name, records in RECORDS.items():
        (directory / name).write_text(json.dumps(records))
    return directory


def test_every_record_is_a_row_with_null_where_it_has_no_such_key(run, tmp_path):
    path = tmp_path / "out.parquet"
    assert export(read_steps([run]), path) == 5
    table = parquet.read_table(path)
    assert set(table.column_names) == {field.name for field in FIELDS} | {"validate", "stale"}
    rows = {(row["validate"], row["global_step"], row["sample_idx"]): row for row in table.to_pylist()}
    assert len(rows) == 5
    for name, records in RECORDS.items():
        for record in records:
            validate = "validate" in name
            row = rows[validate, int(name.removesuffix(".json").rpartition("_")[2]), record["sample_idx"]]
            for key, value in record.items():
                assert row[key] == (value if key != "window" else [float(x) for x in value])
            for key in ("parent_idx", "tool", "token_id", "dp_rank", "source"):
                assert row[key] == record.get(key)


def test_a_csv_has_the_same_rows_without_the_lists(run, tmp_path):
    from pyarrow import csv

    path = tmp_path / "out.csv"
    assert export(read_steps([run]), path) == 5
    table = csv.read_csv(path)
    assert table.num_rows == 5
    assert not {"window", "tokens"} & set(table.column_names)
    assert sorted(x for x in table["entropy"].to_pylist() if x is not None) == [0.125, 0.25, 0.5, 1.0]


def test_a_bad_file_leaves_nothing_behind(run, tmp_path):
    (run / "entropy_step_9.json").write_text("[{]")
    path = tmp_path / "out.parquet"
    path.write_bytes(b"old")
    with pytest.raises(UserError, match=r"entropy_step_9\.json"):
        export(read_steps([run]), path)
    assert path.read_bytes() == b"old"
    assert {p.name for p in tmp_path.iterdir()} == {"run", "out.parquet"}


def test_without_pyarrow_it_says_what_to_install(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match="pip install"):
        export(read_steps([run]), tmp_path / "out.parquet")
