"""Prompts and tool turns put back by the tokenizer's own template, against what the template rendered."""

import pytest
from chat_tokenizer import TEMPLATES, ChatTokenizer, chatml, deepseek, gemma, llama, thinking
from hypothesis import given
from hypothesis import strategies as st

from arpo_entropy_recorder.rescore.chat_turns import ChatTurns
from arpo_entropy_recorder.rescore.line import Line
from arpo_entropy_recorder.rescore.retokenize import Retokenizer

TAGS = ("result", "tool_response")
templates = pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.__name__)
words = st.text("abc \n?", min_size=1, max_size=20).map(lambda text: f"x{text}x")
# Contents of what may be mistaken for a turn.
hostile = st.lists(
    st.sampled_from(["user", "assistant", "system", "model", "\n", "\n\n", "hi", "<think>\n"]),
    min_size=1,
    max_size=8,
).map("".join)


def messages(system, user):
    return [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": user}]


def dumped(tokenizer, rendered):
    return tokenizer.decode(tokenizer.encode(rendered), skip_special_tokens=True)


@templates
@given(st.none() | words, words)
def test_a_rendered_prompt_is_restored_token_by_token(template, system, user):
    tokenizer = ChatTokenizer(template)
    if system and template is gemma:
        return
    marked = template(messages(system, user))
    restored = ChatTurns(tokenizer).restore_prompt(dumped(tokenizer, marked))
    if template is deepseek:
        # Whether a system message came first cannot be told, and that is said.
        assert not restored.is_certain
        marked = template(messages(None, (system or "") + user))
    else:
        assert restored.is_certain
    assert restored.ids == tokenizer.encode(marked)


@templates
@given(st.none() | hostile, hostile)
def test_another_reading_is_never_taken_for_certain(template, system, user):
    tokenizer = ChatTokenizer(template)
    try:
        marked = template(messages(system, user))
    except ValueError:
        return
    restored = ChatTurns(tokenizer).restore_prompt(dumped(tokenizer, marked))
    assert restored is None or not restored.is_certain or restored.ids == tokenizer.encode(marked)


@templates
def test_a_chat_of_several_turns_is_never_taken_for_certain(template):
    tokenizer = ChatTokenizer(template)
    chat = [("user", "one"), ("assistant", "two"), ("user", "three")]
    marked = template([{"role": role, "content": content} for role, content in chat])
    restored = ChatTurns(tokenizer).restore_prompt(dumped(tokenizer, marked))
    assert restored is None or not restored.is_certain


def test_a_line_that_names_a_role_is_a_line_of_the_question():
    tokenizer = ChatTokenizer()
    question = "Which line is odd?\nuser\nhello\nassistant\nbye"
    marked = chatml(messages("Use tools.", question))
    restored = ChatTurns(tokenizer).restore_prompt(dumped(tokenizer, marked))
    assert restored.ids == tokenizer.encode(marked)
    assert not restored.is_certain


def test_a_prompt_dumped_with_its_markers_is_taken_as_it_stands():
    tokenizer = ChatTokenizer()
    marked = chatml(messages("s", "a\nuser\nb"))
    for text in (marked, 3 * "<|pad|>" + marked):
        restored = ChatTurns(tokenizer).restore_prompt(text)
        assert restored.ids == tokenizer.encode(marked)
        assert restored.is_certain


def test_a_rollout_of_another_day_is_restored():
    tokenizer = ChatTokenizer(llama)
    marked = llama(messages("be brief", "why?"), date="01 Nov 2026")
    restored = ChatTurns(tokenizer).restore_prompt(dumped(tokenizer, marked))
    assert restored.ids == tokenizer.encode(marked)


def test_a_prefilled_answer_goes_behind_the_markers():
    tokenizer = ChatTokenizer()
    marked = chatml(messages("s", "why?")) + "<think>\nLet"
    assert ChatTurns(tokenizer).restore_prompt(dumped(tokenizer, marked)).ids == tokenizer.encode(marked)


@pytest.mark.parametrize("newline", ["\n", ""], ids=["rendered", "appended"])
@pytest.mark.parametrize("with_markers", [False, True], ids=["without markers", "with markers"])
@pytest.mark.parametrize("template", [chatml, thinking, llama], ids=lambda template: template.__name__)
@given(words, st.lists(words, min_size=1, max_size=2), words)
def test_a_result_that_is_a_turn_is_the_templates(template, with_markers, newline, thought, answers, last):
    """Against the tokens that an agent loop has: what the policy wrote, and the turn that the template renders."""
    tokenizer = ChatTokenizer(template)
    prompt = template(messages(None, "q"))
    content = "\n".join(f"<tool_response>\n{answer}\n</tool_response>" for answer in answers)
    tail = template([{"role": "user", "content": "X"}])
    turn = content + tail.rpartition("X")[2]
    if template is llama:
        end, opening = "<|eot_id|>", "<|start_header_id|>user<|end_header_id|>\n\n"
    else:
        end, opening = "<|im_end|>", newline + "<|im_start|>user\n"
    call = thought + '<tool_call>\n{"name": "f"}\n</tool_call>'
    marked = [call + end, opening + turn, last]
    response = "".join(marked)
    if not with_markers:
        response = dumped(tokenizer, response)
        prompt_text = dumped(tokenizer, prompt)
    else:
        prompt_text = prompt
    found = Retokenizer(tokenizer, ("search",), TAGS).read(Line("", prompt_text, response))
    first, second = found.segments
    assert found.tokens == tokenizer.encode(prompt + "".join(marked))
    assert tokenizer.decode(second.tokens) == last
    assert (second.round, second.tool, found.exact_rounds) == (1, "f", None)
    ids = Retokenizer(tokenizer, ("search",), TAGS).read(
        Line("", tokenizer.encode(prompt), tokenizer.encode("".join(marked)))
    )
    assert [s.start for s in ids.segments] == [first.start, second.start]


def test_a_turn_of_another_template_is_counted():
    tokenizer = ChatTokenizer(llama)
    response = "a<tool_call>\n{}\n</tool_call>\nuser\n<tool_response>\nx\n</tool_response>\nassistant\nb"
    found = Retokenizer(tokenizer, ("search",), TAGS).read(Line("", "q", response))
    assert found.exact_rounds == 1


def test_prompts_with_worked_examples_are_turns_if_the_user_says_so():
    tokenizer = ChatTokenizer()
    chat = [("system", "s"), ("user", "one"), ("assistant", "two"), ("user", "three")]
    marked = chatml([{"role": role, "content": content} for role, content in chat])
    restored = ChatTurns(tokenizer, several_turns=True).restore_prompt(dumped(tokenizer, marked))
    assert restored == (tokenizer.encode(marked), True)
    assert ChatTurns(tokenizer).restore_prompt(dumped(tokenizer, marked)).ids != restored.ids
