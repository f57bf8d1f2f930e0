"""The books of one trajectory of an agent loop: what came right before each request, and what goes on."""

from arpo_entropy_recorder.live.trajectory import Books, Trajectory

PROMPT = [1, 2, 3]


def run(*turns, record_tokens=False):
    """Books after turns of (tokens appended, names parsed or None, names called, tokens generated)."""
    books, known = Books(Trajectory(1, False, "g"), record_tokens), []
    for number, (appended, parsed, called, generated) in enumerate(turns):
        if parsed is not None:
            books.parsed(parsed)
        for name in called:
            books.called(name)
        known = known + appended
        request = books.begin(f"k{number}", known)
        books.end(request, known, generated, policy_step=number)
        known = known + (generated or [])
    return books.trajectory.segments


def labels(segments):
    return [(s.round, s.is_after_tool_call, s.tools, s.unsure) for s in segments]


def test_calls_name_the_tools_of_a_turn():
    segments = run((PROMPT, None, [], [4]), ([5], ["search", "python"], [], [6]), ([7], ["search"], [], [8]))
    assert labels(segments) == [
        (0, False, (), False),
        (1, True, ("search", "python"), False),
        (2, True, ("search",), False),
    ]


def test_calls_that_the_loop_left_out_are_left_out():
    segments = run((PROMPT, None, [], [4]), ([5], ["search", "python"], ["search"], [6]))
    assert segments[1].tools == ("search",)


def test_text_without_a_call_is_not_after_a_tool():
    segments = run((PROMPT, None, [], [4]), ([5], ["a"], [], [6]), ([7], [], [], [8]), ([9], ["b"], [], [1]))
    assert [(s.round, s.is_after_tool_call) for s in segments] == [
        (0, False),
        (1, True),
        (1, False),
        (2, True),
    ]


def test_without_a_parser_a_result_has_no_tool():
    segments = run((PROMPT, None, [], [4]), ([5], None, [], [6]))
    assert labels(segments)[1] == (1, True, (None,), False)


def test_resumed_request_stays_one_segment():
    segments = run((PROMPT, None, [], [4, 5]), ([], None, [], []), ([], None, [], [6]), ([7], ["a"], [], [8]))
    assert [[r.key for r in s.requests] for s in segments] == [["k0", "k1", "k2"], ["k3"]]
    assert segments[0].num_tokens == 3
    assert labels(segments)[1] == (1, True, ("a",), False)


def test_aborted_before_its_first_token_the_next_request_is_first():
    (segment,) = run((PROMPT, None, [], []), ([], None, [], [6]), record_tokens=True)
    assert segment.first_request.key == "k1"
    assert segment.first_request.policy_step == 1
    assert segment.token_ids == [6]


def test_failed_request_has_no_tokens():
    (segment,) = run((PROMPT, None, [], None))
    assert segment.num_tokens == 0
    assert segment.first_request is None


def test_names_that_are_text_are_not_kept():
    segments = run((PROMPT, None, [], [4]), ([5], ["my secret is 42", "ok.tool:v1/x", "x" * 65], [], [6]))
    assert segments[1].tools == (None, "ok.tool:v1/x", None)


def test_tokens_are_kept_only_if_recorded():
    assert run((PROMPT, None, [], [4, 5]))[0].token_ids == []
    assert run((PROMPT, None, [], [4, 5]), record_tokens=True)[0].token_ids == [4, 5]


def test_requests_at_the_same_time_are_unsure():
    books = Books(Trajectory(1, False, "g"))
    first, second = books.begin("a", PROMPT), books.begin("b", [9])
    books.end(first, PROMPT, [4])
    books.end(second, [9], [5])
    assert [s.unsure for s in books.trajectory.segments] == [True, True]


def test_a_request_of_a_tools_own_is_unsure():
    """As of a tool that asks the same client to sum up what it found."""
    books = Books(Trajectory(1, False, "g"))
    books.end(books.begin("a", PROMPT), PROMPT, [4])
    books.parsed(["search"])
    for key, prompt in (("b", [9, 9]), ("c", [*PROMPT, 4, 5])):
        books.end(books.begin(key, prompt), prompt, [6])
    assert [segment.unsure for segment in books.trajectory.segments] == [False, True, True]


def test_a_history_that_is_written_anew_after_a_call_is_sure():
    books = Books(Trajectory(1, False, "g"))
    books.end(books.begin("a", PROMPT), PROMPT, [4])
    books.parsed(["search"])
    books.begin("b", [*PROMPT, 8, 5])
    assert labels(books.trajectory.segments)[1] == (1, True, ("search",), False)


def test_a_history_that_drops_what_opened_the_turn_is_sure():
    """As templates do that take the thoughts out of past turns."""
    system, opener = list(range(20)), [70, 71, 72, 73]
    books, first = Books(Trajectory(1, False, "g")), [*system, *opener]
    books.end(books.begin("a", first), first, [4])
    books.parsed(["search"])
    books.begin("b", [*system, 70, 4, 5, *opener])
    assert labels(books.trajectory.segments)[1] == (1, True, ("search",), False)


def test_another_prompt_without_a_call_is_unsure():
    books = Books(Trajectory(1, False, "g"))
    books.end(books.begin("a", PROMPT), PROMPT, [4])
    books.end(books.begin("b", [7, 8]), [7, 8], [5])
    assert labels(books.trajectory.segments) == [(0, False, (), False), (0, False, (), True)]
