"""Prompts as a user's file holds them, and what is said about a file that does not."""

import json

import jinja2
import numpy as np
import pytest

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rollout.prompt_files import load_prompts
from arpo_entropy_recorder.rollout.prompts import encode_prompts, pad_left

CHAT = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]


class Tokenizer:
    chat_template = None

    def encode(self, text, add_special_tokens=True):
        return [1] * add_special_tokens + [ord(c) for c in text]

    def apply_chat_template(self, messages, add_generation_prompt, tokenize):
        assert add_generation_prompt
        assert not tokenize
        return "|".join(f"{m['role']}:{m['content']}" for m in messages)


class ChatTokenizer(Tokenizer):
    chat_template = "yes"


def write_parquet(path, column, values):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table({column: values}), path)
    return path


def test_text_has_a_prompt_a_line(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text("one\n\n  \nzwei ü\n", encoding="utf-8")
    assert load_prompts(path) == ["one", "zwei ü"]


def test_jsonl_has_messages_or_text(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join([json.dumps({"prompt": CHAT, "extra": 1}), "", json.dumps({"prompt": "q"})]))
    assert load_prompts(path) == [CHAT, "q"]


def test_parquet_has_arpos_column(tmp_path):
    path = write_parquet(tmp_path / "p.parquet", "prompt", [CHAT, CHAT[1:]])
    assert load_prompts(path) == [CHAT, CHAT[1:]]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.txt", None, "cannot read"),
        ("p.txt", b" \n", "no prompts"),
        ("p.txt", b"\xff\xfe", "not UTF-8"),
        ("p.csv", b"x", r"\.parquet, \.jsonl or \.txt"),
        ("p.jsonl", b"", "no prompts"),
        ("p.jsonl", b'{"prompt": "a"}\n{"prompt"', "line 2: not JSON"),
        ("p.jsonl", b'{"question": "a"}', "line 1: no key 'prompt'"),
        ("p.jsonl", b"[1]", "line 1: no key 'prompt'"),
        ("p.jsonl", b'{"prompt": 3}', "line 1: 'prompt' must be"),
        ("p.jsonl", b'{"prompt": ""}', "line 1: 'prompt' must be"),
        ("p.jsonl", b'{"prompt": [{"role": "user"}]}', "line 1: 'prompt' must be"),
        ("p.jsonl", b'{"prompt": "\xff"}', "line 1"),
        ("p.parquet", b"PAR1 not really", "not a readable parquet"),
        ("p.parquet", None, "cannot read"),
    ],
)
def test_a_bad_file_is_named_in_one_line(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        load_prompts(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_parquet_file_without_the_column_names_those_it_has(tmp_path):
    path = write_parquet(tmp_path / "p.parquet", "question", ["a"])
    with pytest.raises(UserError, match=r"no column 'prompt' among question"):
        load_prompts(path)


def test_a_bad_row_of_parquet_is_named(tmp_path):
    path = write_parquet(tmp_path / "p.parquet", "prompt", ["a", None])
    with pytest.raises(UserError, match="row 1: 'prompt' must be"):
        load_prompts(path)


def test_a_directory_is_not_a_prompt_file(tmp_path):
    (tmp_path / "d.txt").mkdir()
    with pytest.raises(UserError, match="cannot read"):
        load_prompts(tmp_path / "d.txt")


def text_of(ids):
    return "".join(map(chr, ids))


def test_the_chat_template_is_applied_where_there_is_one():
    tokens = encode_prompts(["q", CHAT], ChatTokenizer(), system="tools")
    assert [text_of(t) for t in tokens] == ["system:tools|user:q", "system:s|user:u"]


class StrictTokenizer(ChatTokenizer):
    def apply_chat_template(self, messages, **options):
        if messages[0]["role"] == "system":
            raise jinja2.exceptions.TemplateError("System role not supported\nat line 3")
        return super().apply_chat_template(messages, **options)


def test_a_template_that_refuses_our_system_message_is_told_with_the_way_round():
    with pytest.raises(
        UserError, match=r"prompt 1: .*\(System role not supported\); pass system=''"
    ) as caught:
        encode_prompts(["q"], StrictTokenizer(), system="tools")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"prompt 2: .* write messages with roles that it takes"):
        encode_prompts(["q", CHAT], StrictTokenizer())


def test_without_a_chat_template_the_texts_are_joined():
    assert [text_of(t[1:]) for t in encode_prompts(["q", CHAT], Tokenizer())] == ["q", "s\nu"]


def test_rows_are_filled_up_on_the_left():
    np.testing.assert_array_equal(pad_left([[1, 2, 3], [4]], 9), [[1, 2, 3], [9, 9, 4]])
