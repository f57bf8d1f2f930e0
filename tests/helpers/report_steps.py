"""Steps with words in them, for the tests of the report."""

import base64
import json
import zlib

import numpy as np

from arpo_entropy_recorder.report.join import Join
from arpo_entropy_recorder.report.page import make_page, read_run, write_report
from arpo_entropy_recorder.report.transcript import Transcriber
from arpo_entropy_recorder.step_files.read import read_steps

HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">&amp;\x1b[31m\u202e"
)


class Words:
    """A tokenizer of whole words: id i is WORDS[i]."""

    WORDS = ("The ", "answer ", "is ", "42", "<search>q</search>", HOSTILE)

    def decode(self, ids, **options):
        return "".join(self.WORDS[i] for i in ids)


class Bytes:
    """A tokenizer of single bytes, as byte-level ones are: a character may take several tokens."""

    chat_template = None
    pad_token_id = bos_token_id = eos_token_id = None
    all_special_ids = all_special_tokens = ()

    def decode(self, ids, **options):
        return bytes(ids).decode(errors="replace")

    def encode(self, text, **options):
        return list(text.encode())


def data_of(html):
    """What the page holds for its script."""
    return json.loads(html.split('id="data">')[1].split("</script>")[0])


def arrays_of(run):
    """A run's packed arrays by name, flat."""
    data, arrays, at = zlib.decompress(base64.b64decode(run["packed"])), {}, 0
    for name, kind, size in run["layout"]:
        arrays[name] = np.frombuffer(data, f"<{kind}", size, at)
        at += arrays[name].nbytes
    assert at == len(data)
    return arrays


def record(sample, number, entropy, tokens=(0, 1), **more):
    tool = "search" if number else None
    fields = {"sample_idx": sample, "round": number, "tool": tool, "is_after_tool_call": number > 0}
    return fields | {"entropy": entropy, "tokens": list(tokens), "token_id": tokens[0]} | more


def write_steps(directory, steps):
    for number, records in steps.items():
        with_step = [{"global_step": number, **entry} for entry in records]
        (directory / f"entropy_step_{number}.json").write_text(json.dumps(with_step))


def write_page_of_two(directory, run, beside):
    """The page, in `directory`, of a made-up run (`real_like_runs`) joined with its dump, and steps beside it."""
    join = Join(run / "rollouts", Bytes())
    runs = [
        read_run("long", read_steps([run / "entropies"]), Transcriber(Bytes()), vocab_size=1000, join=join),
        read_run("short", read_steps([beside]), None, 6),
    ]
    path = directory / "report.html"
    write_report(make_page(runs), path)
    return path


STEPS = {
    step: [
        entry
        for sample in range(6)
        for entry in (
            record(sample, 0, 0.1 + sample / 100 + step / 50),
            record(sample, 1, 0.6 + sample / 50 + step / 90, tokens=(2, 3, 4)),
            record(sample, 2, 0.5 + sample / 60),
        )
    ]
    for step in (1, 2, 3)
}
