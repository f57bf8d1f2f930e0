"""One entry in the schema is all that a new key of a record needs."""

import hashlib
import json
import struct

import numpy as np
import pytest
from schema_table import schema_row

from arpo_entropy_recorder.analysis.export import export
from arpo_entropy_recorder.step_files import schema
from arpo_entropy_recorder.step_files.decode import ReadError
from arpo_entropy_recorder.step_files.read import read_steps
from arpo_entropy_recorder.step_files.schema import NULL, Field
from arpo_entropy_recorder.step_files.values import prompt_digest, unpadded
from arpo_entropy_recorder.step_files.write import StepWriter

FLAG = Field("is_new", (bool,), "a flag", absent=False)
COUNT = Field("count", (int, NULL), "a count or null")
SHARE = Field("share", (float, int, NULL), "a share")
WORD = Field("word", (str,), "a word")
SHARES = Field("shares", (list,), "shares", items=(float, int, NULL))
COUNTS = Field("counts", (list,), "counts", items=(int,))
NEW = (FLAG, COUNT, SHARE, WORD, SHARES, COUNTS)
VALUES = {
    "is_new": [False, True],
    "count": [7, None],
    "share": [0.5, None],
    "word": ["a", None],
    "shares": [[0.25, 1.0], [0.5]],
    "counts": [[3, 4], []],
}
BASE = {"sample_idx": [0, 1], "round": [0, 0], "is_after_tool_call": [False, False], "entropy": [0.5, 0.5]}


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setattr(schema, "FIELDS", (*schema.FIELDS, *NEW))
    writer = StepWriter(tmp_path / "run")
    writer.add(1, False, {name: np.array(column) for name, column in BASE.items()} | VALUES)
    # A step without the new keys, and one that has them not in all records.
    writer.add(2, False, {name: np.array(column) for name, column in BASE.items()})
    writer.close()
    return tmp_path / "run"


def test_a_new_field_is_written(directory):
    first, second = json.loads((directory / "entropy_step_1.json").read_text())
    assert {key: first[key] for key in VALUES if key in first} == {
        key: values[0] for key, values in VALUES.items() if key != "is_new"
    }
    assert (second["is_new"], second["count"], second["counts"]) == (True, None, [])
    assert "word" not in second


def test_a_new_field_is_read_and_checked(directory):
    step, without = read_steps([directory])
    assert step.columns["is_new"].tolist() == [False, True]
    assert step.columns["count"].tolist() == [7, -1]
    np.testing.assert_array_equal(step.columns["share"], [0.5, np.nan])
    assert step.columns["word"].tolist() == ["a", None]
    np.testing.assert_array_equal(step.columns["shares"], [[0.25, 1.0], [0.5, np.nan]])
    assert [counts.tolist() for counts in step.columns["counts"]] == [[3, 4], []]
    assert not VALUES.keys() & without.columns.keys()
    path = directory / "entropy_step_1.json"
    path.write_text(path.read_text().replace('"count":7', '"count":-7'))
    with pytest.raises(ReadError, match=r"entry 0 'count': the number is negative"):
        list(read_steps([path]))


def test_a_new_field_is_exported(directory, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: export is not tested")
    assert export(read_steps([directory]), tmp_path / "out.parquet") == 4
    rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["count"] for row in rows] == [7, None, None, None]
    assert [row["counts"] for row in rows] == [[3, 4], [], None, None]
    assert [row["word"] for row in rows] == ["a", None, None, None]


def test_a_new_field_has_its_row_of_the_docs():
    assert schema_row(COUNT) == "| `count` | int or null | a count or null |"
    assert schema_row(SHARES) == "| `shares` | list of float or null | shares |"


def test_a_prompt_s_digest_is_blake2b_of_its_ids():
    expected = hashlib.blake2b(struct.pack("<3q", 5, 2**40, 0), digest_size=8).hexdigest()
    assert prompt_digest([5, 2**40, 0]) == expected
    assert prompt_digest(np.array([5, 2**40, 0])) == expected


def test_padding_is_taken_off_on_the_left_alone():
    assert unpadded([9, 9, 4, 9], 9).tolist() == [4, 9]
    assert unpadded(np.array([9, 9]), 9).tolist() == []
    assert unpadded([4, 5], None).tolist() == [4, 5]
