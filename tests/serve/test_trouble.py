"""One server to which things happen: new weights with replies under way, clients that go away, a hook that raises,
a disk that takes no more, and bodies that are no JSON. It serves on, and nothing wrong is written."""

import asyncio
import json
import os
import resource
from pathlib import Path

import pytest
from served_agents import KEY, Books, Server, matched, recorded, together, worst_difference
from served_breaker import announce_breaker

pytestmark = pytest.mark.faults

LONG = {"max_tokens": 900, "extra_body": {"ignore_eos": True}}
ASIDE = {"role": "user", "content": "Tell me all."}
# As much as the log may still grow on a full disk, and less than the records that are to be written there.
ROOM = 32_000


@pytest.fixture(scope="module")
def new_weights(tmp_path_factory):
    """The toy with other weights: every logit is a fifth lower."""
    from safetensors.numpy import load_file, save_file

    from arpo_entropy_recorder.rollout.toy_server import build_toy_server

    directory = build_toy_server(tmp_path_factory.mktemp("new_weights"))
    path = directory / "model.safetensors"
    weights = load_file(path)
    weights["lm_head.weight"] = weights["lm_head.weight"] * 0.8
    save_file(weights, path, metadata={"format": "pt"})
    return directory


@pytest.fixture(scope="module")
def new_oracle(new_weights, served_oracle):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(new_weights).float().eval(), served_oracle[1]


async def begin(client):
    """A long streamed reply, once its first words are there."""
    stream = await client.chat.completions.create(model="toy", messages=[ASIDE], stream=True, **LONG)
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            return stream
    raise AssertionError("the reply has no words")


async def until_end(stream):
    """Why it ended."""
    ended = None
    async for chunk in stream:
        for choice in chunk.choices:
            ended = choice.finish_reason or ended
    return ended


def update_weights(server, version, path=None):
    """As a trainer does: what is under way is aborted, the weights change, and their version with them."""
    assert server.ask("POST", "/pause?mode=abort")[0] == 200
    if path is not None:
        reload = {"method": "reload_weights", "kwargs": {"weights_path": str(path)}}
        assert server.ask("POST", "/collective_rpc", body=reload)[0] == 200
    assert server.ask("POST", "/update_weight_version", body={"new_version": version})[0] == 200
    assert server.ask("POST", "/resume")[0] == 200


async def weights(server, seen, new_weights):
    """Conversations of two policies; between them replies that clients leave, and that the update cuts off."""
    update_weights(server, "3")
    books = seen["books"]["3"] = Books(server.client())
    await asyncio.gather(*(books.converse(f"old {k}") for k in range(8)))
    left = await asyncio.gather(*(begin(server.client()) for _ in range(3)))
    for stream in left:
        await stream.close()
    aborted = await asyncio.gather(*(begin(server.client()) for _ in range(3)))
    ends = [asyncio.create_task(until_end(stream)) for stream in aborted]
    await asyncio.to_thread(update_weights, server, "4", new_weights)
    seen["ends"] = await asyncio.gather(*ends)
    books = seen["books"]["4"] = Books(server.client())
    await asyncio.gather(*(books.converse(f"new {k}") for k in range(8)))


async def ask_each(client, count, **more):
    """The token ids of a few replies."""
    replies = await asyncio.gather(
        *(
            client.chat.completions.create(
                model="toy", messages=[{"role": "user", "content": f"{k}?"}], temperature=0, max_tokens=20,
                extra_body={"return_token_ids": True}, **more,
            )
            for k in range(count)
        )
    )  # fmt: skip
    return [reply.choices[0].token_ids for reply in replies]


async def ask_much(client):
    """160 replies of 100 tokens: more than ROOM in a file."""
    await asyncio.gather(
        *(
            client.chat.completions.create(
                model="toy", messages=[ASIDE], n=16, max_tokens=100, extra_body={"ignore_eos": True}
            )
            for _ in range(10)
        )
    )


def limit_files(server, room):
    """Have the recorder's process write no file beyond what its log has and `room`; None: no limit."""
    hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)[1]
    soft = hard if room is None else server.log.stat().st_size + room
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def run(tmp_path_factory, announced, new_weights):
    folder = tmp_path_factory.mktemp("trouble")
    breaks = folder / "breaks"
    places = os.pathsep.join([str(announced), announce_breaker(folder / "breaker")])
    server = Server(
        folder / "entropies", folder / "log", places,
        environment={"BREAKS": str(breaks), "VLLM_SERVER_DEV_MODE": "1"},
        **{"api-key": KEY, "max-num-seqs": 32, "num-gpu-blocks-override": 1024},
    )  # fmt: skip
    seen = {"output": server.output, "books": {}}

    def status():
        return server.ask("GET", "/v1/entropy/status")[1]

    def part(*steps):
        return {
            step: json.loads((Path(server.output) / f"entropy_step_{step}.json").read_text())
            for step in steps
        }

    try:
        together(weights(server, seen, new_weights))
        seen["flushed"] = server.flush()
        seen["of weights"], seen["after weights"] = part(3, 4), status()

        seen["no json"] = [
            server.ask("POST", "/v1/chat/completions", body=body)[0]
            for body in (b"{", b'{"messages": 3}', b"\xff")
        ]
        seen["after no json"] = status()

        (seen["before break"],) = together(ask_each(server.client(), 5))
        breaks.touch()
        (seen["while broken"],) = together(ask_each(server.client(), 5))
        breaks.unlink()
        seen["after break"] = status()
        (seen["healed"],) = together(ask_each(server.client(), 5))
        server.flush("?step=10")
        seen["of break"] = part(10)

        limit_files(server, ROOM)
        together(ask_much(server.client()))
        seen["full"] = server.flush("?step=20")
        seen["status full"] = status()
        (seen["while full"],) = together(ask_each(server.client(), 5))
        limit_files(server, None)
        seen["with room"] = server.flush("?step=21")
        seen["of disk"] = part(20, 21)
        limit_files(server, ROOM)
        together(ask_much(server.client()))
    finally:
        seen["end"] = server.end()
    seen["trajectories"], seen["log"] = recorded(server.output), server.log.read_text()
    return seen


@pytest.mark.parametrize("version", ["3", "4"])
def test_entropies_are_those_of_the_steps_weights(run, version, served_oracle, new_oracle):
    turns = run["books"][version].turns
    found = matched(turns, run["trajectories"])
    oracles = {"3": served_oracle, "4": new_oracle}
    assert worst_difference(turns, run["trajectories"], found, *oracles.pop(version)) < 1e-4
    (other,) = oracles.values()
    assert worst_difference(turns, run["trajectories"], found, *other) > 1e-2
    for number in found.values():
        assert {record["global_step"] for record in run["trajectories"][number]} == {int(version)}


def test_cut_off_replies_are_in_the_step_of_their_weights(run):
    counts = {step: len(records) for step, records in run["of weights"].items()}
    asked = {version: sum(map(len, books.turns.values())) for version, books in run["books"].items()}
    assert counts == {3: asked["3"] + 3 + 3, 4: asked["4"]}
    assert run["flushed"][1]["steps"] == [3, 4]
    assert run["after weights"]["without_version"] == 0
    known = [turn["tokens"] for turns in run["books"]["3"].turns.values() for turn in turns]
    lengths = [len(record["tokens"]) for record in run["of weights"][3] if record["tokens"] not in known]
    print(f"{lengths} tokens of replies that were cut off, {run['ends']} where the client waited")
    assert len(lengths) == 6
    # The engine has stopped where the client has: a whole reply takes seconds.
    assert min(lengths) < LONG["max_tokens"]
    assert set(run["ends"]) <= {"abort", "length"}


def test_bodies_that_are_no_json_are_vllms_to_refuse(run):
    assert run["no json"] == [400, 400, 400]
    before, after = run["after weights"], run["after no json"]
    for count in ("turns", "failures", "not_recorded"):
        assert after[count] == before[count]


def test_a_hook_that_raises_costs_records_and_no_reply(run):
    assert run["before break"] == run["while broken"] == run["healed"]
    before, after = run["after no json"], run["after break"]
    assert after["failures"] - before["failures"] == 5
    assert after["not_recorded"].get("no tokens", 0) == 5
    assert run["log"].count("RuntimeError: broken on purpose") == 1
    assert run["log"].count("requests are served, and this is said once") == 1
    assert len(run["of break"][10]) == 5 + 5


def test_a_full_disk_costs_no_reply_and_is_waited_for(run):
    status, answer = run["full"]
    assert (status, answer["records"]) == (503, 160)
    assert "wait in memory: 160" in answer["error"]
    assert run["status full"]["records_unwritten"] == 160
    assert run["while full"] == run["healed"]
    assert run["with room"][0] == 200
    assert {step: len(records) for step, records in run["of disk"].items()} == {20: 160, 21: 5}


def test_what_is_lost_at_the_end_is_told(run):
    assert run["end"] == 0
    written = sum(map(len, run["trajectories"].values()))
    (last,) = [line for line in run["log"].splitlines() if "records in" in line]
    assert f"{written:,} records in" in last
    assert "; 160 are lost, as they could not be written" in last
    assert run["log"].count("could not be written and are lost") == 1
    # vLLM's own are of the bodies that are no JSON.
    ours = [line for line in run["log"].splitlines() if "Traceback" in line and "[validation.py" not in line]
    assert len(ours) == 1
