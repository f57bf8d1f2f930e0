"""A program in a process of its own, where vLLM finds the plug-in by itself; and what it is given there."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Chunks of a prefill go beside decodes, and requests queue.
ENGINE = {
    "dtype": "float32",
    "enforce_eager": True,
    "max_model_len": 256,
    "max_num_seqs": 6,
    "max_num_batched_tokens": 32,
    "block_size": 32,
    "gpu_memory_utilization": 0.1,
}
# What is kept for each new shape and in each thread's arena is bounded, so that a leak of the recorder is seen:
# without marks a worker grew by 151 MB between the 188th and the 1,500th request, and with this by 2 MB.
BOUNDED = {
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}


def environment_with(plugged_in, **variables):
    """This process's environment, in which this package is found, and announced by the folder `plugged_in`."""
    # The checkout may hold the metadata of an older installation, which would be found first.
    path = os.pathsep.join([str(plugged_in), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | variables


def run_alone(program, words, environment, timeout_s):
    """Run a Python file to its end; what it printed."""
    command = [sys.executable, str(program), *map(str, words)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout + done.stderr
