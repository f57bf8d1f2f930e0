"""Coverage-guided fuzzing by atheris: `python tests/helpers/fuzz.py TARGET DIRECTORY [libFuzzer options]`.

The corpus and the dictionary are made here, into DIRECTORY. A target raises where it finds something: an error of
more than one printable line, another exception, a result that Python's own reading of the bytes does not bear out.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["arpo_entropy_recorder"]):
    from arpo_entropy_recorder.analysis import logfile
    from arpo_entropy_recorder.errors import UserError, printable
    from arpo_entropy_recorder.step_files import decode
    from arpo_entropy_recorder.step_files import names as layout
    from arpo_entropy_recorder.step_files import read as reader
    from arpo_entropy_recorder.step_files import run_log as journal
    from arpo_entropy_recorder.step_files.schema import FIELDS

from step_file_oracle import accepted, compare, one_line, record

PLACE = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))


def put(data, name="entropy_step_1.json"):
    path = PLACE / name
    path.write_bytes(data)
    return path


def fuzz_reader(data):
    """A step file: one line of error, or the records that Python's json finds in it."""
    decode.CHUNK_BYTES = 1 << 18 if len(data) % 2 else 64
    try:
        (step,) = reader.read_steps([put(data)])
    except UserError as error:
        one_line(error)
        assert accepted(data) is None or not is_strict(data), "a step file was refused"
    else:
        # In keys that nobody knows bytes may be anything.
        records = accepted(data.decode("utf-8", "replace").encode())
        assert records is not None, "what is no step file was read"
        compare(step, records)


def is_strict(data):
    """Whether the data is JSON to the letter: no bare control character in a string, no key twice."""

    def once(pairs):
        if len(dict(pairs)) < len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        json.loads(data, object_pairs_hook=once)
    except ValueError:
        return False
    return True


def fuzz_directory(data):
    """Shards and a whole file of one step, cut out of the data: read alike twice, or one line of error."""
    for path in PLACE.glob("entropy_*"):
        path.unlink()
    for index, part in enumerate(data.split(b"\0")[:4]):
        head, _, body = part.partition(b":")
        name = f"entropy_step_1.dp{index}of{len(head) % 3 + 1}.run{len(body) % 2}.call0.json"
        put(body, name if index else "entropy_step_1.json")
    told = []
    for _ in range(2):
        try:
            told.append([(len(step), step.missing_ranks, step.stale) for step in reader.read_steps([PLACE])])
        except UserError as error:
            told.append(one_line(error))
    assert told[0] == told[1]


def fuzz_log(data):
    """A console log: finite numbers by step, or one line of error."""
    try:
        found = logfile.read_rows(put(data, "run.log"))[0]
    except UserError as error:
        one_line(error)
    else:
        assert found
        for step, metrics in found.items():
            assert type(step) is int
            assert all(name.startswith("entropy/") and abs(v) < float("inf") for name, v in metrics.items())
        logfile.curves_of(found)


def fuzz_journal(data):
    """A rank's journal and the name of a file: whatever it says, it is a history, and a name is itself again."""
    history = journal.parse_run_log(data)
    assert all(type(run) is int for run in history.first)
    history.is_current(layout.StepKey(5, False), 0)
    name = data.decode("utf-8", "replace")
    assert printable(name).isprintable()
    parsed = layout.parse_name(name)
    if parsed is not None:
        assert layout.parse_name(parsed.file_name) == parsed


def corpus(target):
    """Seeds: what the recorder writes, and the ways in which it can be wrong."""
    if target in ("reader", "directory"):
        full = record(
            window=[0.1, None], tool="python", parent_idx=None, tokens=[1, 2], token_id=3, do_sample=False
        )
        good = [[], [record()], [full, record(entropy=None), full]]
        bad = [
            record(entropy=10**400),
            record(entropy=float("nan")),
            record(x=[[[]]]),
            {},
            {"round": True},
            3,
            "\x1b[2J",
        ]
        texts = [
            json.dumps(records, indent=indent)
            for records in (*good, *([b] for b in bad))
            for indent in (None, 1)
        ]
        texts += ["[\n" + ",\n".join(map(json.dumps, records)) + "\n]\n" for records in good[1:]]
        texts += [
            "[" * 3000,
            texts[-1][:-9],
            texts[-1].replace("sample_idx", "sampl\\u0065_idx"),
            '[{"a":1e999}]',
        ]
        seeds = [text.encode() for text in texts] + [b"\xff\xfe[]", b"\xef\xbb\xbf[]"]
        return (
            seeds
            if target == "reader"
            else [b"\0".join([b"x:" + s for s in seeds[k : k + 3]]) for k in range(20)]
        )
    if target == "log":
        line = "step:1 - actor/entropy_loss:0.3 - entropy/initial/mean:np.float64(0.25) - entropy/round_1/mean:5.5e-1"
        variants = [
            line,
            f"\x1b[36m(TaskRunner pid=1)\x1b[0m {line}",
            line.replace("0.25", "nan"),
            f"{line}\r",
            line[:60],
        ]
        return [
            "\n".join(variants).encode(),
            b"step:" + b"9" * 5000 + b" - entropy/round_1/mean:1",
            b"\x00\xff",
        ]
    lines = [
        {"run": 0, "dp_size": 2, "host": "a", "pid": 1},
        {"run": 0, "first": [3, False]},
        {"run": 10**30},
    ]
    seeds = [b"\n".join(json.dumps(line).encode() for line in lines)]
    return [
        *seeds,
        b'{"run": NaN}',
        b"entropy_validate_step_3.dp0of2.run0.call1.json",
        b"entropy_step_7.json",
    ]


WORDS = [
    *(f'"{field.name}":' for field in FIELDS),
    *("null", "true", "NaN", "-Infinity", "1e400", "0.5", "[", "},{", "9223372036854775808", "\\u0000"),
    *(" - ", "step:", "entropy/round_1/mean:", "entropy/initial/mean:", "np.float64(", "\x1b[31m"),
    *('{"run":', '"first":', '"dp_size":', ".dp1of2.run0.call0.json"),
]


def main():
    target, directory = sys.argv[1], Path(sys.argv[2])
    (directory / "seeds").mkdir(parents=True)
    (directory / "found").mkdir()
    for number, seed in enumerate(corpus(target)):
        (directory / "seeds" / str(number)).write_bytes(seed)
    escaped = ("".join(f"\\x{byte:02x}" for byte in word.encode()) for word in WORDS)
    (directory / "words").write_text("".join(f'"{word}"\n' for word in escaped))
    options = [
        f"-dict={directory}/words",
        f"-artifact_prefix={directory}/",
        "-timeout=10",
        "-rss_limit_mb=1500",
    ]
    places = [str(directory / "found"), str(directory / "seeds")]
    atheris.Setup([sys.argv[0], *options, *sys.argv[3:], *places], globals()[f"fuzz_{target}"])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
