"""`arpo-entropy serve` with a real vLLM, an ordinary openai client, and what the client knows as the oracle."""

import asyncio
import json
import os
import stat

import pytest
from served_agents import (
    KEY,
    TOOLS,
    Books,
    Server,
    matched,
    recorded,
    results,
    together,
    worst_difference,
)

from arpo_entropy_recorder.cli import main
from arpo_entropy_recorder.rollout.toy_server import TEMPLATE

SECRET = "quetzalcoatl"
# Those of a window of one token.
FIGURES = ("effect", "rounds", "change", "steps", "heatmap", "tools")
# As Qwen3's: thoughts of earlier turns are dropped, and calls are written anew, with a space.
STRIPPING = TEMPLATE.replace(
    "{{ message.content or '' }}", "{{ (message.content or '').split('</think>')[-1].lstrip() }}"
).replace("arguments.q }}", "arguments.q }} ")
USER = {"role": "user", "content": "Branch?"}


async def hard_lineages(books):
    """Branches, choices, parallel sub-agents, edited and compacted histories; returns what cannot have a parent."""
    label, reply = await books.until_call("root", [USER])
    tool = reply["tool_calls"][0]["function"]["name"]
    after = [USER, reply, *results(reply)]
    told = {"round": 1, "tool": tool}
    await books.ask(label, after, **told)
    await asyncio.gather(*(books.ask(f"{label}>branch{k}", after, **told) for k in range(2)))
    await books.ask(f"{label}>other", [USER, reply, *results(reply, "something else")], **told)
    choices = await books.ask(f"{label}>n", after, n=3, **told)
    for index, choice in enumerate(choices):
        if choice.get("tool_calls"):
            name = choice["tool_calls"][0]["function"]["name"]
            await books.ask(f"{label}>n[{index}]", [*after, choice, *results(choice)], round=2, tool=name)
    await books.ask("sub-agent", [{"role": "system", "content": "Sum up."}, USER])
    edited = [USER, {"role": "assistant", "content": "Rewritten."}, {"role": "user", "content": "And?"}]
    await books.ask("edited", edited)
    session = {"extra_headers": {"X-Session-Id": "s"}}
    await books.ask("session", [{"role": "user", "content": "Long?"}], **session)
    await books.ask("session", [{"role": "user", "content": "Long?"}, edited[1], USER], **session)
    # One name for two requests at once.
    same = {"extra_headers": {"X-Request-Id": "mine"}}
    await asyncio.gather(
        *(books.ask(f"same{k}", [{"role": "user", "content": "x" * k}], **same) for k in (3, 50))
    )
    return label


async def streamed(books):
    """A streamed conversation, as agents with a screen have them, and a client that goes away."""
    client, messages = books.client, [{"role": "user", "content": "Stream?"}]
    stream = await client.chat.completions.create(
        model="toy", messages=messages, tools=TOOLS, stream=True, max_tokens=100
    )
    async for _ in stream:
        await stream.close()
        break
    for _ in range(60):
        text, calls, rid = "", {}, None
        stream = await client.chat.completions.create(
            model="toy", messages=messages, tools=TOOLS, stream=True, max_tokens=100
        )
        async for chunk in stream:
            for choice in chunk.choices:
                text += choice.delta.content or ""
                for call in choice.delta.tool_calls or ():
                    rid = call.id or rid
                    known = calls.setdefault(call.index, {"name": "", "arguments": ""})
                    known["name"] += call.function.name or ""
                    known["arguments"] += call.function.arguments or ""
        if calls:
            break
    reply = {
        "role": "assistant", "content": text,
        "tool_calls": [{"id": rid, "type": "function", "function": calls[0]}],
    }  # fmt: skip
    await books.ask("streamed", [*messages, reply, *results(reply)], round=1, tool=calls[0]["name"])


@pytest.fixture(scope="module")
def run(tmp_path_factory, announced):
    """All that the tests look at, of one server: the books by phase, answers, status, the directory, the log."""
    folder = tmp_path_factory.mktemp("served")
    server = Server(
        folder / "entropies", folder / "log", announced, "--trust-request-chat-template", **{"api-key": KEY}
    )
    seen = {"output": server.output, "books": {}}
    try:
        seen["without key"] = [
            server.ask(*route, key=None)[0]
            for route in (("POST", "/v1/entropy/flush"), ("GET", "/v1/entropy/status"))
        ]

        async def converse(name, template):
            books = Books(server.client(), template)
            await asyncio.gather(*(books.converse(f"{SECRET} {name} {k % 4} {k}") for k in range(12)))
            seen["books"][name] = books.turns

        together(converse("faithful", None))
        seen["flushed"] = server.ask("POST", "/v1/entropy/flush?step=12")
        seen["at once"] = server.ask("POST", "/v1/entropy/flush?step=13")[0]
        together(converse("stripping", STRIPPING))

        async def others():
            books = Books(server.client())
            seen["root"] = await hard_lineages(books)
            seen["books"]["hard"] = dict(books.turns)
            books = Books(server.client())
            await streamed(books)
            seen["books"]["streamed"] = books.turns
            seen["same words"] = [await greedy(books.client, k) for k in range(4)]

        together(others())
        seen["status"] = server.ask("GET", "/v1/entropy/status")
        seen["wrong step"] = server.ask("POST", "/v1/entropy/flush?step=x")[0]
        seen["while it runs"] = recorded(server.output)
        seen["drawn"] = {
            name: main(["plot", str(server.output), "-f", name, "-o", str(folder / f"{name}.png")])
            for name in FIGURES
        }
    finally:
        seen["end"] = server.end()
    seen["trajectories"], seen["log"] = recorded(server.output), server.log.read_text()
    return seen


async def greedy(client, k):
    """The words of a recorded request, and of one that is not recorded: they are those of the likeliest tokens."""
    reply = await client.chat.completions.create(
        model="toy", messages=[{"role": "user", "content": "Why? " * k}], temperature=0, max_tokens=40,
        extra_body={"return_token_ids": True},
    )  # fmt: skip
    plain = await client.completions.create(
        model="toy", prompt=reply.prompt_token_ids, temperature=0, max_tokens=40,
        extra_body={"return_token_ids": True},
    )  # fmt: skip
    return reply.choices[0].token_ids, plain.choices[0].token_ids


@pytest.mark.parametrize("template", ["faithful", "stripping"])
def test_every_turn_is_recorded_where_it_belongs(run, template, served_oracle):
    turns = run["books"][template]
    assert len(turns) == 12
    found = matched(turns, run["trajectories"])
    worst = worst_difference(turns, run["trajectories"], found, *served_oracle)
    print(f"{template}: {sum(map(len, turns.values()))} turns, largest difference {worst:.1e} nats")
    assert worst < 1e-4


def test_hard_lineages_are_right_or_null(run, served_oracle):
    turns, trajectories = run["books"]["hard"], run["trajectories"]
    found = matched({label: asked for label, asked in turns.items() if label != "edited"}, trajectories)
    assert worst_difference(turns, trajectories, found, *served_oracle) < 1e-4
    root = run["root"]
    branches = [label for label in turns if label.startswith(f"{root}>")]
    assert len(branches) == 6
    step = {label: trajectories[number][0] for label, number in found.items()}
    for label in branches:
        assert step[label]["parent_idx"] == step[root]["sample_idx"]
    for label in ("sub-agent", "same3", "same50", root):
        assert step[label]["parent_idx"] is None
        assert "mid_start" not in step[label]
    (edited,) = turns["edited"]
    (record,) = [r for rs in trajectories.values() for r in rs if r["tokens"] == edited["tokens"]]
    assert (record["parent_idx"], record["mid_start"]) == (None, True)


def test_a_streamed_turn_is_continued(run):
    (asked,) = run["books"]["streamed"]["streamed"]
    (records,) = [rs for rs in run["trajectories"].values() if rs[-1]["tokens"] == asked["tokens"]]
    assert [(r["round"], r["tool"]) for r in records] == [(0, None), (1, asked["tool"])]


def test_no_entropy_is_missing_and_none_is_wrong(run):
    status, answer = run["status"]
    assert status == 200
    assert (answer["failures"], answer["turns_dropped"], answer["nulls"]) == (0, 0, 0)
    assert answer["not_recorded"] == {"no chat completion": 4}
    assert answer["values"]["workers"]
    assert all(
        record["entropy"] is not None for records in run["trajectories"].values() for record in records
    )


def test_replies_are_those_of_an_unrecorded_request(run):
    for recorded_words, plain in run["same words"]:
        assert recorded_words == plain


def test_the_routes_ask_for_the_servers_key(run):
    assert run["without key"] == [401, 401]


def test_a_flush_writes_the_step_that_it_names(run):
    status, answer = run["flushed"]
    assert (status, answer["steps"]) == (200, [12])
    assert answer["records"] == sum(map(len, run["books"]["faithful"].values()))
    assert run["at once"] == 429
    assert run["wrong step"] == 400
    assert sum(map(len, run["while it runs"].values())) >= answer["records"]


def test_sigterm_writes_everything(run):
    assert run["end"] == 0
    asked = sum(len(turns) for books in run["books"].values() for turns in books.values())
    assert sum(map(len, run["trajectories"].values())) >= asked + len(run["same words"])
    assert f"{sum(map(len, run['trajectories'].values())):,} records in" in run["log"]


def test_the_log_has_no_traceback_and_no_secret(run):
    assert "entropy recorder: not recording" not in run["log"]
    assert "recorder failed" not in run["log"]
    for secret in (SECRET, KEY):
        assert secret not in run["log"]


def test_files_are_private_and_hold_no_words(run):
    files = [path for path in run["output"].rglob("*") if path.is_file()]
    assert len(files) > 3
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert SECRET.encode() not in path.read_bytes()


def test_the_commands_read_what_was_written(run, capsys):
    assert main(["stats", "--json", str(run["output"])]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told
    assert main(["report", str(run["output"]), "-o", os.fspath(run["output"].parent / "page.html")]) == 0


def test_figures_are_drawn_while_it_runs(run):
    assert run["drawn"] == dict.fromkeys(FIGURES, 0)
    for name in FIGURES:
        assert (run["output"].parent / f"{name}.png").stat().st_size > 10_000
