"""Everything that is to be done on a GPU, in one go: what is worth most comes first.

    python benchmarks/gpu.py --out gpu-results              # all parts, an hour and a half at most
    python benchmarks/gpu.py --out gpu-results --only kernel,bandwidth

Each part is a process of its own with a time limit of its own. What it printed is in OUT/<part>.txt as soon as
it ends, and OUT/rows.md holds the rows for benchmarks/README.md so far: a part that fails, hangs or is missing
something takes nothing from the others. The exit status is the number of parts that failed.

Needs torch and Triton; parts that need vLLM, or the real model of `make model`, are left out without them.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MODEL = ROOT / "models" / "SmolLM2-135M-Instruct-Q4_1"
PYTEST = ["-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"]
VOCAB_SIZE = 151936
# Qwen's tokenizer: odd, and cut from the padded size above, as vLLM cuts its logits.
CUT_SIZE = 151643
# Arguments of vLLM's LLM, for the tests: CUDA graphs, and asynchronous scheduling where it is the engine's default.
GRAPHS = '{"enforce_eager": false}'


class Part(NamedTuple):
    """A process: its name, its limit in seconds, Python's arguments, what it needs, and its environment."""

    name: str
    limit: int
    words: list[str]
    needs: tuple[str, ...] = ()
    environment: dict[str, str] = {}  # noqa: RUF012


def parts() -> list[Part]:
    """In the order of worth."""
    this = str(HERE / "gpu.py")
    vllm, model = ("vllm",), ("vllm", "model")
    rollout = str(HERE / "benchmark_rollout.py")
    recording = [rollout, "--pairs", "6", "--graphs"]
    live = [str(HERE / "benchmark_live.py"), "--window", "1", "20", "--pairs", "8", "--graphs"]
    exactness = [*PYTEST, "tests/engine/test_real_model.py"]
    # Attention in Triton multiplies float32 as TF32 unless told otherwise, 6e-4 nats from the forward pass.
    ieee = {"TRITON_F32_DEFAULT": "ieee"}
    v1, v2 = ({"ARPO_TEST_ENGINE": kind} for kind in ("v1", "v2"))
    return [
        Part("kernel", 300, [*PYTEST, "tests/torch/test_entropy_triton.py", "tests/torch/test_entropy.py"]),
        Part("bandwidth", 180, [this, "--part", "bandwidth"]),
        Part("few-rows", 180, [this, "--part", "few-rows"]),
        Part("sync", 90, [this, "--part", "sync"]),
        Part("exactness", 420, [*PYTEST, "tests/engine/test_recording.py"], vllm, ieee | v1),
        Part("exactness-v2", 420, [*PYTEST, "tests/engine/test_recording.py"], vllm, ieee | v2),
        Part("exactness-live", 420, [*PYTEST, "tests/engine/test_live_tap.py"], vllm, ieee | v1),
        Part("exactness-live-v2", 420, [*PYTEST, "tests/engine/test_live_tap.py"], vllm, ieee | v2),
        # With CUDA graphs and, where it is the engine's default, asynchronous scheduling.
        Part("recording", 420, recording, vllm),
        Part("recording-window-20", 420, [*recording, "--window", "20"], vllm),
        Part("live", 300, live, vllm),
        # Weights at random, in the shape of a model that is trained; nothing is downloaded.
        Part("live-7b", 420, [*live, "--shape", "7b"], vllm),
        Part("serve", 420, [*PYTEST, "tests/serve/test_server.py"], vllm, ieee),
        Part("serve-cost", 420, [str(HERE / "benchmark_serve.py"), "--pairs", "6"], vllm),
        Part("real-model", 300, exactness, model, ieee),
        Part("real-model-graphs", 300, exactness, model, ieee | {"ARPO_TEST_ENGINE_OPTIONS": GRAPHS}),
        Part("recording-real-model", 300, [*recording, "--model", str(MODEL)], model),
    ]


def missing(part: Part) -> list[str]:
    """What the part needs and this machine has not: packages, or the real model."""
    return [need for need in part.needs if not (MODEL.is_dir() if need == "model" else find_spec(need))]


def run(part: Part, out: Path) -> str:
    """Run one part, keep what it printed, and say in a few words how it ended."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers"), os.environ.get("PYTHONPATH", "")])
    file = out / f"{part.name}.txt"
    start = time.monotonic()
    with open(file, "w") as printed:
        process = subprocess.Popen(
            [sys.executable, *part.words],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": path} | part.environment,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        try:
            status = process.wait(part.limit)
            ended = "done" if status == 0 else f"FAILED with status {status}"
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            ended = f"FAILED: not done after {part.limit} s"
    return f"{ended} in {time.monotonic() - start:.0f} s, see {file.name}"


def bandwidth() -> None:
    """All rows of a large batch against a device copy, and the same where only the vocabulary is odd."""
    import torch
    from benchmark_entropy import cuda_times, in_parts, ours, print_row, verl_formula

    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    copying = cuda_times(partial(torch.empty_like(source).copy_, source))
    copy = print_row("copy (read + write)", "1 GiB", copying, 2 * source.numel())
    compiled = torch.compile(verl_formula, dynamic=False)
    for dtype, num_rows in ((torch.bfloat16, 8192), (torch.float32, 4096)):
        padded = torch.randn(num_rows, VOCAB_SIZE, device="cuda", dtype=dtype).mul_(3)
        contiguous = padded[:1024, :CUT_SIZE].contiguous()
        for what, logits in (
            ("Triton", padded),
            ("Triton, cut from a padded vocabulary", padded[:, :CUT_SIZE]),
            ("Triton, contiguous rows of an odd length", contiguous),
        ):
            shape = f"[{len(logits)}, {logits.shape[-1]}] {str(dtype)[6:]}"
            times = cuda_times(ours(logits, len(logits)), 10)
            speed = print_row(f"this project ({what})", shape, times, logits.numel() * logits.element_size())
            print(f"  {100 * speed / copy:.0f} % of the copy's bandwidth (target 90 %)")
        shape, size = f"[{num_rows}, {VOCAB_SIZE}] {str(dtype)[6:]}", padded.numel() * padded.element_size()
        for what, formula in (("verl's formula", verl_formula), ("torch.compile of it", compiled)):
            print_row(what, shape, cuda_times(in_parts(formula, padded, 1024), 10), size)
        del padded, contiguous, logits


def few_rows() -> None:
    """1 to 64 rows: what a step of a rollout has at its first tokens."""
    import torch
    from benchmark_entropy import cuda_times, in_parts, ours, print_row, verl_formula

    logits = torch.randn(64, VOCAB_SIZE, device="cuda", dtype=torch.bfloat16).mul_(3)
    compiled = torch.compile(verl_formula, dynamic=False)
    for num_rows in (1, 2, 4, 8, 16, 32, 64):
        some = logits[:num_rows]
        shape, size = f"[{num_rows}, {VOCAB_SIZE}] bf16", some.numel() * some.element_size()
        print_row("this project (Triton)", shape, cuda_times(ours(logits, num_rows)), size)
        print_row("verl's formula", shape, cuda_times(in_parts(verl_formula, some, 2048)), size)
        if num_rows in (1, 16, 64):  # each size is a compilation
            print_row("torch.compile of it", shape, cuda_times(in_parts(compiled, some, 2048)), size)


def sync() -> None:
    """What a hook does in a step, where any wait for the device is an error; and the host's time for it."""
    import torch

    from arpo_entropy_recorder.taps.buffer import EntropiesInFlight, EntropyBuffer, index_on

    device = torch.device("cuda", torch.cuda.current_device())
    logits = torch.randn(64, VOCAB_SIZE, device=device, dtype=torch.bfloat16)
    temperature = torch.full((64,), 0.7, device=device)
    buffer = EntropyBuffer(20)
    buffer.reserve(64, device)
    rows, places = list(range(64)), list(range(0, 64 * 20, 20))
    buffer.record(logits, rows, places, temperature)  # compiles
    EntropiesInFlight(logits, index_on(device, rows), temperature).wait()  # pins its memory
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        start = time.perf_counter()
        for position in range(1, 20):
            buffer.record(logits, rows, [place + position for place in places], temperature)
        host = (time.perf_counter() - start) / 19
        start = time.perf_counter()
        sent = [EntropiesInFlight(logits, index_on(device, rows), temperature) for _ in range(19)]
        host_live = (time.perf_counter() - start) / 19
    finally:
        torch.cuda.set_sync_debug_mode("default")
    written = buffer.collect()
    assert (written > 0).all()
    assert (written == written[:, :1]).all()
    assert all(entropies.wait() == written[:, 0].tolist() for entropies in sent)
    print(f"| record 64 rows, host time, no wait for the device | {1e6 * host:.0f} us |")
    print(
        f"| send 64 rows (the tap that stays), host time, no wait for the device | {1e6 * host_live:.0f} us |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), metavar="DIR")
    parser.add_argument(
        "--only", metavar="NAMES", help="comma-separated: " + ", ".join(p.name for p in parts())
    )
    parser.add_argument("--part", choices=["bandwidth", "few-rows", "sync"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("gpu.py: torch finds no CUDA device here", file=sys.stderr)
        return 2
    if args.part:
        with torch.inference_mode():
            {"bandwidth": bandwidth, "few-rows": few_rows, "sync": sync}[args.part]()
        return 0
    chosen = [part for part in parts() if args.only is None or part.name in args.only.split(",")]
    args.out.mkdir(parents=True, exist_ok=True)
    rows = args.out / "rows.md"
    rows.write_text(f"{datetime.date.today()}, {torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    failed = 0
    for part in chosen:
        lacking = missing(part)
        ended = f"not run: no {' and no '.join(lacking)}" if lacking else run(part, args.out)
        failed += "FAILED" in ended
        print(f"{part.name}: {ended}", flush=True)
        with open(rows, "a") as file:
            file.write(f"\n## {part.name}: {ended}\n\n`python {' '.join(part.words)}`\n\n")
            if "model" in lacking:
                file.write("`python scripts/convert_demo_model.py models` makes the model.\n")
            if not lacking:
                text = (args.out / f"{part.name}.txt").read_text(errors="replace")
                found = [
                    line for line in text.splitlines() if line.startswith(("| ", "  ", "v0,", "v1,", "v2,"))
                ]
                file.write("\n".join(found or text.splitlines()[-1:]) + "\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
