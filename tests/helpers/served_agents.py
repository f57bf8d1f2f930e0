"""A real server of the toy agent, and agents with an ordinary client that keep their books."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from pathlib import Path

from own_process import environment_with

KEY = "a-secret-api-key"
START_S, END_S = 900.0, 300.0
PARAMETERS = {"type": "object", "properties": {"q": {"type": "string"}}}
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": PARAMETERS}}
    for name in ("search", "python")
]
OPTIONS = {
    "dtype": "float32",
    "max-model-len": 1024,
    "max-num-seqs": 6,
    # So few that prefills are chunked and requests preempted.
    "max-num-batched-tokens": 96,
    "block-size": 32,
    "num-gpu-blocks-override": 40,
    "gpu-memory-utilization": 0.1,
    "seed": 0,
}


class Server:
    """The command in a process of its own, or without an output vLLM's own one. `end` sends it SIGTERM."""

    def __init__(self, output, log, plugged_in, *words, environment=None, **options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.output, self.log = output and Path(output), Path(log)
        given = {**OPTIONS, **{name.replace("_", "-"): value for name, value in options.items()}}
        pairs = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        typed = ["--host", "127.0.0.1", "--port", str(self.port), *pairs, *words]
        quiet = {
            "VLLM_CPU_OMP_THREADS_BIND": "nobind", "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING", "TOKENIZERS_PARALLELISM": "false",
        }  # fmt: skip
        if output is None:
            environment = {"VLLM_PLUGINS": "none of them"} | (environment or {})
            command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve"]
            command += [*toy_model(typed, self.log.with_name("toy"), quiet), *typed]
        else:
            command = [sys.executable, "-m", "arpo_entropy_recorder", "serve", "toy", "-o", str(output)]
            command += ["--record-tokens", *typed]
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                command,
                env=environment_with(plugged_in, **quiet) | (environment or {}),
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.end()
            raise

    def _wait(self):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.5)
        raise TimeoutError(self.log.read_text()[-4000:])

    def ask(self, method, path, key=KEY, body=None):
        """(status, answer) of a route of the server. body: bytes, or what JSON can say."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", method=method, headers=headers, data=body
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def flush(self, words=""):
        """The answer of a flush, which is taken once a second."""
        for _ in range(60):
            answer = self.ask("POST", f"/v1/entropy/flush{words}")
            if answer[0] != 429:
                return answer
            time.sleep(0.5)
        raise TimeoutError("no flush is taken")

    def client(self):
        """An ordinary client."""
        from openai import AsyncOpenAI

        return AsyncOpenAI(
            base_url=f"http://127.0.0.1:{self.port}/v1", api_key=KEY, timeout=120, max_retries=0
        )

    def end(self):
        """The exit status, once everything is written."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise


def toy_model(typed, directory, environment):
    """The toy as `arpo-entropy serve toy` hands it to vLLM: its path and options."""
    from arpo_entropy_recorder.commands.serve import _model

    return _model("toy", typed, str(directory), environment)


class Books:
    """What the client knows: its requests in each conversation, by label."""

    def __init__(self, client, template=None):
        self.client, self.template = client, template
        self.turns = defaultdict(list)

    async def ask(self, label, messages, *, round=0, tool=None, n=1, **more):
        """One request; its choices' messages. Each choice of several is noted as label[index]."""
        extra = {"return_token_ids": True} | ({"chat_template": self.template} if self.template else {})
        reply = await self.client.chat.completions.create(
            model="toy", messages=messages, tools=TOOLS, n=n, temperature=1.0, max_tokens=100,
            extra_body=extra | more.pop("extra_body", {}), **more,
        )  # fmt: skip
        for choice in reply.choices:
            self.turns[label if n == 1 else f"{label}[{choice.index}]"].append(
                {"round": round, "tool": tool, "prompt": reply.prompt_token_ids, "tokens": choice.token_ids}
            )
        messages = [choice.message.model_dump(exclude_none=True) for choice in reply.choices]
        return messages[0] if n == 1 else messages

    async def converse(self, label, turns=3, **more):
        """A conversation of up to `turns` turns."""
        messages = [{"role": "system", "content": "Use tools."}, {"role": "user", "content": f"{label}?"}]
        tool = None
        for number in range(turns):
            reply = await self.ask(label, messages, round=number, tool=tool, **more)
            calls = reply.get("tool_calls")
            if not calls:
                return
            tool = calls[0]["function"]["name"]
            messages = [*messages, reply, *results(reply)]

    async def until_call(self, label, messages, **more):
        """(label, reply) of a first turn that calls a tool: asked again, each a start of its own, until it does."""
        for attempt in range(60):
            reply = await self.ask(f"{label}~{attempt}", messages, **more)
            if reply.get("tool_calls"):
                return f"{label}~{attempt}", reply
        raise RuntimeError("the toy calls no tool")


def results(reply, text="found it"):
    return [{"role": "tool", "tool_call_id": call["id"], "content": text} for call in reply["tool_calls"]]


def recorded(output):
    """{trajectory: its records in order}, of all step files."""
    trajectories = defaultdict(list)
    for path in sorted(Path(output).glob("entropy_step_*.json")):
        for record in json.loads(path.read_text()):
            trajectories[record["trajectory"]].append(record)
    for records in trajectories.values():
        records.sort(key=lambda record: record["round"])
    return dict(trajectories)


def matched(turns, trajectories):
    """{label: trajectory}: each label's turns are those of one trajectory, by their tokens and rounds."""
    by_words = defaultdict(list)
    for number, records in trajectories.items():
        by_words[tuple((r["round"], r["tool"], tuple(r["tokens"])) for r in records)].append(number)
    found = {}
    for label, asked in turns.items():
        key = tuple((turn["round"], turn["tool"], tuple(turn["tokens"])) for turn in asked)
        assert by_words.get(key), (label, key)
        found[label] = by_words[key].pop()
    return found


def worst_difference(turns, trajectories, found, oracle, norm):
    """The largest difference of the recorded entropies from a transformers forward pass, in nats."""
    import torch

    worst = 0.0
    for label, number in found.items():
        for turn, record in zip(turns[label], trajectories[number], strict=True):
            with torch.no_grad():
                logits = oracle(torch.tensor([turn["prompt"]])).logits[0, -1].double()
            log_p = torch.log_softmax(logits, -1)
            worst = max(worst, abs(record["entropy"] * norm + float((log_p.exp() * log_p).sum())))
    return worst


def together(*conversations):
    """Run them at once."""

    async def run():
        return await asyncio.gather(*conversations)

    return asyncio.run(run())
