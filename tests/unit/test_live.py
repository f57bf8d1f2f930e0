"""Marks, messages, the table of values and the job: what live recording rests on, without an engine."""

import math
import struct
import tempfile
from hashlib import blake2b
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.live.job import Job, check_address, new_local_address, new_token
from arpo_entropy_recorder.live.mark import MARK, new_mark, read_mark
from arpo_entropy_recorder.live.messages import (
    MAX_FRAME,
    MAX_VALUES,
    BadMessage,
    Hello,
    Lost,
    decode,
    encode_report,
    encode_values,
)
from arpo_entropy_recorder.live.values import ValueTable

TOKEN, OTHER = b"t" * 32, b"u" * 32
KEYS = st.binary(min_size=16, max_size=16).map(bytes.hex)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=10,
)


@pytest.fixture
def folder(monkeypatch):
    """A folder for sockets, with a path that is short enough for them."""
    with tempfile.TemporaryDirectory() as path:
        monkeypatch.setattr(tempfile, "tempdir", path)
        yield path


# Marks


def test_a_mark_gives_back_its_key():
    key, mark = new_mark(TOKEN)
    assert read_mark(TOKEN, {MARK: mark, "other": 1}) == key
    assert read_mark(TOKEN, {MARK: tuple(mark)}) == key
    assert len({new_mark(TOKEN)[0] for _ in range(100)}) == 100


def test_a_mark_survives_the_way_to_the_worker():
    key, mark = new_mark(TOKEN)
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode({MARK: mark}))
    assert read_mark(TOKEN, sent) == key


def test_another_jobs_mark_is_no_mark():
    assert read_mark(OTHER, {MARK: new_mark(TOKEN)[1]}) is None


def test_a_changed_mark_is_no_mark():
    _, (key, code) = new_mark(TOKEN)
    for position in range(32):
        flipped = "0" if key[position] != "0" else "1"
        assert read_mark(TOKEN, {MARK: [key[:position] + flipped + key[position + 1 :], code]}) is None
    assert read_mark(TOKEN, {MARK: [key.upper(), code]}) is None
    assert read_mark(TOKEN, {MARK: [key, code, code]}) is None


@given(st.none() | JSON | st.dictionaries(st.just(MARK), JSON))
def test_any_extra_args_are_read_without_error(extra_args):
    assert read_mark(TOKEN, extra_args) is None


# Messages


@given(st.lists(st.tuples(KEYS, st.integers(0, 2**32 - 1), st.floats(width=32)), max_size=30))
def test_values_come_back_from_their_frames(values):
    places, nats = [(key, position) for key, position, _ in values], [n for _, _, n in values]
    found = [value for frame in encode_values(TOKEN, places, nats) for value in decode(TOKEN, frame)]
    assert found == [(*place, n if math.isfinite(n) else None) for place, n in zip(places, nats, strict=True)]


def test_many_values_take_several_full_frames():
    places = [(f"{number:032x}", 0) for number in range(2 * MAX_VALUES + 1)]
    frames = list(encode_values(TOKEN, places, [1.0] * len(places)))
    assert [len(decode(TOKEN, frame)) for frame in frames] == [MAX_VALUES, MAX_VALUES, 1]
    assert max(map(len, frames)) <= MAX_FRAME


def test_reports_come_back_from_their_frames():
    hello = Hello("node", 7, "0", "runner", "0.32", counters={"steps": 3})
    for report in (hello, Lost(12, "queue full")):
        assert decode(TOKEN, encode_report(TOKEN, report)) == report
    with pytest.raises(ValueError, match="a report of"):
        encode_report(TOKEN, Lost(1, "x" * 70_000))


def signed(body, token=TOKEN):
    """A frame of any body, as a worker that holds the token could make it."""
    return blake2b(body, key=token, digest_size=16, person=b"arpo-message").digest() + body


@given(st.binary(max_size=200))
def test_unsigned_bytes_are_refused(frame):
    with pytest.raises(BadMessage):
        decode(TOKEN, frame)


@given(
    st.binary(max_size=200)
    | JSON.map(lambda value: b"H" + msgspec.json.encode(value))
    | JSON.map(lambda value: b"L" + msgspec.json.encode(value))
    | st.binary(max_size=100).map(lambda content: b"V" + content)
)
def test_signed_bytes_are_read_or_refused(body):
    try:
        content = decode(TOKEN, signed(body))
    except BadMessage:
        return
    assert isinstance(content, list | Hello | Lost)


def test_deeply_nested_json_is_refused():
    with pytest.raises(BadMessage):
        decode(TOKEN, signed(b"H" + b"[" * 60_000))


def test_another_jobs_or_a_changed_message_is_refused():
    (frame,) = encode_values(TOKEN, [("00" * 16, 0)], [1.0])
    with pytest.raises(BadMessage):
        decode(OTHER, frame)
    for position in range(len(frame)):
        changed = bytearray(frame)
        changed[position] ^= 1
        with pytest.raises(BadMessage):
            decode(TOKEN, bytes(changed))


def test_a_message_that_is_too_long_is_refused_unparsed():
    body = b"V" + struct.pack("<16sIf", b"k" * 16, 0, 1.0) * (MAX_VALUES + 1)
    with pytest.raises(BadMessage, match="not of this job"):
        decode(TOKEN, signed(body))


def test_a_marks_code_signs_no_message():
    key, (_, code) = new_mark(TOKEN)
    with pytest.raises(BadMessage, match="not of this job"):
        decode(TOKEN, bytes.fromhex(code) + key.encode())


# The table of values


def test_the_last_value_of_a_place_counts():
    table = ValueTable()
    table.add([("a", 0, 1.0), ("a", 1, 2.0), ("a", 0, 3.0), ("b", 0, None)])
    assert table.missing_of({"a": 3, "b": 1, "c": 1, "d": 0}) == {"a": 3, "c": 1}
    assert table.take({"a": 3, "b": 1, "c": 1, "d": 0}) == {
        "a": [3.0, 2.0, None],
        "b": [None],
        "c": [None],
        "d": [],
    }
    assert len(table) == 0


def test_keys_and_positions_are_bounded_and_counted():
    table = ValueTable(max_keys=3, max_positions=2)
    table.add([(str(key), position, 0.5) for key in range(5) for position in range(4)])
    assert table.take({str(key): 3 for key in range(5)}) == {
        **{str(key): [None] * 3 for key in range(2)},
        **{str(key): [0.5, 0.5, None] for key in range(2, 5)},
    }
    assert table.counters() == {
        "keys_waiting": 0,
        "values_received": 20,
        "values_taken": 6,
        "values_missing": 9,
        "values_beyond_window": 10,
        "keys_evicted": 2,
    }


# The job


def test_a_job_comes_back_from_its_environment(folder):
    job = Job(new_token(), new_local_address(), 20)
    assert Job.from_environ(job.environ()) == job
    other = Job(job.token, "tcp://[::1]:5555")
    assert Job.from_environ(other.environ()) == other


def test_the_token_is_in_no_representation():
    job = Job(new_token(), "tcp://a:1")
    assert job.token.hex() not in repr(job)
    assert repr(job.token) not in repr(job)


@pytest.mark.parametrize("change", [{"ARPO_ENTROPY_DISABLE": "1"}, {"ARPO_ENTROPY_JOB": ""}])
def test_without_a_token_or_switched_off_there_is_no_job(change):
    assert Job.from_environ(Job(new_token(), "tcp://a:1").environ() | change) is None


@pytest.mark.parametrize("token", ["zz" * 16, "00" * 8, "00" * 65, "secret"])
def test_an_invalid_token_is_refused_and_not_shown(token):
    with pytest.raises(UserError) as refused:
        Job.from_environ({"ARPO_ENTROPY_JOB": token, "ARPO_ENTROPY_COLLECTOR": "tcp://a:1"})
    assert token not in str(refused.value)


def test_a_local_address_is_in_a_folder_of_ones_own(folder):
    own = Path(new_local_address().removeprefix("ipc://")).parent
    assert own.parent == Path(folder)
    assert own.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ipc://",
        "ipc://relative",
        f"ipc:///{'x' * 107}",
        "tcp://a",
        "tcp://:1",
        "tcp://a:70000",
        "udp://a:1",
    ],
)
def test_an_address_that_cannot_be_is_refused(address):
    with pytest.raises(UserError, match="ARPO_ENTROPY_COLLECTOR"):
        check_address(address)
