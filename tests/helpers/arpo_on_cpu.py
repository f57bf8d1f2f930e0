"""ARPO's own rollout class built on a CPU, from a clone that the caller has put on sys.path first.

For arpo_rollout.py and benchmarks/benchmark_rollout.py. None of ARPO's code is here.
"""

import importlib
import os
import socket

os.environ["VLLM_USE_V1"] = "0"
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")

import torch


def cpu_llm(**options):
    """What ARPO's class takes for granted of a GPU; returns the LLM class that it will build, with `options`."""
    import vllm
    from verl.workers.rollout.vllm_rollout import vllm_rollout_spmd

    for name in ("memory_allocated", "memory_reserved", "max_memory_allocated"):
        setattr(torch.cpu, name, lambda *a, **k: 0)
    torch.cpu.mem_get_info = lambda *a, **k: (1 << 30, 1 << 30)

    class CpuLLM(vllm.LLM):
        def __init__(self, **asked):
            kept = ("model", "dtype", "max_model_len", "max_num_batched_tokens", "seed", "disable_log_stats")
            super().__init__(enforce_eager=True, **{key: asked[key] for key in kept} | options)

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


def make_config(**options):
    from omegaconf import OmegaConf

    tools = {
        tag: {"class_path": f"arpo_tools.{tag.title()}Tool", "params": {}} for tag in ("search", "python")
    }
    return OmegaConf.create(
        {
            "n": 4, "initial_rollouts": 2, "beam_size": 2, "branch_probability": 0.6, "entropy_weight": 0.2,
            "enable_dynamic_rollouts": True, "initial_entropy_tokens": 10,
            "tools": {"call_limit": 3, "max_workers": 4, "timeout": 20, "retry_count": 1, "tool_instances": tools},
            "prompt_length": 64, "response_length": 96, "max_model_len": 256, "max_num_batched_tokens": 2048,
            "dtype": "float32", "enforce_eager": True, "free_cache_engine": False, "load_format": "auto",
            "tensor_model_parallel_size": 1, "gpu_memory_utilization": 0.1, "disable_log_stats": True,
            "enable_chunked_prefill": False, "temperature": 1.0, "top_p": 1.0, "top_k": -1,
            "val_kwargs": {"top_k": -1, "top_p": 1.0, "temperature": 0.7, "n": 1, "do_sample": True},
        }
        | options
    )  # fmt: skip


def rollout_module(mode=None):
    """The module of the class for a `rollout.mode`."""
    name = "vllm_rollout_with_tools" + ("_tree_offline" if mode == "sync_with_tool_tree" else "")
    return importlib.import_module(f"verl.workers.rollout.vllm_rollout.{name}")


def build_rollout(agent, config, wrap=None):
    """A vLLMRolloutWithTools, or a `wrap` of it, for the toy agent in the directory `agent`, after `cpu_llm`."""
    from transformers import AutoConfig, AutoTokenizer

    vLLMRolloutWithTools = rollout_module(config.get("mode")).vLLMRolloutWithTools
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1, 1), mesh_dim_names=("dp", "infer_tp"))
    cls = wrap(vLLMRolloutWithTools) if wrap else vLLMRolloutWithTools
    return cls(
        model_path=str(agent),
        config=config,
        tokenizer=AutoTokenizer.from_pretrained(agent),
        model_hf_config=AutoConfig.from_pretrained(agent),
        device_mesh=mesh,
        trust_remote_code=False,
    )


def build_rollout_of_worker(agent, config):
    """The rollout that verl's own worker picks and builds, by the very lines that the patch changes."""
    from types import SimpleNamespace

    from omegaconf import OmegaConf
    from transformers import AutoConfig, AutoTokenizer
    from verl.workers import fsdp_workers
    from verl.workers.sharding_manager import fsdp_vllm

    # It would shard a model over GPUs; the rollout does without.
    fsdp_vllm.FSDPVLLMShardingManager = lambda **options: None
    rollout = OmegaConf.to_container(config) | {"name": "vllm"}
    rollout.setdefault("mode", "sync_with_tool")
    worker = SimpleNamespace(
        config=OmegaConf.create({"rollout": rollout, "model": {"path": str(agent)}}),
        world_size=1,
        rank=0,
        tokenizer=AutoTokenizer.from_pretrained(agent),
        actor_model_config=AutoConfig.from_pretrained(agent),
        actor_module_fsdp=None,
        _is_lora=False,
        _is_offload_param=False,
    )
    return fsdp_workers.ActorRolloutRefWorker._build_rollout(worker)[0]


def make_batch(tokenizer, texts, **meta_info):
    """A left-padded DataProto of prompts."""
    from verl import DataProto

    rows = [tokenizer.encode(text) for text in texts]
    length = max(map(len, rows))
    ids = torch.tensor([[tokenizer.pad_token_id] * (length - len(row)) + row for row in rows])
    mask = (ids != tokenizer.pad_token_id).long()
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return DataProto.from_dict(
        {"input_ids": ids, "attention_mask": mask, "position_ids": positions}, meta_info=meta_info
    )
