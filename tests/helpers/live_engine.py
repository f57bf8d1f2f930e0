"""An AsyncLLM whose requests are recorded: python live_engine.py AGENT OUT [OPTIONS]

OPTIONS are arguments of the engine as JSON, for other than one worker.
Requests come and go as in an agent loop: many at once, chunks of prefills beside decodes, some aborted after a few
tokens and resumed. OUT/report.json has each request's prompt and tokens, and the values that were taken for it, for
three phases: with a collector, without one, and with another. All requests go through vLLM's request log as those of
a server do, and OUT/traces has what vLLM sent of them as traces.
"""

import asyncio
import json
import os
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from own_process import ENGINE, environment_with, run_alone

WINDOW = 4
# So few that requests are preempted.
FEW_BLOCKS = {"num_gpu_blocks_override": 12}


def worst_difference(requests, oracle):
    """The largest difference of the values from a transformers forward pass, in nats; each value has to be there."""
    import torch

    worst = 0.0
    for request in requests:
        prompt, tokens, nats = request["prompt"], request["tokens"][:WINDOW], request["nats"]
        assert len(nats) == len(tokens)
        assert None not in nats
        with torch.no_grad():
            logits = oracle.model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        log_p = torch.log_softmax(logits.double() / (request["temperature"] or 1.0), -1)
        right = -(log_p.exp() * log_p).sum(-1)
        worst = max([worst, *(abs(a - b) for a, b in zip(nats, right.tolist(), strict=True))])
    return worst


def start(agent, out, plugged_in, options=None, **variables):
    """Run this file in a process of its own; its report and its log."""
    words = [agent, out, json.dumps(options or {})]
    log = run_alone(__file__, words, environment_with(plugged_in, **variables), 500)
    return json.loads((out / "report.json").read_text()) | {"log": log}


@contextmanager
def traces_to(path):
    """The address of a server that appends the traces it is sent to the file."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            with path.open("ab") as file:
                file.write(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces"
    server.shutdown()


async def generate(engine, job, prompt, number, report, abort_after=None):
    """One request, noted in the report; returns its tokens."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    from arpo_entropy_recorder.live.mark import MARK, new_mark

    key, mark = new_mark(job.token)
    temperature = (1.0, 0.7, 0.0)[number % 3]
    params = SamplingParams(
        temperature=temperature,
        max_tokens=60 - number % 3 * 20,
        ignore_eos=True,
        extra_args={MARK: mark},
        output_kind=RequestOutputKind.DELTA,
    )
    tokens = []
    # No part of the key, which is not to be in the log.
    name = f"request-{number}-{len(report)}"
    engine.request_log.log_inputs(name, None, prompt, None, params, None)
    async for output in engine.generate({"prompt_token_ids": prompt}, params, request_id=name):
        tokens += output.outputs[0].token_ids
        if abort_after is not None and len(tokens) >= abort_after:
            await engine.abort(name)
            break
    request = {"name": name, "key": key, "code": mark[1], "prompt": prompt, "tokens": tokens}
    report.append(request | {"temperature": temperature, "aborted": abort_after is not None})
    return tokens


async def converse(engine, job, tokenizer, number, report):
    prompt = tokenizer.encode(f"Question {number}: " + "why " * (number % 7 * 4), add_special_tokens=False)
    for turn in range(2):
        tokens = await generate(engine, job, prompt, number, report, 2 + turn if number % 4 == 0 else None)
        prompt = prompt + tokens
        if number % 4:
            prompt = prompt + tokenizer.encode("<result>it is</result>", add_special_tokens=False)


async def run(agent, out, options):
    from opentelemetry.trace import get_tracer_provider
    from transformers import AutoTokenizer

    from arpo_entropy_recorder.live.collector import Collector
    from arpo_entropy_recorder.live.job import Job, new_local_address, new_token

    job = Job(new_token(), new_local_address(), WINDOW)
    os.environ.update(job.environ())
    # Of which an engine that belongs to a job takes no notice.
    os.environ["ARPO_ENTROPY_DIR"] = str(out / "entropies")
    collector = Collector(job)
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.serve.utils.request_logger import RequestLogger
    from vllm.v1.engine.async_llm import AsyncLLM

    engine = AsyncLLM.from_engine_args(
        AsyncEngineArgs(model=agent, seed=0, **(ENGINE | FEW_BLOCKS | options))
    )
    engine.request_log = RequestLogger(max_log_len=None)
    tokenizer, report = AutoTokenizer.from_pretrained(agent), {}

    async def phase(name, conversations):
        requests = report[name] = []
        await asyncio.gather(
            *(converse(engine, job, tokenizer, number, requests) for number in range(conversations))
        )
        return requests

    def take(requests, timeout_s=60.0):
        values = collector.take({r["key"]: min(WINDOW, len(r["tokens"])) for r in requests}, timeout_s)
        for request in requests:
            request["nats"] = values[request["key"]]

    take(await phase("recorded", 24))
    # A worker says hello before it sends a value, and to the next collector only some seconds later.
    report["status"] = collector.status()
    collector.close()
    await phase("without_collector", 6)
    collector = Collector(job)
    take(await phase("afterwards", 6))
    engine.shutdown()
    get_tracer_provider().force_flush()
    report["token"] = job.token.hex()
    report["written"] = sorted(str(path) for path in (out / "entropies").rglob("*"))
    (out / "report.json").write_text(json.dumps(report))


def main():
    # Whatever level a test of the same process has asked for: requests are logged at this one.
    os.environ["VLLM_LOGGING_LEVEL"] = "DEBUG"
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] = "http/protobuf"
    options = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    out = Path(sys.argv[2])
    with traces_to(out / "traces") as address:
        asyncio.run(run(sys.argv[1], out, {"otlp_traces_endpoint": address, **options}))


if __name__ == "__main__":
    main()
