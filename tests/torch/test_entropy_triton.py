"""The Triton kernel: interpreted, and compiled for three GPUs, anywhere; on a GPU where there is one.

The interpreter must be asked for before Triton is imported, and other tests import Triton (or a placeholder of
it, with vLLM), so interpreting and compiling happen in processes of their own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from entropy_contract import EntropyContract, random_logits
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
INTERPRETED = os.environ.get("ARPO_ENTROPY_TEST_KERNEL") == "interpreted"
COMPILE = """
import json, subprocess, sys, tempfile
from pathlib import Path
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from arpo_entropy_recorder.ops import entropy_triton as module

class Absent:  # a card as far as the compiler can tell
    get_current_target = staticmethod(lambda: GPUTarget("cuda", int(sys.argv[1]), 32))
    get_current_device = staticmethod(lambda: 0)
    get_current_stream = staticmethod(lambda device: 0)

driver.set_active(Absent())
tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
for dtype, splits, hot, vocab_size, stride in json.loads(sys.argv[2]):
    logits, index = torch.zeros(1, 16, dtype=getattr(torch, dtype)), torch.zeros(1, dtype=torch.int64)
    floats, vector = torch.zeros(9), 16 // logits.element_size()
    kernel = module._entropy_kernel.warmup(
        floats, index, logits, index, floats if hot else None, index.int(), floats, stride, vocab_size, splits, 3,
        VECTOR=vector, TAIL=vocab_size % vector > 0, SPLIT=splits > 1, CAPACITY=2112,
        num_warps=module.NUM_WARPS, grid=(1,))
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(kernel.asm["cubin"])
        printed = [subprocess.run([tools / name, option, file.name], capture_output=True, check=True).stdout.decode()
                   for name, option in (("nvdisasm", "-c"), ("cuobjdump", "-res-usage"))]
    print(json.dumps({"sass": printed[0], "usage": printed[1]}))
"""
CASES = {
    "bf16, in slices": ("bfloat16", 2, True, 151936, 151936),
    "fp16, whole": ("float16", 1, False, 151936, 151936),
    "fp32, in slices": ("float32", 2, False, 151936, 151936),
    "bf16, cut from a padded vocabulary": ("bfloat16", 2, True, 151643, 151936),
    "fp32, cut from a padded vocabulary": ("float32", 1, True, 151643, 151936),
    "bf16, contiguous rows of an odd length": ("bfloat16", 2, True, 151643, 151643),
}


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

    @pytest.mark.parametrize("architecture", [80, 90, 100])
    def test_machine_code_has_16_byte_loads_and_no_spills(architecture: int) -> None:
        """The interpreter accepts what the compiler refuses; compiling needs no GPU."""
        triton = pytest.importorskip("triton", reason="NO TRITON: the kernel was not compiled")
        if architecture == 100 and triton.__version__ < "3.3":
            pytest.skip(f"triton {triton.__version__} cannot compile for sm_100")
        words = (str(architecture), json.dumps(list(CASES.values())))
        compiled = run("-W", "ignore", "-c", COMPILE, *words, TRITON_INTERPRET="0")
        assert compiled.returncode == 0, compiled.stderr
        for name, line in zip(CASES, compiled.stdout.splitlines(), strict=True):
            kernel, (dtype, splits, _, vocab_size, stride) = json.loads(line), CASES[name]
            loads = Counter(re.findall(r"\bLDG[.A-Z0-9]*|\b(?:LDL|STL|ATOMG)\b", kernel["sass"]))
            (registers,) = map(int, re.findall(r"REG:(\d+)", kernel["usage"]))
            print(f"sm_{architecture}, {name}: {registers} registers, {dict(loads)}")
            assert loads["LDL"] == loads["STL"] == 0, name
            assert re.findall(r"STACK:(\d+)", kernel["usage"]) == ["0"], name
            assert (loads["ATOMG"] > 0) == (splits > 1), name
            if stride % 16:
                # Such rows begin anywhere, so that no load may be wider than an element.
                assert loads["LDG.E.U16"] == 17
                assert loads["LDG.E.128"] == 0
                continue
            # The first tile's, and the next one's in the loop, which some compilers unroll; and the elements
            # beyond the last whole 16 bytes.
            assert loads["LDG.E.128"] >= 2, name
            assert loads["LDG.E.U16"] == (dtype != "float32" and vocab_size % 8 > 0), name
            assert registers <= 32, name  # 16 programs of 128 lanes share the 65,536 of a multiprocessor


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
