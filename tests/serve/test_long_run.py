"""A server's long run: thousands of requests, whole, streamed and left, and no process of it grows."""

import asyncio
import os

import psutil
import pytest
from own_process import BOUNDED
from served_agents import Server, recorded, together
from summary_line import Summary

pytestmark = pytest.mark.faults

REQUESTS = int(os.environ.get("ARPO_SERVE_SOAK_REQUESTS", "2000"))
AT_ONCE = 32
GROWTH_MB = 20.0
OPTIONS = {"max-num-seqs": AT_ONCE, "max-num-batched-tokens": 512, "num-gpu-blocks-override": 256}


def megabytes(server):
    """{process: resident memory} of the recorder, the API server and the engine."""
    recorder = psutil.Process(server.process.pid)
    (api,) = recorder.children()
    engine = max(api.children(recursive=True), key=lambda process: process.memory_info().rss)
    processes = {"recorder": recorder, "API server": api, "engine": engine}
    return {name: process.memory_info().rss / 1e6 for name, process in processes.items()}


async def one(client, number):
    """One request; one in eight is streamed, and left after some words. Returns whether it got any."""
    words = {
        "model": "toy",
        "messages": [{"role": "user", "content": f"{number}? " + "Why? " * (number % 20)}],
    }
    length = {"max_tokens": 8 + number % 24, "extra_body": {"ignore_eos": True}}
    if number % 8:
        await client.chat.completions.create(**words, **length)
        return
    stream = await client.chat.completions.create(**words, **length, stream=True)
    seen = 0
    async for chunk in stream:
        seen += bool(chunk.choices and chunk.choices[0].delta.content)
        if seen > number % 5:
            break
    await stream.close()


def test_thousands_of_requests_leave_nothing_behind(tmp_path, announced, capsys):
    server = Server(
        tmp_path / "entropies", tmp_path / "log", announced, "--file-records", "200", environment=BOUNDED, **OPTIONS
    )  # fmt: skip
    memory = []
    try:

        async def run():
            client, numbers = server.client(), iter(range(REQUESTS))

            async def agent():
                for number in numbers:
                    await one(client, number)
                    if number % (REQUESTS // 50) == 0:
                        memory.append((number, megabytes(server)))

            await asyncio.gather(*(agent() for _ in range(AT_ONCE)))

        together(run())
        server.flush()
        status = server.ask("GET", "/v1/entropy/status")[1]
    finally:
        end = server.end()
    found = sum(map(len, recorded(server.output).values()))
    without = status["not_recorded"].get("no tokens", 0)
    warm = [sizes for number, sizes in memory if number >= REQUESTS // 5]
    growth = {name: max(sizes[name] for sizes in warm) - warm[0][name] for name in warm[0]}
    summary = Summary("server soak", attempts=REQUESTS, survivors=REQUESTS, expected=REQUESTS - without)
    summary.found = found
    grown = ", ".join(f"{name} {mb:+.1f} MB" for name, mb in growth.items())
    summary.note = f"; {grown}, {status['nulls']} null, lost {status['values']['lost']}"
    summary.show(capsys)
    assert end == 0
    assert found == status["records"] == REQUESTS - without
    assert (status["nulls"], status["failures"], status["turns_dropped"]) == (0, 0, 0)
    assert max(growth.values()) < GROWTH_MB
