"""An AsyncLLM in a program of its own, recorded as docs/serve.md has it: python served_async_llm.py MODEL OUT

Conversations of token prompts at once, all by one request id, with each kind of output, n = 3, and an abort that goes
on. OUT/report.json has each request's prompt and completions; OUT/entropies the step files.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from own_process import ENGINE, environment_with, run_alone

KINDS = ("DELTA", "CUMULATIVE", "FINAL_ONLY")
RESULT = "<result>it is</result>"


def start(model, out, plugged_in, kind="v1"):
    """Run this file in a process of its own, on the model runner `kind`; its report."""
    environment = environment_with(plugged_in, ARPO_TEST_ENGINE=kind)
    # For the engine's process, too, which vLLM starts anew.
    (out / "sitecustomize.py").write_text("from engines import prepare_environment\nprepare_environment()\n")
    places = [str(out), str(Path(__file__).parent), environment["PYTHONPATH"]]
    run_alone(__file__, [model, out], environment | {"PYTHONPATH": os.pathsep.join(places)}, 900)
    return json.loads((out / "report.json").read_text())


async def generate(engine, prompt, kind, n=1, stop_after=None):
    """The completions of one request."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    params = SamplingParams(
        temperature=1.0, max_tokens=12, ignore_eos=True, n=n, output_kind=getattr(RequestOutputKind, kind)
    )
    completions = [[] for _ in range(n)]
    stream = engine.generate({"prompt_token_ids": prompt}, params, request_id="one id for all")
    async for output in stream:
        for completion in output.outputs:
            new = list(completion.token_ids)
            completions[completion.index] = completions[completion.index] + new if kind == "DELTA" else new
        if stop_after is not None and len(completions[0]) >= stop_after:
            break
    await stream.aclose()
    return completions


async def converse(engine, tokenizer, number, report):
    prompt = tokenizer.encode(f"Question {number}: " + "why " * (number % 5 * 6), add_special_tokens=False)
    result = tokenizer.encode(RESULT, add_special_tokens=False)
    n = 3 if number % 6 == 0 else 1
    first = await generate(engine, prompt, KINDS[number % 3], n)
    turns = [[{"prompt": prompt, "tokens": tokens}] for tokens in first]
    after = prompt + first[0] + result
    if number % 6 == 1:  # cut off, and goes on
        (begun,) = await generate(engine, after, "DELTA", stop_after=2)
        await generate(engine, after + begun, "FINAL_ONLY")
        turns[0].append({"prompt": after, "tokens": begun})
    else:
        (second,) = await generate(engine, after, KINDS[(number + 1) % 3])
        turns[0].append({"prompt": after, "tokens": second})
    report += [
        [{"round": round_, "tool": None, **turn} for round_, turn in enumerate(asked)] for asked in turns
    ]


async def run(model, out):
    from transformers import AutoTokenizer

    from arpo_entropy_recorder.live.job import Job, new_local_address, new_token
    from arpo_entropy_recorder.live.serve.recorder import Recorder
    from arpo_entropy_recorder.recorder.settings import Settings

    settings = Settings(save_dir=out / "entropies", record_tokens=True)
    job = Job(new_token(), new_local_address(), settings.window)
    recorder = Recorder(job, settings, records=1000, seconds=120.0, text_results=True)
    os.environ.update({**job.environ(), "ARPO_ENTROPY_LIVE": "1", "ARPO_ENTROPY_TEXT_RESULTS": "1"})
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    engine = AsyncLLM.from_engine_args(
        AsyncEngineArgs(model=model, seed=0, num_gpu_blocks_override=16, **ENGINE)
    )
    tokenizer, turns = AutoTokenizer.from_pretrained(model), []
    await asyncio.gather(*(converse(engine, tokenizer, number, turns) for number in range(12)))
    status = recorder.close()
    engine.shutdown()
    (out / "report.json").write_text(json.dumps({"turns": turns, "status": status}))


if __name__ == "__main__":
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    asyncio.run(run(sys.argv[1], Path(sys.argv[2])))
