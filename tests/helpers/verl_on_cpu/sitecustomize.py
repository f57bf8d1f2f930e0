"""Lets verl 0.9's own trainer run without a GPU: every process with this directory on PYTHONPATH imports this first.

VERL_PLATFORM=cpu and VERL_ENGINE_DEVICE=cuda belong to it. What is mended is what verl and vLLM take for granted of a
GPU, each in the module it is about, when that module is imported: a device "cpu" of verl's, one process group for it,
and weights that stay where the trainer's updates find them. None of it touches the agent loop, the sampling, the
transfer of weights, the trainer's steps or the recorder. None of verl's code is here.
"""

import contextlib
import functools
import types

from mending import mend_when_imported


def mend_platforms(module):
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
        # Ray is told of a GPU that there is not.
        ray_resource_name = answer("GPU")
        ray_noset_envvars = answer(["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"])
        # Weights go to the server by shared memory, as from an NPU.
        is_ipc_supported = answer(False)

        def nvtx_range(self, message):
            return contextlib.nullcontext()


def mend_process_group(c10d):
    stock = c10d.init_process_group

    @functools.wraps(stock)
    def init_process_group(backend=None, **options):
        # One backend for the host and one for its device, which here are the same.
        return stock("gloo" if backend == "cpu:gloo,cpu:gloo" else backend, **options)

    c10d.init_process_group = init_process_group


def mend_linear_layers(module):
    # vLLM's CPU build repacks weights for its own kernels and drops the original, which an update then misses.
    import torch

    def keep(layer, remove_weight):
        layer.cpu_linear = torch.nn.functional.linear

    module.dispatch_cpu_unquantized_gemm = keep


MENDED = {
    "verl.plugin.platform.platform_manager": mend_platforms,
    "torch.distributed.distributed_c10d": mend_process_group,
    "vllm.model_executor.layers.utils": mend_linear_layers,
}


mend_when_imported(MENDED)
