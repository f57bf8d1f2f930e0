"""A long run of an AsyncLLM whose requests come and go: python live_soak.py AGENT OUT REQUESTS

64 requests at a time, one in eight aborted after some tokens, the collector in a process of its own. OUT/soak.json
has the number of requests that got a token, what was recorded of their first tokens, and the memory of the
collector's and the engine worker's process over the run.
"""

import asyncio
import json
import os
import resource
import sys
import time
from multiprocessing.managers import BaseManager
from pathlib import Path

AT_ONCE = 64
ENGINE = {
    "dtype": "float32",
    "enforce_eager": True,
    "max_model_len": 256,
    "max_num_seqs": AT_ONCE,
    "gpu_memory_utilization": 0.1,
    # As few as 64 requests need, so that all of the cache has been touched when the engine is warm: its pages become
    # resident only as they are written.
    "block_size": 32,
    "num_gpu_blocks_override": 256,
}


def megabytes(pid):
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


async def run(agent, out, count):
    from arpo_entropy_recorder.live.collector import Collector
    from arpo_entropy_recorder.live.job import Job, new_local_address, new_token
    from arpo_entropy_recorder.live.mark import MARK, new_mark

    class Collectors(BaseManager):
        pass

    Collectors.register("Collector", Collector)
    job = Job(new_token(), new_local_address())
    manager = Collectors()
    manager.start()
    collector = manager.Collector(job)
    os.environ.update(job.environ())
    # Imported after the collector's process was started, which needs none of it.
    from vllm import SamplingParams
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine.async_llm import AsyncLLM

    engine = AsyncLLM.from_engine_args(AsyncEngineArgs(model=agent, seed=0, **ENGINE))
    served, recorded, memory, waiting = 0, 0, [], []
    numbers = iter(range(count))

    async def one(number):
        key, mark = new_mark(job.token)
        params = SamplingParams(
            temperature=1.0,
            ignore_eos=True,
            max_tokens=8 + number % 24,
            extra_args={MARK: mark},
            output_kind=RequestOutputKind.DELTA,
        )
        prompt, name, tokens = [97 + number % 26] * (5 + number % 40), f"{number}", 0
        async for output in engine.generate({"prompt_token_ids": prompt}, params, request_id=name):
            tokens += len(output.outputs[0].token_ids)
            if number % 8 == 0 and tokens >= number % 5:
                await engine.abort(name)
                break
        waiting.append((key, bool(tokens)))

    async def client():
        for number in numbers:
            await one(number)

    async def take():
        nonlocal served, recorded, waiting
        some, waiting = waiting, []
        wanted = {key: int(has_token) for key, has_token in some}
        values = await asyncio.to_thread(collector.take, wanted, 30.0)
        served += sum(has_token for _, has_token in some)
        recorded += sum(value is not None for row in values.values() for value in row)

    async def watch():
        while True:
            await asyncio.sleep(1.0)
            workers = collector.status()["workers"]
            if workers:
                sizes = [megabytes(manager._process.pid), megabytes(workers[0]["pid"])]
                memory.append([len(waiting) + served, *sizes])
            if len(waiting) >= 500:
                await take()

    start = time.monotonic()
    watching = asyncio.create_task(watch())
    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    await asyncio.sleep(1.5)
    watching.cancel()
    await take()
    engine.shutdown()
    report = {"served": served, "recorded": recorded, "memory": memory, "status": collector.status()}
    (out / "soak.json").write_text(json.dumps(report | {"seconds": time.monotonic() - start}))
    manager.shutdown()


if __name__ == "__main__":
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    asyncio.run(run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
