"""Runs ARPO's own rollout class on a CPU and writes down what it did: python arpo_rollout.py TREE AGENT OUT MODE

TREE is a `verl_arpo_entropy` or `verl_aepo_entropy` directory, MODE `stock` or `record`. The truth is read from
the variables of the running `generate_sequences` frame, so it owes nothing to the recorder. Run as a program,
since a process can import one `verl` only. None of ARPO's code is here.
"""

import json
import os
import random
import socket
import sys
from pathlib import Path

TREE, AGENT, OUT, MODE = sys.argv[1:5]
os.environ["VLLM_USE_V1"] = "0"
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
sys.path[:0] = [TREE, str(Path(__file__).parent)]

import torch  # noqa: E402


class SearchTool:
    """As ARPO's loader wants tools: built by its class path, with a tag and `execute`."""

    trigger_tag = "search"

    def execute(self, content, **_):
        if len(content) % 5 == 3:
            raise RuntimeError("the search engine is down")
        return "" if len(content) % 7 == 4 else f"found {content}"


class PythonTool:
    trigger_tag = "python"

    def execute(self, content, **_):
        return str(len(content))


def on_a_cpu():
    """What ARPO's class takes for granted of a GPU."""
    import vllm
    from verl.workers.rollout.vllm_rollout import vllm_rollout_spmd

    for name in ("memory_allocated", "memory_reserved", "max_memory_allocated"):
        setattr(torch.cpu, name, lambda *a, **k: 0)
    torch.cpu.mem_get_info = lambda *a, **k: (1 << 30, 1 << 30)

    class CpuLLM(vllm.LLM):
        def __init__(self, **options):
            kept = ("model", "dtype", "max_model_len", "max_num_batched_tokens", "seed", "disable_log_stats")
            super().__init__(enforce_eager=True, max_num_seqs=6, **{key: options[key] for key in kept})

        def sleep(self, *args, **kwargs):
            pass

        def wake_up(self, *args, **kwargs):
            pass

    vllm_rollout_spmd.LLM = CpuLLM
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    return CpuLLM


def make_config(agent):
    from omegaconf import OmegaConf

    tools = {tag: {"class_path": f"__main__.{tag.title()}Tool", "params": {}} for tag in ("search", "python")}
    return OmegaConf.create(
        {
            "n": 4, "initial_rollouts": 2, "beam_size": 2, "branch_probability": 0.6, "entropy_weight": 0.2,
            "enable_dynamic_rollouts": True, "initial_entropy_tokens": 10,
            "tools": {"call_limit": 3, "max_workers": 4, "timeout": 20, "retry_count": 1, "tool_instances": tools},
            "prompt_length": 64, "response_length": 96, "max_model_len": 256, "max_num_batched_tokens": 2048,
            "dtype": "float32", "enforce_eager": True, "free_cache_engine": False, "load_format": "auto",
            "tensor_model_parallel_size": 1, "gpu_memory_utilization": 0.1, "disable_log_stats": True,
            "enable_chunked_prefill": False, "seed": 0, "temperature": 1.0, "top_p": 1.0, "top_k": -1,
            "val_kwargs": {"top_k": -1, "top_p": 1.0, "temperature": 0.7, "n": 1, "do_sample": True},
            "entropy_save_dir": OUT, "entropy_window": 3, "entropy_strict": True,
        }
    )  # fmt: skip


class Trace:
    """The loop's own variables at each `generate` call, and the source of each branch as it is appended."""

    def __init__(self):
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

    def generate(self, stock):
        def traced(llm, *args, **kwargs):
            frame = self.frame()
            prompts = [list(tokens) for tokens in kwargs["prompt_token_ids"]]
            variables = dict(frame.f_locals) if frame is not None else {}
            outputs = stock(llm, *args, **kwargs)
            call = {"prompts": prompts, "outputs": [list(o.outputs[0].token_ids) for o in outputs]}
            call["temperature"] = kwargs["sampling_params"].temperature
            if "result_masks" in variables:
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
                    }
                    for slot in variables["active_indices"]
                ]
                for slot, output in zip(variables["active_indices"], outputs, strict=True):
                    self.stops[slot] = str(output.outputs[0].stop_reason).strip("</>")
            self.calls.append(call)
            return outputs

        return traced


def main():
    llm_class = on_a_cpu()
    from transformers import AutoConfig, AutoTokenizer
    from verl import DataProto
    from verl.workers.rollout.vllm_rollout.vllm_rollout_with_tools import (
        vLLMRolloutWithTools as rollout_class,
    )

    if MODE == "record":
        from arpo_entropy_recorder.mixin import record_entropy

        rollout_class = record_entropy(rollout_class)
    tokenizer = AutoTokenizer.from_pretrained(AGENT)
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1, 1), mesh_dim_names=("dp", "infer_tp"))
    trace = Trace()
    rollout = rollout_class(
        model_path=AGENT,
        config=make_config(AGENT),
        tokenizer=tokenizer,
        model_hf_config=AutoConfig.from_pretrained(AGENT),
        device_mesh=mesh,
        trust_remote_code=False,
    )
    llm_class.generate = trace.generate(llm_class.generate)

    def batch(texts, **meta_info):
        rows = [tokenizer.encode(text) for text in texts]
        length = max(map(len, rows))
        ids = torch.tensor([[tokenizer.pad_token_id] * (length - len(row)) + row for row in rows])
        mask = (ids != tokenizer.pad_token_id).long()
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        return DataProto.from_dict(
            {"input_ids": ids, "attention_mask": mask, "position_ids": positions}, meta_info=meta_info
        )

    texts = ["Who wrote it?", "How long is the river?", "Why?", "When did they meet, and where?", "How many?"]
    calls = [
        ("train", batch(texts, global_steps=1)),
        ("train", batch(texts[::-1], global_steps=2)),
        ("greedy", batch(texts[:2], global_steps=2, do_sample=False)),
        ("validate", batch(texts, global_steps=2, validate=True)),
    ]
    report = []
    for kind, prompts in calls:
        random.seed(len(report))
        torch.manual_seed(len(report))
        trace.calls, trace.parents, trace.stops, trace.appended = [], {}, {}, 0
        sys.settrace(trace.follow)
        output = rollout.generate_sequences(prompts)
        sys.settrace(None)
        metrics = {key: value for key, value in output.meta_info["metrics"].items() if "time" not in key}
        report.append(
            {
                "kind": kind,
                "calls": trace.calls,
                "responses": output.batch["responses"].tolist(),
                "loss_mask": output.batch["loss_mask"].tolist(),
                "metrics": metrics,
            }
        )
    (Path(OUT) / f"{MODE}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
