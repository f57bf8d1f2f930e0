"""Several API servers, which a conversation's turns reach in turn, and engines of several ranks."""

import asyncio

import pytest
from served_agents import Books, Server, matched, recorded, together, worst_difference

pytestmark = pytest.mark.faults

KINDS = {
    "two API servers, tensor parallel": {"tensor-parallel-size": 2, "api-server-count": 2},
    "data parallel": {"data-parallel-size": 2},
}


@pytest.mark.parametrize("kind", KINDS)
def test_turns_are_linked_over_processes(kind, tmp_path, announced, served_oracle):
    server = Server(
        tmp_path / "entropies", tmp_path / "log", announced,
        environment={"VLLM_CPU_OMP_THREADS_BIND": "0|1"}, **KINDS[kind],
    )  # fmt: skip
    try:
        every = {}

        async def converse():
            # A connection for each request, so that the servers take turns.
            for k in range(24):
                books = Books(server.client())
                every[k] = books
            await asyncio.gather(*(books.converse(f"{k}") for k, books in every.items()))

        together(converse())
        status = server.ask("GET", "/v1/entropy/status")[1]
    finally:
        server.end()
    turns = {label: asked for books in every.values() for label, asked in books.turns.items()}
    trajectories = recorded(server.output)
    found = matched(turns, trajectories)
    assert len(found) == len(trajectories) == 24
    worst = worst_difference(turns, trajectories, found, *served_oracle)
    print(f"{kind}: {sum(map(len, turns.values()))} turns, largest difference {worst:.1e} nats")
    assert worst < 1e-4
    assert status["api_servers"] == 2
    assert status["failures"] == status["turns_dropped"] == 0
