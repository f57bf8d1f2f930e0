"""Lets ARPO's own trainer run without a GPU: every process with this directory on PYTHONPATH imports this first.

verl falls back to the device "cpu" by itself; what it then still takes for granted of a GPU is patched here, each
line in the module it is about, when that module is imported. None of it touches the rollout loop, the sampling, the
trainer or the recorder. TRAINER_GPUS says how many GPUs Ray is told that there are, TRAINER_TEMP where its sockets
go; TRAINER_BRANCHING_SEED makes the loop branch alike in every run. None of ARPO's code is here.
"""

import functools
import os
import random
import socket

from import_hooks import patch_when_imported


def patch_torch(torch):
    cpu = torch.cpu
    for name in ("memory_allocated", "memory_reserved", "max_memory_allocated", "max_memory_reserved"):
        setattr(cpu, name, lambda *_, **__: 0)
    cpu.mem_get_info = lambda *_: (1 << 30, 1 << 30)
    cpu.empty_cache = lambda: None
    cpu.get_device_name = lambda *_: "cpu"
    cpu.manual_seed, cpu.get_rng_state, cpu.set_rng_state = (
        torch.manual_seed,
        torch.get_rng_state,
        torch.set_rng_state,
    )

    class Autocast(torch.autocast):
        # verl asks for bfloat16 wherever it trains. A CPU that cannot multiply it takes eight times as long.
        def __init__(self, *args, **options):
            super().__init__(*args, **options | {"enabled": False})

    torch.autocast = Autocast


def patch_process_group(c10d):
    stock = c10d.init_process_group

    @functools.wraps(stock)
    def init_process_group(backend=None, **options):
        if "hccl" not in str(backend):
            return stock(backend, **options)
        # Asked for is hccl, a Huawei NPU's, wherever there is no CUDA. The meeting point is on loopback alone:
        # torch's own listens everywhere.
        place = ("127.0.0.1", int(os.environ["MASTER_PORT"]))
        from torch.distributed import TCPStore

        is_first = options["rank"] == 0
        listener = socket.create_server(place).detach() if is_first else None
        size = options["world_size"]
        store = TCPStore(*place, size, is_master=is_first, master_listen_fd=listener, use_libuv=False)
        return stock("gloo", store=store, **options)

    c10d.init_process_group = init_process_group


def patch_fsdp(module):
    stock = module.FullyShardedDataParallel.__init__

    @functools.wraps(stock)
    def init(self, *args, **options):
        # FSDP broadcasts rank 0's weights from GPUs only; here every rank reads them, see patch_fsdp_utils.
        stock(self, *args, **options | {"sync_module_states": False, "cpu_offload": None})

    module.FullyShardedDataParallel.__init__ = init


def patch_transformers(module):
    stock = module.AutoConfig.from_pretrained.__func__

    def from_pretrained(cls, *args, **options):
        if options.get("attn_implementation") == "flash_attention_2":
            options["attn_implementation"] = "sdpa"
        return stock(cls, *args, **options)

    module.AutoConfig.from_pretrained = classmethod(from_pretrained)


def patch_fsdp_utils(module):
    stock = module.get_init_weight_context_manager
    module.get_init_weight_context_manager = lambda use_meta_tensor=True, mesh=None: stock(False, mesh)


def patch_torch_functional(module):
    module.check_cuda_is_available = lambda: lambda function: function


def patch_rollout(module):
    stock = module.LLM

    class CpuLLM(stock):
        def __init__(self, **options):
            for name in ("enable_sleep_mode", "distributed_executor_backend"):
                options.pop(name)
            super().__init__(**options | {"enable_prefix_caching": False, "enable_chunked_prefill": False})

        def sleep(self, *_, **__):
            pass

        def wake_up(self, *_, **__):
            # Before each rollout. The loop branches by it and never seeds it, so no two runs would be alike.
            if seed := os.environ.get("TRAINER_BRANCHING_SEED"):
                random.seed(int(seed))

    module.LLM = CpuLLM


def patch_ray(ray):
    stock = ray.init

    @functools.wraps(stock)
    def init(*args, **options):
        return stock(
            *args,
            **options | {"num_gpus": int(os.environ["TRAINER_GPUS"]), "include_dashboard": False},
            _node_ip_address="127.0.0.1",
            _temp_dir=os.environ["TRAINER_TEMP"],
        )

    ray.init = init


PATCHES = {
    "torch": patch_torch,
    "torch.distributed.distributed_c10d": patch_process_group,
    "torch.distributed.fsdp.fully_sharded_data_parallel": patch_fsdp,
    "transformers.models.auto.configuration_auto": patch_transformers,
    "verl.utils.fsdp_utils": patch_fsdp_utils,
    "verl.utils.torch_functional": patch_torch_functional,
    "verl.workers.rollout.vllm_rollout.vllm_rollout_spmd": patch_rollout,
    "ray": patch_ray,
}


patch_when_imported(PATCHES)
