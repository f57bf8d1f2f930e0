"""Train a real model of 135 M parameters with ARPO's own trainer and launch script, patched by us, on a CPU.

    python scripts/train_real/train.py train-real --arpo path/to/ARPO --model models/SmolLM2-135M-Instruct-Q4_1

GRPO with ARPO's own reward on the questions of scripts/demo_real: two Ray workers, FSDP, vLLM's V0 engine. In
stretches of an hour at most the training stops and goes on from ARPO's own checkpoint; the same command goes on after
an interrupt, too. The folder gets the patched clone, console.log, entropies/ (step files), rollout/ (ARPO's dump) and
saved/ (checkpoints).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from launch import GPUS, WITHOUT_GPU, environment, lay_out, metrics
from questions import DEMO, rows

HERE = Path(__file__).resolve().parent
SCRIPT = "ARPO_7B_Reasoning_1node.sh"
SETTINGS = "settings.json"
MAY_CHANGE = {"folder", "steps", "stretch_minutes"}
FIRST = 2  # steps of the first stretch, whose time tells how many the next ones may have
START = 240  # seconds: what a stretch needs before its first step and after its last, at most
SLOWER = (
    1.1  # times the mean of the steps so far: what one to come may take; the clock stops what takes longer
)


def prepare(args: argparse.Namespace) -> None:
    """Data, and a patched copy of the clone with its launch script filled in, once."""
    import pyarrow
    from pyarrow import parquet
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    data = rows(args.examples)
    # verl wants both, and nothing is validated here.
    for name, chosen in (("train", data), ("valid", data[:2])):
        parquet.write_table(pyarrow.Table.from_pylist(chosen), args.folder / f"{name}.parquet")
    lengths = [len(tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True)) for row in data]
    values = {
        "VERL_LOGGING_LEVEL": "WARN",
        "TRAIN_BATCH_SIZE": args.prompts,
        "PPO_MINI_BATCH_SIZE": args.prompts,
        "ROLLOUT_N": args.n,
        "INITIAL_ROLLOUTS": max(1, args.n // 2),
        "MAX_PROMPT_LENGTH": max(lengths),
        "MAX_RESPONSE_LENGTH": args.response_length,
        "TRAIN_FILES": args.folder / "train.parquet",
        "VALID_FILES": args.folder / "valid.parquet",
        "ACTOR_MODEL_PATH": args.model,
        "SEARCH_CACHE_PATH": DEMO / "dictionary.json",
        "SEARCH_CLASS_PATH": "local_tools.SearchTool",
        "SAVE_PATH": args.folder / "saved",
        "ROLLOUT_SAVE_PATH": args.folder / "rollout",
        "TOTAL_EPOCHS": 1000,
        "SAVE_FREQ": 1,  # so that nothing is lost wherever it stops
        "TEST_FREQ": -1,
    }
    overrides = [
        "actor_rollout_ref.rollout.tools.tool_instances.python.class_path=local_tools.PythonTool",
        "actor_rollout_ref.rollout.tools.retry_count=1",
        f"actor_rollout_ref.actor.optim.lr={args.lr}",
        # Its coefficient is 0 in ARPO's script: without it there is no reference model to run.
        "actor_rollout_ref.actor.use_kl_loss=False",
        "actor_rollout_ref.model.enable_gradient_checkpointing=False",
        f"actor_rollout_ref.rollout.temperature={args.temperature}",
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=4",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=4",
        "trainer.max_actor_ckpt_to_keep=2",
        *WITHOUT_GPU,
    ]
    lay_out(args.arpo, "ARPO", SCRIPT, args.folder, values, overrides)
    subprocess.run([HERE.parent / "apply_patch.sh", args.folder / "clone"], check=True)
    (args.folder / SETTINGS).write_text(settings(args))


def settings(args: argparse.Namespace) -> str:
    """What makes a training the same one, as JSON: it goes on with nothing else."""
    kept = {key: str(value) for key, value in vars(args).items() if key not in MAY_CHANGE}
    return json.dumps(kept, indent=2) + "\n"


def finished(folder: Path) -> int:
    """The step of ARPO's last whole checkpoint, 0 without one."""
    path = folder / "saved" / "latest_checkpointed_iteration.txt"
    return int(path.read_text()) if path.exists() else 0


def drop_older_checkpoints(folder: Path, step: int) -> None:
    """ARPO itself forgets at a restart which ones it wrote; each has 1.6 GB."""
    for path in (folder / "saved").glob("global_step_*"):
        if path.name != f"global_step_{step}":
            shutil.rmtree(path)


def until(done: int, steps: int, minutes: float, seconds: list[float]) -> int:
    """The step to stop at next, so that a stretch takes `minutes` at most, by the `seconds` of the steps so far."""
    if not seconds:
        return min(steps, done + FIRST)
    fit = int((60 * minutes - START) / (SLOWER * sum(seconds) / len(seconds)))
    return min(steps, done + max(1, fit))


def line_of(step: int, steps: int, found: dict[str, str]) -> str:
    """What is told of a step."""

    def value(name: str) -> float:
        return float(found.get(name, "nan"))

    return (
        f"{time.strftime('%H:%M:%S')} step {step} of {steps}: {value('timing_s/step'):.0f} s "
        f"(rollout {value('timing_s/gen'):.0f}, log-probabilities {value('timing_s/old_log_prob'):.0f}, "
        f"update {value('timing_s/update_actor'):.0f}), reward {value('critic/score/mean'):.2f}, "
        f"response {value('response_length/mean'):.0f} tokens; of one worker: {value('tools/total_calls'):.0f} "
        f"tool calls, entropy {value('entropy/initial/mean'):.3f} at the start, "
        f"{value('entropy/after_tool/mean'):.3f} after tools"
    )


def stop(process: subprocess.Popen[str]) -> None:
    """End a launch script with all that it started: Ray's processes are of its session or end with their parent."""
    for number, seconds in ((signal.SIGTERM, 60), (signal.SIGKILL, 10)):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            process.poll()
            try:
                os.killpg(process.pid, number if seconds else 0)
            except ProcessLookupError:
                return
            seconds = 0  # sent once; then only looked whether any is left
            time.sleep(0.2)


def stretch(args: argparse.Namespace, last: int, console: Any) -> list[float]:
    """Let ARPO train up to step `last`; returns the seconds of the steps that it finished.

    After --stretch-minutes it is stopped; it goes on from its last checkpoint.
    """
    sockets = tempfile.mkdtemp(prefix="ray")  # their paths have to be short
    recording = {
        "ARPO_ENTROPY_DIR": str(args.folder / "entropies"),
        "ARPO_ENTROPY_WINDOW": "20",
        "ARPO_ENTROPY_TOKENS": "1",
        "ARPO_ENTROPY_FAST_LOGPROBS": "1",
    }
    process = subprocess.Popen(
        ["bash", str((args.folder / "launch.sh").resolve())],
        cwd=args.folder,
        env=environment(sockets, [f"trainer.total_training_steps={last}"], [HERE]) | recording,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert process.stdout is not None

    clock = threading.Timer(60 * args.stretch_minutes, stop, [process])
    clock.daemon = True
    clock.start()
    taken = []
    try:
        for text in process.stdout:
            console.write(text)
            console.flush()
            for step, found in metrics(text).items():
                print(line_of(step, args.steps, found), flush=True)
                taken.append(float(found["timing_s/step"]))
        process.wait()
    finally:
        clock.cancel()
        stop(process)
        shutil.rmtree(sockets, ignore_errors=True)
    return taken


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "folder", type=Path, help="where everything goes; an unfinished training there goes on"
    )
    parser.add_argument("--arpo", type=Path, required=True, help="a clone of ARPO, which is copied")
    parser.add_argument("--model", type=Path, required=True, help="the model to train (make model)")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--stretch-minutes", type=float, default=60.0, help="a stretch takes at most so long")
    parser.add_argument("--prompts", type=int, default=2, help=f"a step; a multiple of {GPUS}")
    parser.add_argument("--n", type=int, default=4, help="trajectories a prompt; half of them start at once")
    parser.add_argument(
        "--response-length", type=int, default=128, help="tokens, those of tool results included"
    )
    parser.add_argument(
        "--examples", type=int, default=2, help="worked examples before each question, up to 4"
    )
    parser.add_argument(
        "--temperature", type=float, default=0.7, help="of the rollouts; at 1 few keep the format"
    )
    parser.add_argument("--lr", type=float, default=2e-5, help="learning rate")
    args = parser.parse_args()
    args.folder, args.arpo, args.model = (path.resolve() for path in (args.folder, args.arpo, args.model))
    if not (args.arpo / "ARPO" / "scripts" / SCRIPT).is_file():
        parser.error(f"{args.arpo}: no clone of ARPO: ARPO/scripts/{SCRIPT} is missing")
    if not (args.model / "config.json").is_file():
        parser.error(f"{args.model}: no model there: make model")
    if args.prompts % GPUS:
        parser.error(f"{args.prompts} prompts do not divide among {GPUS} workers")
    return args


def main() -> None:
    """Train, and say a line a step."""
    args = parsed()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit("stopped; the same command goes on behind the last step"))
    args.folder.mkdir(parents=True, exist_ok=True)
    log = args.folder / "console.log"
    begun = args.folder / SETTINGS
    if not begun.exists():
        if any(args.folder.iterdir()):
            sys.exit(f"{args.folder}: holds something else, or a start that was cut short; give a new folder")
        prepare(args)
    elif begun.read_text() != settings(args):
        sys.exit(f"{begun}: a training with other settings was begun there; give the same, or another folder")
    seconds = (
        [float(found["timing_s/step"]) for found in metrics(log.read_text()).values()] if log.exists() else []
    )
    with open(log, "a", encoding="utf-8") as console:
        while (done := finished(args.folder)) < args.steps:
            drop_older_checkpoints(args.folder, done)
            last = until(done, args.steps, args.stretch_minutes, seconds)
            print(
                f"{time.strftime('%H:%M:%S')} steps {done + 1} to {last}: Ray and two engines start",
                flush=True,
            )
            seconds += stretch(args, last, console)
            if finished(args.folder) == done:
                sys.exit(f"no step was finished: {log} says why")
    print(f"{args.steps} steps are trained: {args.folder / 'entropies'}")


if __name__ == "__main__":
    main()
