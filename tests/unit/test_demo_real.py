"""The prompts of `make demo-real`: what the worked examples show is what the tools answer."""

import json
import re
import sys
from pathlib import Path

import pytest

from arpo_entropy_recorder.rollout.tools.calls import as_result
from arpo_entropy_recorder.rollout.tools.load import load_tools

DEMO = Path(__file__).resolve().parents[2] / "scripts" / "demo_real"


@pytest.fixture
def messages(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(DEMO), *sys.path])
    from write_prompts import prompts

    return prompts()


def test_every_result_in_the_examples_is_what_the_tool_says(messages):
    tools = load_tools(f"python,search={DEMO / 'dictionary.json'}")
    shown = "".join(m["content"] for m in messages[0] if m["role"] == "assistant")
    calls = re.findall(r"<(python|search)>(.*?)</\1>( <result>\n.*?\n</result>)", shown)
    assert len(calls) == shown.count("<result>") == 6
    for tool, content, result in calls:
        assert result == as_result(tools[tool](content))


def test_each_prompt_is_a_chat_that_ends_with_its_question(messages):
    questions = json.loads((DEMO / "questions.json").read_text())
    assert [chat[-1]["content"] for chat in messages] == [entry["question"] for entry in questions]
    assert len({entry["question"] for entry in questions}) == len(questions)
    for chat in messages:
        assert [m["role"] for m in chat] == ["system", *["user", "assistant"] * 4, "user"]
        assert chat[-1]["content"] not in [m["content"] for m in chat[:-1]]
