"""The Triton kernel: interpreted, and compiled for an H100, anywhere; on a GPU where there is one.

The interpreter must be asked for before Triton is imported, and other tests import Triton (or a placeholder of
it, with vLLM), so interpreting and compiling happen in processes of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from entropy_contract import EntropyContract, random_logits
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
INTERPRETED = os.environ.get("ARPO_ENTROPY_TEST_KERNEL") == "interpreted"
COMPILE = """
import sys
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from arpo_entropy_recorder.ops import entropy_triton as module

class Absent:  # an H100 as far as the compiler can tell
    get_current_target = staticmethod(lambda: GPUTarget("cuda", 90, 32))
    get_current_device = staticmethod(lambda: 0)
    get_current_stream = staticmethod(lambda device: 0)

driver.set_active(Absent())
dtype, splits, hot = getattr(torch, sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"
logits, index, floats = torch.zeros(1, 151936, dtype=dtype), torch.zeros(1, dtype=torch.int64), torch.zeros(9)
kernel = module._entropy_kernel.warmup(
    floats, index, logits, index, floats if hot else None, index.int(), floats, logits.stride(0), 151936, splits, 3,
    VECTOR=16 // logits.element_size(), SPLIT=splits > 1, CAPACITY=2112, num_warps=module.NUM_WARPS, grid=(1,))
print(kernel.asm["ptx"])
"""


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, with the package and these tests on its path."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


if INTERPRETED or torch.cuda.is_available():
    from arpo_entropy_recorder.ops.entropy_triton import MAX_SPLITS, entropy_into_triton, plan

    class TestKernel(EntropyContract):
        device = "cpu" if INTERPRETED else "cuda"
        entropy_into = staticmethod(entropy_into_triton)

    @settings(deadline=None)
    @given(st.integers(1, 9000), st.integers(1, 300_000), st.sampled_from([2, 4]), st.integers(1, 4000))
    def test_slices_cover_the_row_and_fit_the_workspace(
        num_rows: int, vocab_size: int, itemsize: int, programs: int
    ) -> None:
        splits, tiles = plan(num_rows, vocab_size, itemsize, programs)
        tile = 128 * 16 // itemsize
        assert splits * tiles * tile >= vocab_size > (splits - 1) * tiles * tile
        assert splits == 1 or splits * num_rows <= programs
        assert splits <= MAX_SPLITS

    @pytest.mark.parametrize("num_rows", [1, 2, 4, 8, 16, 32, 64])
    @pytest.mark.parametrize("itemsize", [2, 4])
    def test_one_to_64_rows_use_every_multiprocessor_of_an_h100(num_rows: int, itemsize: int) -> None:
        assert num_rows * plan(num_rows, 151936, itemsize, 16 * 132)[0] >= 132


if not INTERPRETED:

    def test_kernel_keeps_the_contract_under_tritons_interpreter() -> None:
        pytest.importorskip("triton", reason="NO TRITON: the kernel was not tested")
        inner = run(
            *("-m", "pytest", "-q", "-x", "-W", "ignore", "-p", "no:cacheprovider", __file__),
            TRITON_INTERPRET="1",
            ARPO_ENTROPY_TEST_KERNEL="interpreted",
        )
        assert inner.returncode == 0, inner.stdout + inner.stderr
        assert "skipped" not in inner.stdout

    @pytest.mark.parametrize(
        ("dtype", "splits", "hot"), [("bfloat16", 2, True), ("float16", 1, False), ("float32", 2, False)]
    )
    def test_kernel_compiles_for_an_h100_with_16_byte_loads(dtype: str, splits: int, hot: bool) -> None:
        """The interpreter accepts what the compiler refuses; compiling needs no GPU."""
        pytest.importorskip("triton", reason="NO TRITON: the kernel was not compiled")
        compiled = run("-W", "ignore", "-c", COMPILE, dtype, str(splits), str(hot), TRITON_INTERPRET="0")
        assert compiled.returncode == 0, compiled.stderr
        assert (
            compiled.stdout.count("ld.global.v4.b32") == 2
        )  # the first tile's, and the next one's in the loop
        assert ("atom" in compiled.stdout) == (splits > 1)


if torch.cuda.is_available() and not INTERPRETED:

    def test_on_cuda_nothing_waits_or_allocates_and_a_graph_replays() -> None:
        logits = random_logits(64, 151936, torch.bfloat16).cuda()
        temperature = torch.rand(64, device="cuda") + 0.5
        rows = torch.arange(64, device="cuda")
        history, again = torch.zeros(64, device="cuda"), torch.zeros(64, device="cuda")
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        with torch.cuda.stream(stream):
            entropy_into_triton(history, rows, logits, rows, temperature)
            before = torch.cuda.memory_stats()["allocation.all.allocated"]
            torch.cuda.set_sync_debug_mode("error")
            try:
                for _ in range(100):
                    entropy_into_triton(history, rows, logits, rows, temperature)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            assert torch.cuda.memory_stats()["allocation.all.allocated"] == before
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            entropy_into_triton(again, rows, logits, rows, temperature)
        for _ in range(3):
            again.zero_()
            graph.replay()
            assert torch.equal(again, history)

    def test_on_cuda_two_streams_at_once_do_not_mix() -> None:
        logits = random_logits(8, 151936, torch.bfloat16).cuda()
        rows = torch.arange(8, device="cuda")
        expected = torch.zeros(8, device="cuda")
        entropy_into_triton(expected, rows, logits, rows)
        torch.cuda.synchronize()
        streams = [torch.cuda.Stream() for _ in range(4)]
        histories = [torch.zeros(8, device="cuda") for _ in streams]
        torch.cuda.synchronize()
        for _ in range(200):
            for stream, history in zip(streams, histories, strict=True):
                with torch.cuda.stream(stream):
                    entropy_into_triton(history, rows, logits, rows)
        torch.cuda.synchronize()
        assert all(torch.equal(history, expected) for history in histories)

elif not INTERPRETED:

    @pytest.mark.skip(reason="NO CUDA DEVICE: the kernel was interpreted and compiled, not run on a GPU")
    def test_kernel_on_cuda() -> None: ...
