"""Processes that are one data-parallel rollout: python parallel_ranks.py AGENT OUT DPxTP...

One engine is started and then forked, so that every rank has a real one; the device mesh is real too, of gloo on
loopback. Each rank records two steps of its own chunk of the prompts, as verl deals them out, and writes down what
its own loop did, in OUT/DPxTP. When the first step has all its shards, while it is joined, and when all is over the
directory is copied to `before`, `during` and `after` there.
"""

import json
import os
import shutil
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

import torch
from engines import ToolRollout, make_prompts, make_rollout, start_engine
from torch import distributed

import arpo_entropy_recorder.step_files.merge as shards
from arpo_entropy_recorder.mixin import record_entropy

STEPS = 2
TEXTS = ("Who wrote it?", "How many?", "Where is the longest river?", "Why?")


class MeshRollout(ToolRollout):
    """Our loop as verl makes a rollout: the device mesh is a keyword."""

    def __init__(self, *args, device_mesh, **kwargs):
        super().__init__(*args, **kwargs)


def snapshot_joins(directory, out, dp_size):
    """Copy the directory when the last shard is there, and again when its join has not removed them yet."""
    join, remove = shards._join, shards.remove_shards

    def copy(name, files):
        if not (out / name).exists() and len(list(directory.glob("entropy_step_1*.json"))) == files:
            shutil.copytree(directory, out / name, ignore=shutil.ignore_patterns(".*"))

    def joining(*args):
        copy("before", files=dp_size)
        join(*args)

    def removing(*args):
        copy("during", files=dp_size + 1)
        remove(*args)

    shards._join, shards.remove_shards = joining, removing


def run_rank(rank, llm, tokenizer, out, dp_size, tp_size):
    store = f"file://{out / 'rendezvous'}"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=dp_size * tp_size)
    mesh = distributed.device_mesh.init_device_mesh(
        "cpu", (dp_size, tp_size), mesh_dim_names=("dp", "infer_tp")
    )
    dp_rank, tp_rank = mesh["dp"].get_local_rank(), mesh["infer_tp"].get_local_rank()
    snapshot_joins(out / "steps", out, dp_size)
    rollout = make_rollout(
        lambda *args: record_entropy(MeshRollout)(*args, device_mesh=mesh),
        llm, tokenizer, out / "steps", n=2, initial_rollouts=1, response_length=64,
    )  # fmt: skip
    share = len(TEXTS) // dp_size
    segments = []
    for step in range(1, STEPS + 1):
        # The ranks of a tensor-parallel group generate the same from the same prompts.
        torch.manual_seed(100 * step + dp_rank)
        texts = TEXTS[dp_rank * share : (dp_rank + 1) * share]
        rollout.generate_sequences(make_prompts(tokenizer, texts, global_steps=step))
        segments.append([asdict(segment) for segment in rollout.segments])
        if step == 1:
            distributed.barrier()
    records = rollout.arpo_entropy_recorder is not None
    report = {"dp_rank": dp_rank, "tp_rank": tp_rank, "records": records, "segments": segments}
    (out / f"rank{rank}.json").write_text(json.dumps(report))
    distributed.barrier()


def run_mesh(llm, tokenizer, out, dp_size, tp_size):
    out.mkdir()
    pids = []
    for rank in range(dp_size * tp_size):
        if (pid := os.fork()) == 0:
            status = 1
            try:
                run_rank(rank, llm, tokenizer, out, dp_size, tp_size)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        pids.append(pid)
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    if any(statuses):
        raise SystemExit(f"ranks ended with {statuses}")
    shutil.copytree(out / "steps", out / "after", ignore=shutil.ignore_patterns(".*"))


def main():
    agent, out, *meshes = sys.argv[1:]
    from transformers import AutoTokenizer

    llm, tokenizer = start_engine(agent), AutoTokenizer.from_pretrained(agent)
    # The engine's own group of one process, whose threads no fork inherits; nothing is ever sent in it.
    distributed.destroy_process_group()
    for mesh in meshes:
        run_mesh(llm, tokenizer, Path(out) / mesh, *map(int, mesh.split("x")))


if __name__ == "__main__":
    main()
