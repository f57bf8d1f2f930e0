"""Runs ARPO's own rollout class on a CPU and writes down what it did: python arpo_rollout.py TREE AGENT OUT MODE

TREE is a directory that holds `verl`, MODE `stock`, `record` (by the worker of a patched tree) or `fast` (with
`fast_logprobs`, wrapped here). ARPO_SEEDS adds as many training calls, each with a seed of its own. ARPO_LOOP names
the loop: `arpo`, also for AEPO, `tree` for ATPO's, `static` or `dynamic` for APPO's. The truth is read from the
variables of the running loop, so it owes nothing to the recorder. Run as a program, since a process can import one
`verl` only. None of ARPO's code is here.
"""

import json
import os
import random
import sys
from collections import Counter
from pathlib import Path

TREE, AGENT, OUT, MODE = sys.argv[1:5]
sys.path[:0] = [TREE, str(Path(__file__).parent)]

import fork_loops  # noqa: E402
import torch  # noqa: E402
from arpo_on_cpu import (  # noqa: E402
    build_rollout,
    build_rollout_of_worker,
    cpu_llm,
    make_batch,
    make_config,
    rollout_module,
)

LOOP = os.environ.get("ARPO_LOOP", "arpo")


class Trace:
    """The loop's own variables at each `generate` call, and the source of each branch as it is appended."""

    def __init__(self):
        self.start()

    def start(self, fork=None):
        self.fork = fork
        self.calls, self.parents, self.stops, self.appended = [], {}, {}, 0

    def frame(self):
        frame = sys._getframe()
        while frame is not None:
            if (
                frame.f_code.co_filename.endswith("vllm_rollout_with_tools.py")
                and "active_indices" in frame.f_locals
            ):
                return frame
            frame = frame.f_back
        return None

    def follow(self, frame, event, _):
        if event == "call":
            ours = frame.f_code.co_name == "generate_sequences" and frame.f_code.co_filename.startswith(TREE)
            return self.follow if ours else None
        variables = frame.f_locals
        if event == "return":
            self.number_last(variables)
        new = variables.get("new_inputs", ())
        if len(new) > self.appended and len(variables["new_sample_origins"]) == len(new):
            restart = not variables["new_result_masks"][-1]
            slot = len(variables["curr_inputs"]) + len(new) - 1
            self.parents[slot] = None if restart else variables["source_idx"]
            if not restart:
                self.stops[slot] = self.stops[variables["source_idx"]]
            self.appended = len(new)
        self.appended = min(self.appended, len(new))
        return self.follow

    def number_last(self, variables):
        """Keep what the loop has worked out of the last call's log-probabilities, in the order of its slots."""
        if self.calls and "current_entropy_dict" in variables:
            self.calls[-1]["numbers"] = list(variables["current_entropy_dict"].values())

    def generate(self, stock):
        def traced(llm, *args, **kwargs):
            frame = self.frame()
            prompts = [list(tokens) for tokens in kwargs["prompt_token_ids"]]
            variables = dict(frame.f_locals) if frame is not None else {}
            segments = self.fork.before() if self.fork else None
            outputs = stock(llm, *args, **kwargs)
            call = {"prompts": prompts, "outputs": [list(o.outputs[0].token_ids) for o in outputs]}
            call["log_probabilities"] = [log_probabilities(o.outputs[0]) for o in outputs]
            self.number_last(variables)
            call["temperature"] = kwargs["sampling_params"].temperature
            if self.fork:
                self.fork.after(outputs)
                call["segments"] = segments
            elif "result_masks" in variables:
                row_of = {
                    slot: row for row, slots in variables["sample_to_indices"].items() for slot in slots
                }
                call["segments"] = [
                    {
                        "sample_idx": slot,
                        "prompt_idx": row_of[slot],
                        "parent_idx": self.parents.get(slot),
                        "round": variables["call_counters"][slot],
                        "is_after_tool_call": variables["result_masks"][slot][-1:] == [0],
                        "tool": self.stops.get(slot) if variables["result_masks"][slot][-1:] == [0] else None,
                        "mid_start": False,
                    }
                    for slot in variables["active_indices"]
                ]
                for slot, output in zip(variables["active_indices"], outputs, strict=True):
                    self.stops[slot] = str(output.outputs[0].stop_reason).strip("</>")
            self.calls.append(call)
            return outputs

        return traced


def log_probabilities(output):
    """Of each token, in the dict's order: [id, logprob, rank, text]; and their sum, as the engine gives it."""
    if output.logprobs is None:
        return None
    tokens = [
        [[i, p.logprob, p.rank, p.decoded_token] for i, p in token.items()] for token in output.logprobs
    ]
    return {"tokens": tokens, "cumulative": output.cumulative_logprob}


def main():
    if LOOP in ("static", "dynamic"):
        fork_loops.lend_appo_its_prompt()
    llm_class = cpu_llm(max_num_seqs=6)
    wrap = None
    if MODE == "fast":
        from arpo_entropy_recorder.mixin import record_entropy as wrap
    trace = Trace()
    options = {
        "entropy_save_dir": OUT,
        "entropy_window": 3,
        "entropy_strict": True,
        "fast_logprobs": MODE == "fast",
    }
    if LOOP == "tree":
        options |= fork_loops.ATPO_OPTIONS
    elif LOOP in ("static", "dynamic"):
        options["appo_dynamic_branching"] = LOOP == "dynamic"
    config = make_config(**options)
    if LOOP == "tree":
        fork_loops.prepare_atpo(rollout_module(config.mode))
    rollout = (
        build_rollout_of_worker(AGENT, config) if MODE == "record" else build_rollout(AGENT, config, wrap)
    )
    tokenizer = rollout.tokenizer
    llm_class.generate = trace.generate(llm_class.generate)

    def batch(texts, **meta_info):
        return make_batch(tokenizer, texts, **meta_info)

    fork = {"tree": fork_loops.Tree, "static": fork_loops.Appo, "dynamic": fork_loops.Appo}.get(LOOP)
    texts = ["Who wrote it?", "How long is the river?", "Why?", "When did they meet, and where?", "How many?"]
    if LOOP in ("static", "dynamic"):
        # Its text goes before the first of these.
        texts = [f"Answer.<|im_end|>{text}" for text in texts]
    calls = [
        ("train", batch(texts, global_steps=1)),
        ("train", batch(texts[::-1], global_steps=2)),
        ("greedy", batch(texts[:2], global_steps=2, do_sample=False)),
        ("validate", batch(texts, global_steps=2, validate=True)),
    ]
    extra = range(3, 3 + int(os.environ.get("ARPO_SEEDS", 0)))
    calls += [("train", batch(texts[step % 3 :], global_steps=step)) for step in extra]
    report, files, first_call = [], Counter(), None
    while calls:
        kind, prompts = calls.pop(0)
        random.seed(len(report))
        torch.manual_seed(len(report))
        trace.start(fork and fork(first_call if kind == "branches" else None))
        sys.settrace(trace.follow)
        output = rollout.generate_sequences(prompts)
        sys.settrace(None)
        step = prompts.meta_info.get("global_steps", report[-1]["step"] if report else None)
        if LOOP == "dynamic" and kind == "train":
            masks, tools = output.batch["loss_mask"].tolist(), trace.fork.tools
            first_call = masks, [tools.get(slot, []) for slot in range(len(masks))]
            request = fork_loops.branch_request(tokenizer, output, branches=2)
            calls.insert(0, ("branches", request))
        metrics = {key: value for key, value in output.meta_info["metrics"].items() if "time" not in key}
        report.append(
            {
                "kind": kind,
                "step": step,
                "number": files[kind == "validate", step],
                "calls": trace.calls,
                "responses": output.batch["responses"].tolist(),
                "loss_mask": output.batch["loss_mask"].tolist(),
                "metrics": metrics,
                "masks": len(rollout.sampling_params.logits_processors or ()),
                "initial_entropies": dict(getattr(rollout, "initial_entropy_dict", {})),
            }
        )
        files[kind == "validate", step] += 1
    (Path(OUT) / f"{MODE}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
