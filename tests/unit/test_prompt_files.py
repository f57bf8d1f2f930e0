"""Prompt files as other programs write them: the same prompts as in the plain form."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rollout.prompt_files import load_prompts

CHAT = [{"role": "system", "content": ""}, {"role": "user", "content": "u?"}]
# Characters at which str.splitlines splits and a text editor does not.
lines = st.lists(st.text("ab \u2028\u2029\u0085\v\f\x1c\x1d\x1e?é").filter(str.strip), min_size=1, max_size=4)


@given(lines, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_a_text_file_is_split_at_newlines_alone(tmp_path_factory, prompts, newline, bom):
    path = tmp_path_factory.mktemp("prompts") / "p.txt"
    path.write_bytes((newline.join(prompts) + newline).encode("utf-8-sig" if bom else "utf-8"))
    assert load_prompts(path) == prompts


@given(
    st.lists(
        st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]), "content": st.text()}), min_size=1
    )
)
def test_messages_as_json_text_are_messages(tmp_path_factory, messages):
    path = tmp_path_factory.mktemp("prompts") / "p.jsonl"
    path.write_text(json.dumps({"prompt": json.dumps(messages)}))
    assert load_prompts(path) == [messages]


def test_json_that_holds_no_messages_is_text(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text('[1, 2] is a list\n[3]\n[{"role": 1}]\n' + json.dumps(CHAT) + "\n")
    assert load_prompts(path) == ["[1, 2] is a list", "[3]", '[{"role": 1}]', CHAT]


def test_nan_and_a_byte_order_mark_do_not_matter(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(
        '\ufeff{"prompt": "a", "score": NaN}\n{"prompt": "b", "score": Infinity}\n', encoding="utf-8"
    )
    assert load_prompts(path) == ["a", "b"]


def test_another_key_may_hold_the_prompts(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"question": "a", "prompt": "b"}\n')
    assert load_prompts(path, "question") == ["a"]
    with pytest.raises(UserError, match="line 1: no key 'query'"):
        load_prompts(path, "query")


def test_images_are_left_out_and_counted(tmp_path):
    path, said = tmp_path / "p.jsonl", []
    parts = [
        {"type": "image", "image": "x.png"},
        {"type": "text", "text": "what"},
        {"type": "text", "text": "?"},
    ]
    entries = [
        {"prompt": [{"role": "user", "content": parts}]},
        {"prompt": [{"role": "user", "content": "<image>which?"}], "images": [{"bytes": "x"}]},
        {"prompt": "none", "images": []},
    ]
    path.write_text("\n".join(map(json.dumps, entries)))
    found = load_prompts(path, say=said.append)
    assert [p if isinstance(p, str) else p[0]["content"] for p in found] == ["what?", "<image>which?", "none"]
    assert said == [f"{path}: 2 of 3 prompts have images or other media, which are left out"]
    path.write_text(json.dumps({"prompt": [{"role": "user", "content": [{"type": "sound"}]}]}))
    with pytest.raises(UserError, match="line 1: 'prompt' has a message with a part that is neither"):
        load_prompts(path)


def test_parquet_rows_of_other_trainers(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path, said = tmp_path / "p.parquet", []
    columns = {
        "prompt": [json.dumps(CHAT), "plain"],
        "images": [[{"bytes": b"x"}], []],
        "image": [None, None],
    }
    parquet.write_table(pyarrow.table(columns), path)
    assert load_prompts(path, say=said.append) == [CHAT, "plain"]
    assert said == [f"{path}: 1 of 2 prompts have images or other media, which are left out"]
