"""The seams of a server and the way to its recorder: real sockets, and stand-ins for vLLM's engine and server."""

import asyncio
import errno
import gc
import json
import sys
import tempfile
import threading
import time
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip("zmq", reason="ZeroMQ comes with vLLM: make test")

from arpo_entropy_recorder.live import source as source_module
from arpo_entropy_recorder.live.job import Job, new_local_address, new_token
from arpo_entropy_recorder.live.mark import MARK, child_mark, read_mark
from arpo_entropy_recorder.live.serve import channel as channel_module
from arpo_entropy_recorder.live.serve import chat as chat_module
from arpo_entropy_recorder.live.serve import front as front_module
from arpo_entropy_recorder.live.serve import recorder as recorder_module
from arpo_entropy_recorder.live.serve import seam as seam_module
from arpo_entropy_recorder.live.serve.channel import local_addresses
from arpo_entropy_recorder.live.serve.chat import recorded_chat
from arpo_entropy_recorder.live.serve.front import CHAT, Seam
from arpo_entropy_recorder.live.serve.recorder import Recorder
from arpo_entropy_recorder.live.serve.turns import Ask, seal
from arpo_entropy_recorder.recorder.settings import Settings
from arpo_entropy_recorder.step_files import write as write_module

VOCABULARY = 100


class Params:
    """What the seam reads of SamplingParams."""

    def __init__(self, kind="FINAL_ONLY", n=1, extra_args=None):
        self.n, self.extra_args = n, extra_args
        self.output_kind = SimpleNamespace(name=kind)


class Engine:
    """AsyncLLM as the seam sees it: gives out `replies` token by token and notes what it was given."""

    model_config = SimpleNamespace(model="/models/toy")
    version = "7"
    tokenizer = SimpleNamespace(get_vocab=lambda: dict.fromkeys(range(VOCABULARY)))

    def __init__(self, *replies):
        self.replies = replies
        self.marks, self.closed, self.fails_after = {}, 0, None

    async def generate(self, prompt, sampling_params, request_id, *, session_id=None):
        kind = sampling_params.output_kind.name
        self.marks[request_id] = sampling_params.extra_args
        try:
            longest = max(map(len, self.replies))
            for position in range(longest):
                await asyncio.sleep(0)
                if position == self.fails_after:
                    raise RuntimeError("the engine failed")
                outputs = []
                for index, reply in enumerate(self.replies):
                    is_last = position == len(reply) - 1
                    seen = {"DELTA": reply[position : position + 1], "CUMULATIVE": reply[: position + 1]}
                    if position < len(reply) and (kind != "FINAL_ONLY" or is_last):
                        outputs.append(
                            SimpleNamespace(
                                index=index,
                                token_ids=seen.get(kind, reply),
                                finish_reason="stop" if is_last else None,
                                weight_versions=[SimpleNamespace(version=self.version)] if is_last else None,
                            )
                        )
                if outputs:
                    yield SimpleNamespace(prompt_token_ids=prompt, outputs=outputs)
        finally:
            self.closed += 1


class Rig:
    """A recorder, and the wrapped method of an engine in the same process."""

    def __init__(self, directory, is_server=False, records=10**6, seconds=3600.0):
        self.job = Job(new_token(), new_local_address(), 1)
        self.recorder = Recorder(self.job, Settings(save_dir=directory), records=records, seconds=seconds)
        self.seam = Seam(self.job)
        self.seam.is_server = is_server
        self.generate = self.seam.generate(Engine.generate)
        self.directory = directory

    def key(self, engine, request_id):
        return read_mark(self.job.token, engine.marks[request_id])

    def records(self):
        """Everything that has come, written as step 1."""
        answer = self.seam.front().channel.ask(Ask("flush", 1))
        assert "error" not in answer, answer
        path = self.directory / "entropy_step_1.json"
        return json.loads(path.read_text()) if path.exists() else []

    def status(self):
        return self.seam.front().channel.ask(Ask("status"))

    def close(self):
        self.seam.front().channel.close()
        return self.recorder.close()


@pytest.fixture(autouse=True)
def no_engine(monkeypatch):
    """No worker sends values, and there is no vLLM to import."""
    monkeypatch.setattr(source_module, "WAIT_S", 0.01)
    monkeypatch.setattr(front_module, "_vllm_version", lambda: "0.32")


@pytest.fixture
def rig(tmp_path, monkeypatch):
    with tempfile.TemporaryDirectory() as path:
        monkeypatch.setattr(tempfile, "tempdir", path)
        made = Rig(tmp_path / "entropies")
        yield made
        made.close()


async def listen(stream, stop_after=None):
    """The outputs; with `stop_after`, that many, and then the generator is closed as a server does."""
    outputs = []
    async for output in stream:
        outputs.append(output)
        if len(outputs) == stop_after:
            break
    await stream.aclose()
    return outputs


@pytest.mark.parametrize("kind", ["DELTA", "CUMULATIVE", "FINAL_ONLY"])
def test_each_kind_of_output_is_followed(rig, kind):
    engine, params = Engine([5, 6, 7]), Params(kind)
    outputs = asyncio.run(listen(rig.generate(engine, [1, 2], params, "a")))
    assert [output.outputs[0].token_ids for output in outputs] == {
        "DELTA": [[5], [6], [7]], "CUMULATIVE": [[5], [5, 6], [5, 6, 7]], "FINAL_ONLY": [[5, 6, 7]]
    }[kind]  # fmt: skip
    # It goes on from all of it.
    asyncio.run(listen(rig.generate(Engine([9]), [1, 2, 5, 6, 7, 8], Params(kind), "b")))
    first, second = rig.records()
    assert first["trajectory"] == second["trajectory"]
    assert first["policy_step"] == 7
    assert engine.closed == 1


def test_the_callers_parameters_are_left_as_they_are(rig):
    engine, params = Engine([5]), Params(extra_args={"own": 1, MARK: "a client's"})
    asyncio.run(listen(rig.generate(engine, [1], params, "a")))
    assert params.extra_args == {"own": 1, MARK: "a client's"}
    assert engine.marks["a"]["own"] == 1
    assert rig.key(engine, "a") is not None


def test_two_requests_of_one_name_have_marks_of_their_own(rig):
    engines = [Engine([5] * 3), Engine([6] * 3)]

    async def both():
        await asyncio.gather(*(listen(rig.generate(engine, [1], Params(), "mine")) for engine in engines))

    asyncio.run(both())
    keys = {rig.key(engine, "mine") for engine in engines}
    assert len(keys - {None}) == 2
    assert len({record["trajectory"] for record in rig.records()}) == 2


def test_completions_of_one_request_have_marks_of_their_own(rig):
    engine = Engine([5, 6], [7], [8, 9])
    asyncio.run(listen(rig.generate(engine, [1], Params(n=3), "a")))
    parent = rig.key(engine, "a")
    info = rig.seam.child_info(lambda request, index: (f"{index}_a", request.params))
    request = SimpleNamespace(params=Params(extra_args=engine.marks["a"]))
    children = [info(request, index) for index in range(3)]
    assert [child_id for child_id, _ in children] == ["0_a", "1_a", "2_a"]
    keys = [read_mark(rig.job.token, params.extra_args) for _, params in children]
    assert keys == [child_mark(rig.job.token, parent, index)[0] for index in range(3)]
    assert len({*keys, parent}) == 4
    assert read_mark(rig.job.token, request.params.extra_args) == parent
    assert len(rig.records()) == 3


def test_an_unmarked_requests_children_stay_unmarked(rig):
    params = Params(extra_args={"own": 1})
    assert rig.seam.child_info(lambda request, index: ("0_a", params))(None, 0) == ("0_a", params)


@pytest.mark.parametrize("how", ["closed", "cancelled", "dropped"])
def test_a_client_that_goes_away_leaves_nothing_open(rig, how):
    engine = Engine([5] * 50)

    async def go():
        stream = rig.generate(engine, [1], Params("DELTA"), "a")
        if how == "closed":
            await listen(stream, stop_after=3)
            return
        task = asyncio.create_task(listen(stream)) if how == "cancelled" else None
        if task is None:
            await anext(stream)
            del stream
            gc.collect()
            await asyncio.sleep(0.01)
            return
        while not engine.marks:
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(go())
    assert engine.closed == 1
    assert len(rig.records()) == 1


@pytest.mark.parametrize(("others", "told"), [(["7"], 7), (["7", "8"], None)], ids=["alone", "of one name"])
def test_a_reply_that_is_cut_off_has_its_first_tokens_version(rig, others, told):
    engine = Engine([5] * 50)
    states = {
        f"a-{version}": SimpleNamespace(request_index=0, weight_version_starts=[(version, 0), ("9", 2)])
        for version in others
    } | {"a-child": SimpleNamespace(request_index=1, weight_version_starts=[("3", 0)])}
    engine.output_processor = SimpleNamespace(external_req_ids={"a": list(states)}, request_states=states)
    asyncio.run(listen(rig.generate(engine, [1], Params("DELTA"), "a"), stop_after=3))
    (record,) = rig.records()
    assert record.get("policy_step") == told


def test_the_engines_error_reaches_the_caller(rig):
    engine = Engine([5, 6, 7])
    engine.fails_after = 1
    with pytest.raises(RuntimeError, match="the engine failed"):
        asyncio.run(listen(rig.generate(engine, [1], Params("DELTA"), "a")))
    assert engine.closed == 1
    assert len(rig.records()) == 1


@pytest.mark.parametrize("broken", ["open", "see", "end", "_tell"])
def test_a_seam_that_raises_costs_a_record_and_no_request(rig, broken, monkeypatch, caplog):
    rig.seam.front()
    owner = front_module.Front if broken == "open" else front_module.OpenTurn

    def fails(*args, **kwargs):
        raise RuntimeError("broken on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(owner, broken, fails)
        for name in "ab":
            outputs = asyncio.run(listen(rig.generate(Engine([5, 6]), [1], Params("DELTA"), name)))
            assert [output.outputs[0].token_ids for output in outputs] == [[5], [6]]
    asyncio.run(listen(rig.generate(Engine([5]), [2], Params(), "c")))
    assert len(rig.records()) == 1
    assert rig.status()["failures"] >= 2
    assert caplog.text.count("requests are served, and this is said once") == 1


def test_without_a_recorder_requests_are_served(rig):
    rig.recorder.close()
    start = time.monotonic()
    for number in range(50):
        asyncio.run(listen(rig.generate(Engine([5]), [1], Params(), f"{number}")))
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("limit", [{"records": 2}, {"seconds": 0.1}], ids=["records", "seconds"])
def test_a_file_is_written_without_a_flush(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(recorder_module, "HOLD_S", 0.0)
    with tempfile.TemporaryDirectory() as path:
        monkeypatch.setattr(tempfile, "tempdir", path)
        rig = Rig(tmp_path / "entropies", **limit)
        for name in "ab":
            asyncio.run(listen(rig.generate(Engine([5]), [1], Params(), name)))
        deadline = time.monotonic() + 60
        while not list(rig.directory.glob("entropy_step_*.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(rig.directory.glob("entropy_step_*.json"))
        assert rig.close()["records"] == 2


def full_disk(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_a_full_disk_does_not_take_is_told_and_waits(rig, monkeypatch, caplog):
    monkeypatch.setattr(recorder_module, "FLUSH_INTERVAL_S", 0.0)
    asyncio.run(listen(rig.generate(Engine([5]), [1], Params(), "a")))
    with monkeypatch.context() as patch:
        patch.setattr(write_module, "write_file", full_disk)
        answer = rig.seam.front().channel.ask(Ask("flush", 1))
        assert (answer["code"], answer["steps"]) == (503, [1])
        assert "wait in memory: 1" in answer["error"]
        assert rig.status()["records_unwritten"] == 1
    assert "No space left on device" in caplog.text
    assert len(rig.records()) == 1
    status = rig.status()
    assert (status["records"], status["records_unwritten"], status["failures"]) == (1, 0, 0)


def test_what_is_never_written_is_counted_at_the_end(rig, monkeypatch, caplog):
    for name in "ab":
        asyncio.run(listen(rig.generate(Engine([5]), [1], Params(), name)))
    with monkeypatch.context() as patch:
        patch.setattr(write_module, "write_file", full_disk)
        assert rig.close()["records_unwritten"] == 2
    assert caplog.text.count("could not be written and are lost") == 1


def test_a_flush_is_taken_once_a_second(rig):
    asyncio.run(listen(rig.generate(Engine([5]), [1], Params(), "a")))
    rig.records()
    channel = rig.seam.front().channel
    assert channel.ask(Ask("flush"))["code"] == 429


def test_a_flush_waits_for_turns_that_are_not_told_yet(rig, monkeypatch):
    """Else they would go into the next step."""
    channel, may_go_on = rig.seam.front().channel, threading.Event()
    channel.put(lambda: may_go_on.wait(60) and None, 0)
    asyncio.run(listen(rig.generate(Engine([5]), [1], Params(), "a")))
    with monkeypatch.context() as patch:
        patch.setattr(channel_module, "DRAIN_S", {"flush": 0.2, "status": 0.2})
        with pytest.raises(TimeoutError, match="flush again"):
            channel.ask(Ask("flush", 1))
        assert rig.status()["turns"] == 0
    threading.Timer(0.5, may_go_on.set).start()
    assert len(rig.records()) == 1


def test_turns_that_find_no_room_are_told_of(rig, monkeypatch, caplog):
    channel, may_go_on = rig.seam.front().channel, threading.Event()
    channel.put(lambda: may_go_on.wait(60) and None, 0)
    monkeypatch.setattr(channel_module, "MAX_BYTES_WAITING", 40)
    for name in "abcd":
        asyncio.run(listen(rig.generate(Engine([5]), [1], Params(), name)))
    may_go_on.set()
    assert len(rig.records()) == 2, "of 16 bytes each"
    assert rig.status()["turns_dropped"] == 2
    assert caplog.text.count("turns are dropped") == 1


def test_questions_without_end_do_not_hold_the_recorder():
    answers = []

    class Asks:
        def poll(self, milliseconds):
            assert len(answers) < 1000
            return True

        def recv(self, flags):
            return seal(b"k" * 32, Ask("status"))

        send = answers.append

    asked = SimpleNamespace(
        _asks=Asks(), _job=SimpleNamespace(token=b"k" * 32), _answer_to=None,
        boundary=SimpleNamespace(run=lambda *action: (True, {})),
    )  # fmt: skip
    Recorder._answer(asked)
    assert len(answers) == recorder_module.MAX_ANSWERS


def test_what_is_not_of_the_job_is_refused(rig):
    import zmq

    for kind, address in zip((zmq.PUSH, zmq.REQ), local_addresses(rig.job), strict=True):
        with zmq.Context().socket(kind) as socket:
            socket.connect(address)
            socket.send(b"x" * 100)
            if kind == zmq.REQ:
                assert json.loads(socket.recv())["code"] == 400
    assert rig.status()["messages_refused"] == 2


# The server's chat completions.


class Chat:
    """OpenAIServingChat: asks the engine, and answers as a whole or in parts."""

    def __init__(self, rig, engine, message, is_stream=False):
        self.generate, self.engine, self.message, self.is_stream = rig.generate, engine, message, is_stream

    async def create_chat_completion(self, request, raw_request=None):
        prompt = [ord(c) for c in json.dumps(json.loads(raw_request._body)["messages"])]
        stream = self.generate(
            self.engine, prompt, Params("DELTA" if self.is_stream else "FINAL_ONLY"), "same",
            session_id=self.session,
        )  # fmt: skip
        if self.is_stream:
            return self._stream(stream)
        await listen(stream)
        calls = [
            SimpleNamespace(id=call["id"], function=SimpleNamespace(**call["function"]))
            for call in self.message.get("tool_calls", ())
        ]
        message = SimpleNamespace(content=self.message["content"], tool_calls=calls)
        return SimpleNamespace(choices=[SimpleNamespace(index=0, message=message)])

    async def _stream(self, stream):
        async for _ in stream:
            pass
        deltas = [{"role": "assistant", "content": ""}, {"content": self.message["content"]}]
        for index, call in enumerate(self.message.get("tool_calls", ())):
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            deltas.append({"tool_calls": [{"index": index, "id": call["id"], "function": {"name": name}}]})
            deltas += [{"tool_calls": [{"index": index, "function": {"arguments": c}}]} for c in arguments]
        for delta in deltas:
            # As vLLM's: only what JSON must escape is escaped.
            data = json.dumps({"choices": [{"index": 0, "delta": delta}]}, ensure_ascii=False)
            yield f"data: {data}\n\n"
        yield "data: [DONE]\n\n"


def raw_request(body, headers):
    return SimpleNamespace(_body=json.dumps(body).encode(), headers=headers)


@pytest.fixture
def create(tmp_path, monkeypatch):
    with tempfile.TemporaryDirectory() as path:
        monkeypatch.setattr(tempfile, "tempdir", path)
        rig = Rig(tmp_path / "entropies", is_server=True)
        wrapped = recorded_chat(rig.seam, Chat, Chat.create_chat_completion)

        def ask(messages, reply, is_stream=False, request=None, cls=Chat, more=None, session=None, **headers):
            server = cls(rig, Engine([5, 6]), reply, is_stream)
            server.session = session

            async def go():
                result = await wrapped(
                    server, request, raw_request({"messages": messages} | (more or {}), headers)
                )
                assert CHAT.get() is None
                return [chunk async for chunk in result] if is_stream else result

            return asyncio.run(go())

        ask.rig = rig
        yield ask
        rig.close()


CALL = {
    "role": "assistant",
    "content": "Let me see.",
    "tool_calls": [
        {"id": "chatcmpl-tool-0123456789abcdef", "function": {"name": "search", "arguments": '{"q": "x"}'}}
    ],
}
USER = [{"role": "user", "content": "Which river?"}]
RESULT = {"role": "tool", "tool_call_id": CALL["tool_calls"][0]["id"], "content": "found"}


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
def test_a_conversation_is_followed(create, is_stream):
    first = create(USER, CALL, is_stream)
    assert len(first) == 14 if is_stream else first.choices
    create([*USER, CALL, RESULT], {"role": "assistant", "content": "The Danube."}, is_stream)
    start, after = create.rig.records()
    assert (start["trajectory"], start["round"], start["tool"]) == (0, 0, None)
    assert (after["trajectory"], after["round"], after["tool"]) == (0, 1, "search")
    assert create.rig.status()["linked_by"] == {"start": 1, "calls": 1}


@pytest.mark.parametrize(
    "odd", ["\u2028", "\u2029", "\x85", "\x1c", "\r\n", "\U0001f600", "data: "], ids=ascii
)
def test_odd_characters_of_a_stream_are_words(create, odd):
    reply = {"role": "assistant", "content": f"a{odd}b"}
    create(USER, reply, True)
    create([*USER, reply, {"role": "user", "content": "And?"}], CALL, True)
    assert len(create.rig.records()) == 2
    status = create.rig.status()
    assert (status["linked_by"], status["failures"]) == ({"start": 1, "messages": 1}, 0)


def test_a_body_that_only_python_reads_is_recorded(create):
    create(USER, CALL, more={"metadata": {"score": float("nan")}})
    assert len(create.rig.records()) == 1
    assert create.rig.status()["failures"] == 0


def test_a_long_body_takes_room(create, monkeypatch):
    """As of an agent that sends pictures."""
    monkeypatch.setattr(channel_module, "MAX_BYTES_WAITING", 10_000)
    for size in (10, 20_000):
        create([{"role": "user", "content": "."}], CALL, more={"picture": "x" * size})
    assert len(create.rig.records()) == 1
    assert create.rig.status()["turns_dropped"] == 1


def test_messages_are_not_read_on_the_event_loop(create, monkeypatch):
    readers = []
    for name in ("read_conversation", "read_reply"):
        original = getattr(chat_module, name)

        def noted(*args, original=original):
            readers.append(threading.current_thread())
            return original(*args)

        monkeypatch.setattr(chat_module, name, noted)
    create(USER, CALL)
    assert len(create.rig.records()) == 1
    assert len(readers) == 2
    assert threading.main_thread() not in readers


def test_a_session_is_one_of_its_api_key(create):
    edited = [*USER, {"role": "assistant", "content": "Shorter."}, *USER]
    create(
        USER, {"role": "assistant", "content": "Long."}, **{"x-session-id": "s", "authorization": "Bearer a"}
    )
    create(
        edited, {"role": "assistant", "content": "x"}, **{"x-session-id": "s", "authorization": "Bearer b"}
    )
    create(
        edited, {"role": "assistant", "content": "x"}, **{"x-session-id": "s", "authorization": "Bearer a"}
    )
    create.rig.records()
    assert create.rig.status()["linked_by"] == {"start": 1, "unknown": 1, "session": 1}


def test_the_engines_session_is_one_of_its_api_key(create):
    edited = [*USER, {"role": "assistant", "content": "Shorter."}, *USER]
    reply = {"role": "assistant", "content": "Long."}
    for messages, key in ((USER, "a"), (edited, "b"), (edited, "a")):
        create(messages, reply, session="s", authorization=f"Bearer {key}")
    create.rig.records()
    assert create.rig.status()["linked_by"] == {"start": 1, "unknown": 1, "session": 1}


def test_a_clients_step_is_the_records(create, monkeypatch):
    monkeypatch.setattr(Engine, "version", "default")
    for step in ("4", "5", "-1", "a", "9" * 16):
        create(USER, CALL, **{"x-entropy-step": step})
    answer = create.rig.seam.front().channel.ask(Ask("flush"))
    assert answer == {"steps": [1, 4, 5], "records": 5}


def test_other_requests_are_served_and_counted(create):
    class Anthropic(Chat):
        pass

    create(USER, CALL, cls=Anthropic)
    create(USER, CALL, request=SimpleNamespace(use_beam_search=True))
    asyncio.run(listen(create.rig.generate(Engine([5]), [1], Params(), "completion")))
    assert create.rig.records() == []
    assert create.rig.status()["not_recorded"] == {"no chat completion": 3}


def test_messages_that_cannot_be_read_are_served_and_counted(create):
    assert create([{"role": "assistant", "tool_calls": 3}], CALL).choices
    assert create.rig.records() == []
    assert create.rig.status()["failures"] == 1


def test_no_text_is_in_the_directory(create):
    secret = "the secret word"
    create([{"role": "user", "content": secret}], {"role": "assistant", "content": secret})
    (record,) = create.rig.records()
    assert not {"tokens", "token_id"} & record.keys()
    for path in create.rig.directory.rglob("*"):
        assert secret.encode() not in path.read_bytes()


# Which methods are wrapped.


def vllm_like(monkeypatch, generate):
    """Modules with the names of vLLM's."""
    engine, children = ModuleType(seam_module.ENGINE), ModuleType(seam_module.CHILDREN)
    engine.AsyncLLM = type("AsyncLLM", (), {"generate": generate})
    children.ParentRequest = type("ParentRequest", (), {"get_child_info": lambda self, index: (self, index)})
    monkeypatch.setitem(sys.modules, seam_module.ENGINE, engine)
    monkeypatch.setitem(sys.modules, seam_module.CHILDREN, children)
    for name in (seam_module.CHAT, seam_module.ROUTER):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(seam_module, "_has_file", lambda name: True)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    return engine


@pytest.mark.parametrize("parameters", ["self, request", "self, prompt, params, request_id"])
def test_a_signature_that_is_not_known_is_refused_in_one_line(rig, monkeypatch, caplog, parameters):
    made = {}
    exec(f"async def generate({parameters}): yield", made)
    engine = vllm_like(monkeypatch, made["generate"])
    seam_module.install(rig.job)
    (record,) = caplog.records
    assert "not recording" in record.getMessage()
    assert engine.AsyncLLM.generate is made["generate"]


def test_a_known_signature_is_wrapped_once(rig, monkeypatch):
    engine = vllm_like(monkeypatch, Engine.generate)
    seam_module.install(rig.job)
    wrapped = engine.AsyncLLM.generate
    assert wrapped.__wrapped__ is Engine.generate
    seam_module.install(rig.job)
    assert engine.AsyncLLM.generate is wrapped


def test_the_rust_front_end_is_refused_in_one_line(rig, monkeypatch, caplog):
    engine = vllm_like(monkeypatch, Engine.generate)
    monkeypatch.setenv(seam_module.RUST, "1")
    seam_module.install(rig.job)
    (record,) = caplog.records
    assert "Rust front end" in record.getMessage()
    assert engine.AsyncLLM.generate is Engine.generate


# The server's routes.


@pytest.mark.parametrize(
    ("host", "has_key", "status"),
    [("127.0.0.1", False, 200), ("::1", False, 200), ("10.0.0.7", False, 403), ("10.0.0.7", True, 200)],
)
def test_without_a_key_the_routes_are_this_machines(rig, host, has_key, status):
    from fastapi import APIRouter, FastAPI

    from arpo_entropy_recorder.live.serve.routes import KEY_CHECK, add_routes

    router, app, sent = APIRouter(), FastAPI(), []
    add_routes(router, rig.seam)
    app.include_router(router)
    if has_key:
        app.user_middleware.append(SimpleNamespace(cls=type(KEY_CHECK, (), {})))

    async def ask():
        scope = {
            "type": "http", "method": "GET", "path": "/v1/entropy/status", "query_string": b"", "headers": [],
            "client": (host, 5), "server": ("127.0.0.1", 80), "scheme": "http", "root_path": "", "app": app,
        }  # fmt: skip

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            sent.append(message)

        await app.router(scope, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == status
