"""A recorded run of the demo's real model, with what verl would dump beside it.

    python tests/helpers/real_run.py MODEL OUT [--steps 3 --dtype float32 ...]

writes OUT/entropies/entropy_step_<step>.json, OUT/rollouts/<step>.jsonl (prompt, response with tool texts, score)
and OUT/books.json: the loop's own segments and, with --sampled, what the engine's sampler was given (a token id
and the float64 entropy of its row of logits, in nats, for each row of each step).

ARPO_TEST_ENGINE_OPTIONS, an object in JSON, are further arguments of vLLM's LLM.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from engines import KIND, start_engine

from arpo_entropy_recorder.mixin import record_entropy
from arpo_entropy_recorder.rollout.loop import Prompts, ToolRollout
from arpo_entropy_recorder.rollout.prompts import encode_prompts, pad_left
from arpo_entropy_recorder.rollout.tools.load import load_tools
from arpo_entropy_recorder.taps.patching import find_sampler

DEMO = Path(__file__).resolve().parents[2] / "scripts" / "demo_real"
sys.path.insert(0, str(DEMO))


def score(text, answer):
    """1 for the answer, 0 for another one, -1 where there is none: a rough reward of our own."""
    found = re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)
    return -1.0 if not found else float(answer.lower() in found[-1].lower())


def watch_sampler(llm):
    """A list that gets (token id, nats in float64) of every row that the engine samples from."""
    runner = llm.llm_engine
    runner = getattr(runner, "engine_core", runner)
    runner = getattr(runner, "engine_core", runner).model_executor.driver_worker.worker.model_runner
    rows, sampled = [], []

    def before(module, args, kwargs):
        logits = kwargs["logits"] if "logits" in kwargs else args[0]
        log_p = torch.log_softmax(logits.double(), -1)
        rows[:] = (-(log_p.exp() * log_p).sum(-1)).tolist()

    def after(module, args, kwargs, output):
        if hasattr(output, "sampled_token_ids") and output.sampled_token_ids is not None:
            tokens = output.sampled_token_ids.flatten().tolist()
        else:
            tokens = [group.samples[0].output_token for group in output.outputs]
        sampled.extend(zip(tokens, rows, strict=True))

    sampler = find_sampler(runner)
    sampler.register_forward_pre_hook(before, with_kwargs=True)
    sampler.register_forward_hook(after, with_kwargs=True)
    return sampled


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    for name, default in (
        ("steps", 1),
        ("batch-size", 3),
        ("n", 2),
        ("response-length", 96),
        ("questions", 24),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--sampled", action="store_true", help="keep what the sampler was given")
    args = parser.parse_args()

    from write_prompts import prompts

    answers = [entry["answer"] for entry in json.loads((DEMO / "questions.json").read_text())]
    options = {"dtype": args.dtype, "max_model_len": 1024, "max_num_seqs": 16}
    if KIND != "v0":
        options |= {"num_gpu_blocks_override": 640, "max_num_batched_tokens": 512}
    options |= json.loads(os.environ.get("ARPO_TEST_ENGINE_OPTIONS", "{}"))
    llm = start_engine(args.model, **options)
    tokenizer = llm.get_tokenizer()
    sampled = watch_sampler(llm) if args.sampled else []
    config = {
        "entropy_save_dir": str(args.out / "entropies"),
        "entropy_strict": True,
        "entropy_window": 20,
        "record_tokens": True,
        "n": args.n,
        "initial_rollouts": (args.n + 1) // 2,
        "beam_size": 2,
        "temperature": args.temperature,
        "max_tool_calls": 3,
        "response_length": args.response_length,
        "seed": 0 if KIND == "v0" else None,
    }
    tools = load_tools(f"python,search={DEMO / 'dictionary.json'}")
    rollout = record_entropy(ToolRollout)(llm, tokenizer, config, tools)
    (args.out / "rollouts").mkdir(parents=True, exist_ok=True)
    books = []
    torch.manual_seed(0)
    for step in range(1, args.steps + 1):
        chosen = [(i + (step - 1) * args.batch_size) % args.questions for i in range(args.batch_size)]
        rows = encode_prompts([prompts()[i] for i in chosen], tokenizer)
        batch = Prompts({"input_ids": pad_left(rows, tokenizer.pad_token_id)}, {"global_steps": step})
        rollout.generate_sequences(batch)
        books.append([asdict(segment) for segment in rollout.segments])
        with open(args.out / "rollouts" / f"{step}.jsonl", "w") as file:
            for t in rollout.trajectories:
                ids = t.tokens[: t.prompt_length], t.tokens[t.prompt_length :]
                prompt, response = (tokenizer.decode(part, skip_special_tokens=True) for part in ids)
                value = score(response, answers[chosen[t.prompt_idx]])
                line = {"input": prompt, "output": response, "score": value, "step": step}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    rollout.arpo_entropy_recorder.close()
    (args.out / "books.json").write_text(json.dumps({"segments": books, "sampled": sampled}))


if __name__ == "__main__":
    main()
