"""Parts of a response by their tags, against responses that were put together from known parts."""

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
