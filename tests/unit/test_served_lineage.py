"""Which trajectory a served request continues, against the books of a client that knows."""

import random

import msgspec
import pytest
from served_books import Server, assistant, faithful, results, stripping, words

from arpo_entropy_recorder.live.serve.conversation import read_conversation
from arpo_entropy_recorder.live.serve.digests import Digests
from arpo_entropy_recorder.live.serve.lineage import Lineage

HELLO = [{"role": "system", "content": "Use tools."}, {"role": "user", "content": "Which river?"}]
SEARCH = ("search", "Danube")


def user(text):
    return {"role": "user", "content": text}


class Recording:
    """A server and the lineage of its turns, each placed as it comes."""

    def __init__(self, template=faithful, text_results=False, **bounds):
        self.server = Server(template, text_results)
        self.lineage = Lineage(self.server.digests, text_results, clock=lambda: self.server.clock, **bounds)

    def ask(self, messages, *replies, **details):
        """Where the completions stand; one of them alone if there is one."""
        placed = self.lineage.place(self.server.turn(messages, *replies, **details))
        return placed[0] if len(replies) == 1 and placed else placed


@pytest.fixture(params=[faithful, stripping], ids=["faithful template", "stripping template"])
def recording(request):
    return Recording(request.param)


def number(placed):
    return placed.trajectory.number


def test_conversations_at_once_are_told_apart(recording):
    """24 conversations of three turns, interleaved, several with the same question and the same words."""
    rng = random.Random(0)
    open_ones = [
        {"book": book, "turn": 0, "messages": [HELLO[0], user(f"Question {book % 3}?")]} for book in range(24)
    ]
    of_book = {}
    while open_ones:
        one = rng.choice(open_ones)
        call = (rng.choice(["search", "python"]), rng.choice("ab"))
        reply = assistant("<think>so</think>", *([call] if one["turn"] < 2 else []))
        placed = recording.ask(one["messages"], reply)
        assert of_book.setdefault(one["book"], number(placed)) == number(placed)
        assert placed.trajectory.parent is None
        assert (placed.round, placed.is_after) == (one["turn"], one["turn"] > 0)
        assert placed.tools == ((one["tool"],) if one["turn"] else ())
        if one["turn"] == 2:
            open_ones.remove(one)
            continue
        one["messages"] = [*one["messages"], reply, *results(reply, "found")]
        one["turn"], one["tool"] = one["turn"] + 1, call[0]
    assert sorted(of_book.values()) == list(range(24))
    assert recording.lineage.how == {"start": 24, "calls": 48}


def test_a_start_that_is_asked_again_is_another_start(recording):
    first, second = recording.ask(HELLO, assistant("a")), recording.ask(HELLO, assistant("a"))
    assert number(first) != number(second)
    assert first.trajectory.is_start
    assert second.trajectory.is_start
    assert first.trajectory.prompt == second.trajectory.prompt


def test_the_second_continuation_is_a_branch(recording):
    reply = assistant("", SEARCH)
    root = recording.ask(HELLO, reply)
    after = [*HELLO, reply, *results(reply, "found")]
    first = recording.ask(after, assistant("one"))
    retry = recording.ask(after, assistant("two"))
    other = recording.ask([*HELLO, reply, *results(reply, "other")], assistant("three"))
    assert number(first) == number(root)
    assert len({number(root), number(retry), number(other)}) == 3
    assert retry.trajectory.parent == other.trajectory.parent == number(root)
    assert retry.trajectory.prompt == root.trajectory.prompt
    assert not retry.trajectory.is_start


def test_of_three_choices_the_first_goes_on(recording):
    reply = assistant("", SEARCH)
    root = recording.ask(HELLO, reply)
    after = [*HELLO, reply, *results(reply, "found")]
    replies = [assistant("x", ("python", str(k))) for k in range(3)]
    placed = recording.ask(after, *replies)
    assert number(placed[0]) == number(root)
    assert [p.trajectory.parent for p in placed[1:]] == [number(root)] * 2
    for choice, then in zip(placed, replies, strict=True):
        nxt = recording.ask([*after, then, *results(then, "4")], assistant("end"))
        assert number(nxt) == number(choice)
        assert (nxt.round, nxt.tools) == (2, ("python",))


def test_a_sub_agent_is_a_start_of_its_own(recording):
    reply = assistant("", SEARCH)
    root = recording.ask(HELLO, reply)
    sub = recording.ask([{"role": "system", "content": "You sum up."}, user("Text")], assistant("short"))
    nxt = recording.ask([*HELLO, reply, *results(reply, "short")], assistant("end"))
    assert number(nxt) == number(root) != number(sub)
    assert sub.trajectory.is_start


def test_results_that_come_together_are_one_round(recording):
    reply = assistant("", SEARCH, ("python", "1"))
    recording.ask(HELLO, reply)
    nxt = recording.ask([*HELLO, reply, *results(reply, "found", "1")], assistant("end"))
    assert (nxt.round, nxt.is_after, nxt.tools) == (1, True, ("search", "python"))


def test_what_the_user_says_is_no_result(recording):
    reply = assistant("Hello.")
    root = recording.ask(HELLO, reply)
    nxt = recording.ask([*HELLO, reply, user("And now?")], assistant("x", SEARCH))
    assert (number(nxt), nxt.round, nxt.is_after, nxt.tools) == (number(root), 0, False, ())


def test_a_question_behind_a_result_is_no_result(recording):
    reply = assistant("", SEARCH)
    root = recording.ask(HELLO, reply)
    nxt = recording.ask([*HELLO, reply, *results(reply, "found"), user("So?")], assistant("end"))
    assert (number(nxt), nxt.round, nxt.is_after, nxt.tools) == (number(root), 1, False, ())


def test_changed_thoughts_space_and_json_are_the_same_reply():
    recording = Recording(stripping)
    reply = assistant("<think>hm</think>\n Yes  indeed", SEARCH)
    root = recording.ask(HELLO, reply)
    anew = {"id": "call_0", "function": {"name": "search", "arguments": '{ "q":"Danube" }'}}
    same = {"role": "assistant", "content": [{"type": "text", "text": "Yes indeed"}], "tool_calls": [anew]}
    result = {"role": "tool", "tool_call_id": "call_0", "content": "found"}
    nxt = recording.ask([*HELLO, same, result], assistant("end"))
    assert (number(nxt), nxt.how, nxt.tools) == (number(root), "messages", ("search",))


def test_an_edited_reply_has_no_parent(recording):
    recording.ask(HELLO, assistant("Hello."))
    nxt = recording.ask([*HELLO, assistant("Good day."), user("And?")], assistant("x"))
    assert nxt.how == "unknown"
    assert nxt.trajectory.parent is None
    assert not nxt.trajectory.is_start
    assert nxt.trajectory.prompt is None


def test_a_lengthened_reply_contradicts_its_tokens(recording):
    recording.ask(HELLO, assistant("Hello"))
    nxt = recording.ask([*HELLO, assistant("Hello and good day."), user("And?")], assistant("x"))
    assert (nxt.how, nxt.trajectory.parent, nxt.trajectory.is_start) == ("unknown", None, False)


def test_a_reply_is_the_same_however_it_is_cut(recording):
    root = recording.ask(HELLO, assistant("Yes indeed"))
    parts = [{"type": "text", "text": "Yes "}, {"type": "text", "text": "indeed"}]
    nxt = recording.ask([*HELLO, {"role": "assistant", "content": parts}, user("And?")], assistant("x"))
    assert number(nxt) == number(root)


def test_a_thought_may_be_cut_anywhere(recording):
    root = recording.ask(HELLO, assistant("<think>a</think>Hi"))
    parts = [{"type": "text", "text": "<think>a"}, {"type": "text", "text": "</think>Hi"}]
    nxt = recording.ask([*HELLO, {"role": "assistant", "content": parts}, user("And?")], assistant("x"))
    assert number(nxt) == number(root)


def test_calls_that_a_client_reads_from_the_text_are_linked():
    recording, made = Recording(), assistant("", SEARCH)
    root = recording.ask(HELLO, {"role": "assistant", "content": words(made)})
    nxt = recording.ask([*HELLO, made, *results(made, "found")], assistant("x"))
    assert (number(nxt), nxt.how, nxt.round) == (number(root), "tokens", 1)


def test_an_earlier_replys_identifier_is_not_relied_on(recording):
    first, second = assistant("", SEARCH), assistant("", SEARCH)
    root = recording.ask(HELLO, first)
    messages = [*HELLO, first, *results(first, "nothing")]
    recording.ask(messages, second)
    nxt = recording.ask([*messages, second, *results(first, "found")], assistant("x"))
    assert (number(nxt), nxt.round, nxt.tools) == (number(root), 2, ("search",))
    assert nxt.how in ("tokens", "messages")


def test_brackets_without_end_are_arguments_like_others(recording):
    reply = assistant("", SEARCH)
    reply["tool_calls"][0]["function"]["arguments"] = "[" * 100_000
    root = recording.ask(HELLO, reply)
    nxt = recording.ask([*HELLO, reply, *results(reply, "?")], assistant("x"))
    assert (number(nxt), nxt.how) == (number(root), "calls")


@pytest.mark.parametrize("words", ["Ill.", "Hello."])
def test_an_edited_later_reply_does_not_link_to_an_earlier_one(recording, words):
    first, second = assistant("Hello."), assistant("Well.")
    recording.ask(HELLO, first)
    recording.ask([*HELLO, first, user("And?")], second)
    nxt = recording.ask([*HELLO, first, user("And?"), assistant(words), user("Why?")], assistant("x"))
    assert nxt.how == "unknown"


def test_changed_calls_contradict_their_identifiers(recording):
    reply = assistant("", SEARCH)
    recording.ask(HELLO, reply)
    edited = assistant("", ("search", "Rhine"))
    edited["tool_calls"][0]["id"] = reply["tool_calls"][0]["id"]
    nxt = recording.ask([*HELLO, edited, *results(edited, "found")], assistant("end"))
    assert nxt.how == "unknown"
    assert (nxt.round, nxt.is_after, nxt.tools) == (1, True, ("search",))


def test_another_conversations_identifier_is_contradicted(recording):
    reply, other = assistant("", SEARCH), assistant("", SEARCH)
    recording.ask(HELLO, reply)
    question = [user("Which other river?")]
    recording.ask(question, other)
    forged = other | {"tool_calls": [other["tool_calls"][0] | {"id": reply["tool_calls"][0]["id"]}]}
    nxt = recording.ask([*question, forged, *results(forged, "found")], assistant("end"))
    assert (nxt.how, nxt.trajectory.parent, nxt.trajectory.is_start) == ("unknown", None, False)
    # And so does not take the other's place.
    rest = recording.ask([*HELLO, reply, *results(reply, "found")], assistant("end"))
    assert (number(rest), rest.how) == (0, "calls")


def test_a_compacted_history_is_found_by_the_calls_it_keeps(recording):
    reply = assistant("", SEARCH)
    root = recording.ask(HELLO, reply)
    nxt = recording.ask([user("What was: ..."), reply, *results(reply, "found")], assistant("end"))
    assert (number(nxt), nxt.how) == (number(root), "calls")


def test_a_session_finds_a_compacted_history(recording):
    root = recording.ask(HELLO, assistant("Long."), session="s")
    compacted = [*HELLO, assistant("In short."), user("Go on.")]
    assert recording.ask(compacted, assistant("x"), session="other").how == "unknown"
    nxt = recording.ask(compacted, assistant("x"), session="s")
    assert (number(nxt), nxt.how) == (number(root), "session")


def test_two_open_ends_of_a_session_are_no_answer(recording):
    recording.ask(HELLO, assistant("a"), session="s")
    recording.ask([user("Sub-agent")], assistant("b"), session="s")
    nxt = recording.ask([*HELLO, assistant("In short."), user("Go on.")], assistant("x"), session="s")
    assert nxt.how == "unknown"


def test_candidates_that_read_alike_give_no_parent(recording):
    reply = assistant("Hello.")
    recording.ask(HELLO, reply)
    recording.ask(HELLO, reply)
    nxt = recording.ask([*HELLO, reply, user("And?")], assistant("x"))
    assert (nxt.how, nxt.trajectory.parent, nxt.trajectory.is_start) == ("alike", None, False)


def test_a_session_tells_candidates_apart(recording):
    reply = assistant("Hello.")
    recording.ask(HELLO, reply, session="a")
    second = recording.ask(HELLO, reply, session="b")
    nxt = recording.ask([*HELLO, reply, user("And?")], assistant("x"), session="b")
    assert number(nxt) == number(second)


def test_what_was_alike_stays_so_when_one_is_forgotten():
    recording = Recording(max_turns=2)
    reply = assistant("Hello.")
    recording.ask(HELLO, reply)
    recording.ask(HELLO, reply)
    nxt = recording.ask([*HELLO, reply, user("And?")], assistant("x"))
    assert recording.lineage.evicted == 1
    assert nxt.how == "alike"


def test_an_identifier_that_was_issued_twice_is_none():
    recording = Recording(stripping)
    first, second = assistant("a", SEARCH), assistant("b", SEARCH)
    second["tool_calls"][0]["id"] = first["tool_calls"][0]["id"]
    recording.ask(HELLO, first)
    other = recording.ask(HELLO, second)
    nxt = recording.ask([*HELLO, second, *results(second, "found")], assistant("x"))
    # Its words tell.
    assert number(nxt) == number(other)
    assert nxt.how in ("tokens", "messages")


def test_identifiers_that_are_counted_are_not_relied_on(recording):
    reply = assistant("", SEARCH)
    reply["tool_calls"][0]["id"] = "functions.search:0"
    recording.ask(HELLO, reply)
    nxt = recording.ask([user("Something else"), reply, *results(reply, "found")], assistant("x"))
    assert nxt.how == "unknown"


def test_a_result_of_an_unknown_call_has_no_tool(recording):
    reply = assistant("", SEARCH)
    recording.ask(HELLO, reply)
    stray = {"role": "tool", "tool_call_id": "chatcmpl-tool-elsewhere0000", "content": "?"}
    nxt = recording.ask([*HELLO, reply, *results(reply, "found"), stray], assistant("x"))
    assert nxt.tools == ("search", None)


def test_a_text_agents_results_count_if_a_setting_says_so():
    for text_results in (False, True):
        recording = Recording(text_results=text_results)
        reply = assistant("Action: search")
        root = recording.ask(HELLO, reply)
        nxt = recording.ask([*HELLO, reply, user("Observation: 4")], assistant("x"))
        assert number(nxt) == number(root)
        assert (nxt.round, nxt.is_after, nxt.tools) == (
            (1, True, (None,)) if text_results else (0, False, ())
        )


def test_token_prompts_are_linked_by_the_longest_known_sequence():
    recording = Recording()
    root = recording.ask([], "abc", raw="Q: ")
    other = recording.ask([], "ab", raw="Q: ")
    nxt = recording.ask([], "x", raw="Q: abc R: ")
    assert (number(nxt), nxt.how, nxt.is_after) == (number(root), "tokens", False)
    assert number(recording.ask([], "y", raw="Q: abd")) == number(other)
    assert recording.ask([], "z", raw="Other").trajectory.is_start
    assert len({number(root), number(other)}) == 2


def test_token_prompts_that_read_alike_have_no_parent():
    recording = Recording()
    recording.ask([], "abc", raw="Q: ")
    recording.ask([], "abc", raw="Q: ")
    nxt = recording.ask([], "x", raw="Q: abc R: ")
    assert (nxt.how, nxt.trajectory.is_start) == ("alike", False)


def test_what_goes_on_after_an_abort_is_no_turn_of_its_own():
    recording = Recording(text_results=True)
    root = recording.ask([], "ab", raw="Q: ", finish="abort")
    assert recording.ask([], "cd", raw="Q: ab") == []
    nxt = recording.ask([], "x", raw="Q: abcd R")
    assert (number(nxt), nxt.round) == (number(root), 1)


def test_a_request_without_a_token_is_no_turn(recording):
    assert recording.ask(HELLO, assistant("")) == []
    assert len(recording.lineage) == 0


def test_the_tables_are_bounded_and_emptied():
    recording = Recording(max_turns=10, max_age_s=100.0)
    for k in range(50):
        recording.ask([user(f"{k}")], assistant(f"reply {k}", SEARCH), session=f"{k % 20}")
        assert len(recording.lineage) <= 10
    assert recording.lineage.evicted == 40
    recording.server.clock += 1000.0
    recording.ask([user("late")], assistant("x"))
    lineage = recording.lineage
    assert (len(lineage), lineage.evicted) == (1, 50)
    known = lineage._known
    tables = (known._tokens, known._conversations, known._calls)
    assert [len(table) for table in tables] == [1, 1, 0]
    assert list(known._lengths) == [len(faithful([user("late")])) + 1]
    assert len(known._sessions) == 0


def test_a_forgotten_parent_is_unknown():
    recording = Recording(max_turns=2)
    reply = assistant("", SEARCH)
    recording.ask(HELLO, reply)
    for k in range(3):
        recording.ask([user(f"{k}")], assistant("x"))
    nxt = recording.ask([*HELLO, reply, *results(reply, "found")], assistant("end"))
    assert nxt.how == "unknown"
    assert (nxt.round, nxt.is_after, nxt.tools) == (1, True, ("search",))


def test_nothing_of_the_text_is_kept():
    server, secret = Server(), "the secret word"
    turn = server.turn([user(secret)], assistant(secret, ("search", secret)), session=secret)
    for part in (turn.conversation, turn.session, *(c.reply for c in turn.completions)):
        assert b"secret" not in msgspec.msgpack.encode(part)
    lineage = Lineage(server.digests)
    lineage.place(turn)
    assert "secret" not in repr(vars(lineage))


def test_digests_need_the_key():
    one, other = (read_conversation(HELLO, Digests(token), False).context for token in (b"a" * 32, b"b" * 32))
    assert one != other


@pytest.mark.parametrize(
    "messages", [[{"content": "no role"}], ["text"], [{"role": "assistant", "tool_calls": 3}]]
)
def test_what_are_no_messages_is_an_error(messages):
    with pytest.raises((TypeError, KeyError, AttributeError)):
        read_conversation(messages, Digests(b"k" * 32))
