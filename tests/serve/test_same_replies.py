"""The same requests at once to `arpo-entropy serve` and to vLLM's own server: every reply is the same."""

import asyncio

import pytest
from served_agents import TOOLS, Server, together

pytestmark = pytest.mark.faults

# vLLM 0.32's CPU engine dies when the prefill of a seeded request is chunked.
OPTIONS = {"max-num-batched-tokens": 4096, "max-num-seqs": 16, "num-gpu-blocks-override": 256}
KINDS = {
    "greedy": {"temperature": 0.0},
    "seeded": {"temperature": 1.0},
    "streamed": {"temperature": 1.0, "stream": True},
    "choices": {"temperature": 1.0, "n": 3},
}
REQUESTS = [(kind, seed) for kind in KINDS for seed in range(10)]


async def ask(client, kind, seed):
    """What a client gets, without what is random: {choice: (token ids, text, calls, why it ended)}."""
    messages = [{"role": "user", "content": f"Question {seed % 5}? " + "Why? " * seed}]
    reply = await client.chat.completions.create(
        model="toy", messages=messages, tools=TOOLS, seed=seed, max_tokens=60,
        extra_body={"return_token_ids": True}, **KINDS[kind],
    )  # fmt: skip
    if not KINDS[kind].get("stream"):
        return {
            choice.index: (
                choice.token_ids,
                choice.message.content,
                [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()],
                choice.finish_reason,
            )
            for choice in reply.choices
        }
    tokens, text, calls, ended = [], "", {}, None
    async for chunk in reply:
        for choice in chunk.choices:
            tokens += getattr(choice, "token_ids", None) or []
            text += choice.delta.content or ""
            ended = choice.finish_reason or ended
            for call in choice.delta.tool_calls or ():
                name, arguments = calls.get(call.index, ("", ""))
                calls[call.index] = (
                    name + (call.function.name or ""),
                    arguments + (call.function.arguments or ""),
                )
    return {0: (tokens, text, list(calls.values()), ended)}


def replies(server, requests):
    """{request: what a client gets}, all asked at once."""

    async def all_at_once():
        async with server.client() as client:
            return await asyncio.gather(*(ask(client, *request) for request in requests))

    (answers,) = together(all_at_once())
    return dict(zip(requests, answers, strict=True))


def test_replies_are_those_of_a_server_without_us(tmp_path, announced):
    servers = []
    try:
        for output in (tmp_path / "entropies", None):
            log = tmp_path / ("with" if output else "without")
            servers.append(Server(output, log, announced, **OPTIONS))
        ours, plain = (replies(server, REQUESTS) for server in servers)
        different = [request for request in REQUESTS if ours[request] != plain[request]]
        # Two numbers that differ by a rounding, in another batch, may fall on two sides: asked alone none does.
        assert len(different) <= 1, different
        for request in different:
            alone, plain_alone = (replies(server, [request]) for server in servers)
            assert alone == plain_alone
        status, told = servers[0].ask("GET", "/v1/entropy/status")
        assert servers[1].ask("GET", "/v1/entropy/status")[0] == 404
    finally:
        ends = [server.end() for server in servers]
    assert status == 200
    assert (told["turns"], told["failures"], told["turns_dropped"]) == (len(REQUESTS), 0, 0)
    assert ends[0] == 0
    tokens = sum(len(choice[0]) for reply in plain.values() for choice in reply.values())
    print(f"{len(REQUESTS)} requests, {tokens} tokens, {len(different)} differed in a batch")
    assert tokens > len(REQUESTS)
    assert {choice[3] for reply in plain.values() for choice in reply.values()} >= {"tool_calls"}
