"""Lets verl 0.9's own trainer run without a GPU: every process with this directory on PYTHONPATH imports this first.

VERL_PLATFORM=cpu and VERL_ENGINE_DEVICE=cuda belong to it. Each patch is made in the module that takes a GPU for
granted, when that module is imported: a device "cpu" of verl's, for which it sends weights through shared memory;
one process group; and vLLM's linear layers keep their weights where an update finds them. The agent loop, the
sampling, the trainer's steps and the recorder are as they are. None of verl's code is here.
"""

import contextlib
import functools
import types

from import_hooks import patch_when_imported


def patch_platforms(module):
    """A platform of verl's, as a vendor adds one."""
    import torch

    class Device(types.ModuleType):
        """torch.cpu, and nothing happens where it lacks what torch.cuda has."""

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return getattr(torch.cpu, name, None) or (lambda *_, **__: 0)

    device = Device("cpu")
    device.mem_get_info = lambda *_: (1 << 30, 1 << 30)
    device.get_device_name = lambda *_: "cpu"
    device.get_rng_state, device.set_rng_state = torch.get_rng_state, torch.set_rng_state

    def nothing(self, *_, **__):
        return None

    def answer(value):
        return lambda self, *_, **__: value

    @module.PlatformRegistry.register(platform="cpu")
    class Cpu(module.PlatformBase):
        device_name = vendor_name = "cpu"
        device_module = device
        is_available, device_count, current_device = answer(True), answer(1), answer("cpu")
        set_device = synchronize = empty_cache = set_allocator_settings = nothing
        profiler_start = profiler_stop = cudart = nothing
        manual_seed = manual_seed_all = lambda self, seed: torch.manual_seed(seed)
        get_device_capability = answer((None, None))
        communication_backend_name, visible_devices_envvar = answer("gloo"), answer("CUDA_VISIBLE_DEVICES")
        # The test tells Ray that there is one, for the worker that asks for it.
        ray_resource_name = answer("GPU")
        ray_noset_envvars = answer(["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"])
        # Weights go to the server by shared memory, as from an NPU.
        is_ipc_supported = answer(False)

        def nvtx_range(self, message):
            return contextlib.nullcontext()


def patch_process_group(c10d):
    stock = c10d.init_process_group

    @functools.wraps(stock)
    def init_process_group(backend=None, **options):
        # One backend for the host and one for its device, which here are the same.
        return stock("gloo" if backend == "cpu:gloo,cpu:gloo" else backend, **options)

    c10d.init_process_group = init_process_group


def patch_linear_layers(module):
    # vLLM's CPU build repacks weights for its own kernels and drops the original, which an update then misses.
    import torch

    def keep(layer, remove_weight):
        layer.cpu_linear = torch.nn.functional.linear

    module.dispatch_cpu_unquantized_gemm = keep


PATCHES = {
    "verl.plugin.platform.platform_manager": patch_platforms,
    "torch.distributed.distributed_c10d": patch_process_group,
    "vllm.model_executor.layers.utils": patch_linear_layers,
}


patch_when_imported(PATCHES)
