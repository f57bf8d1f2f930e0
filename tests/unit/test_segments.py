"""Parts of a response by their tags, against responses that were put together from known parts."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arpo_entropy_recorder.rescore.segments import Part, split_response
from arpo_entropy_recorder.rollout.tools.calls import as_result

# Texts made of what could be mistaken for structure.
CRUMBS = [
    "<",
    ">",
    "</",
    "result",
    "<result>",
    "</result>",
    "search",
    "<python>",
    " ",
    "\n",
    "a",
    "é",
    "\U0001f600",
]
CRUMBS += ["<think>", "</think>"]
written = st.lists(st.sampled_from([c for c in CRUMBS if c != "</"]), max_size=8).map("".join)
overflow = st.sampled_from(["", "\n", ".", ">\n", "\n\n"])
answered = (
    st.lists(st.sampled_from(CRUMBS), max_size=8).map("".join).filter(lambda text: "\n</result>" not in text)
)
call = st.builds(lambda text, tool, more: (f"{text}</{tool}>{more}", tool), written,
                 st.sampled_from(["search", "python"]), overflow)  # fmt: skip


@given(rounds=st.lists(st.tuples(call, answered), max_size=4), last=written)
@example(rounds=[(("</search>", "search"), "")], last="")
@example(rounds=[(("q</search>\n", "search"), "see </result> in HTML")], last="<result>\nmine\n</result>")
def test_parts_are_what_the_response_was_made_of(rounds, last):
    parts = []
    for (text, tool), answer in rounds:
        parts += [Part(text), Part(as_result(answer), tool, True)]
    parts += [Part(last)] if last else []
    assert split_response("".join(part.text for part in parts)) == parts


@given(
    st.lists(st.sampled_from([*CRUMBS, "</search>", "</python>", " <result>\n", "\n</result>"])).map("".join)
)
def test_parts_of_any_text_join_to_the_text_and_a_result_follows_the_policy(text):
    parts = split_response(text)
    assert "".join(part.text for part in parts) == text
    assert all(part.text for part in parts)
    for before, part in zip([None, *parts], parts, strict=False):
        if part.is_result:
            assert f"</{part.tool}>" in before.text[-30:]


def test_a_result_cut_short_runs_to_the_end():
    assert split_response("a</search> <result>\nfound") == [
        Part("a</search>"),
        Part(" <result>\nfound", "search", True),
    ]


def test_a_result_that_the_policy_made_up_is_its_own_writing():
    text = "I think <result>\n42\n</result> so"
    assert split_response(text) == [Part(text)]


def test_results_on_one_line_and_tools_of_other_names():
    parts = split_response("x</calc><result>4</result>y</search> <result>\nno\n</result>", tools=["calc"])
    assert parts == [
        Part("x</calc>"),
        Part("<result>4</result>", "calc", True),
        Part("y</search> <result>\nno\n</result>"),
    ]


def agent_turn(*calls):
    """A turn of an agent loop with these calls, and its result."""
    text = "".join(f"<tool_call>\n{call}\n</tool_call>" for call in calls)
    return f"a{text}\nuser\n<tool_response>\nfound\n</tool_response>\nassistant\nb"


ARGUMENTS = {"q": '</x> "\n'}
SEARCH, PYTHON = (json.dumps({"name": name, "arguments": ARGUMENTS}) for name in ("search", "python"))


@pytest.mark.parametrize(
    ("calls", "tool"),
    [
        ([SEARCH], "search"),
        ([SEARCH, SEARCH], "search"),
        ([SEARCH, PYTHON], None),
        (['{"name": "no name\\n"}'], None),
        (['{"name": 3}'], None),
        # As the live recorder of agent loops, by the calls that can be read.
        ([SEARCH, "not JSON"], "search"),
        (["<function=search>\n</function>"], "tool_call"),
        (["[1]"], "tool_call"),
    ],
)
def test_a_tool_call_in_json_names_the_tool(calls, tool):
    parts = split_response(agent_turn(*calls), tags=("tool_response",))
    assert [part.tool for part in parts if part.is_result] == [tool]
    assert "".join(part.text for part in parts) == agent_turn(*calls)


def test_each_turns_call_names_its_result():
    parts = split_response(agent_turn(SEARCH) + agent_turn(PYTHON), tags=("tool_response",))
    assert [part.tool for part in parts if part.is_result] == ["search", "python"]
