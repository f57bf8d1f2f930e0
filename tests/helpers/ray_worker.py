"""The actor of the Ray tests, in a module that the actors' processes can import."""

import json
import os


class Worker:
    """A worker of verl's: its engine, and its rank in the mesh."""

    def __init__(self, rank, agent, dp_size, tp_size):
        # Else each engine binds threads to all cores.
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = str(rank % os.cpu_count())
        from engines import start_engine
        from torch import distributed
        from transformers import AutoTokenizer

        self.rank, self.mesh = rank, (dp_size, tp_size)
        self.llm, self.tokenizer = start_engine(agent), AutoTokenizer.from_pretrained(agent)
        distributed.destroy_process_group()  # the engine's own, of one process

    def record(self, out):
        from parallel_ranks import run_rank

        run_rank(self.rank, self.llm, self.tokenizer, out, *self.mesh)
        return json.loads((out / f"rank{self.rank}.json").read_text())
