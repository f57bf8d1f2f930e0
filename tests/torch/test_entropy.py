"""The torch path of the exact entropy, and the choice of a path."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from entropy_contract import NATS, EntropyContract, oracle, random_logits
from torch.utils._python_dispatch import TorchDispatchMode

from arpo_entropy_recorder.ops import entropy as module
from arpo_entropy_recorder.ops.entropy import _or_torch, entropy, entropy_into, entropy_into_torch


class TestTorchOnCpu(EntropyContract):
    device = "cpu"
    entropy_into = staticmethod(entropy_into)


if torch.cuda.is_available():

    class TestTorchOnCuda(EntropyContract):
        device = "cuda"
        entropy_into = staticmethod(entropy_into_torch)

else:

    @pytest.mark.skip(reason="NO CUDA DEVICE: the torch path was tested on the CPU only")
    def test_torch_on_cuda() -> None: ...


def test_rows_beyond_a_block_are_done_block_by_block_without_a_larger_temporary() -> None:
    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.data_ptr() != logits.data_ptr():
                self.numel = max(self.numel, result.numel())
            return result

    logits = random_logits(11, 151936, torch.bfloat16)
    temperature = torch.linspace(0.5, 1.5, 11)
    with Largest() as largest:
        values = entropy(logits, temperature)
    np.testing.assert_allclose(values.numpy(), oracle(logits, temperature), rtol=0, atol=NATS)
    assert 0 < largest.numel <= module.BLOCK_ELEMENTS < logits.numel()


def test_a_row_longer_than_a_block_is_a_block_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", 100)
    logits = random_logits(4, 300, torch.float32)
    np.testing.assert_allclose(entropy(logits).numpy(), oracle(logits), rtol=0, atol=NATS)


def test_entropy_of_all_rows_keeps_no_graph() -> None:
    logits = random_logits(3, 300, torch.float32).requires_grad_()
    values = entropy(logits)
    assert not values.requires_grad
    assert values.dtype == torch.float32
    np.testing.assert_allclose(values.numpy(), oracle(logits.detach()), rtol=0, atol=NATS)


def test_rows_are_chosen_in_the_order_given(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, rows = random_logits(5, 300, torch.float32), torch.tensor([4, 0, 3])
    temperature = torch.tensor([0.5, 1.0, 1.0, 0.0, 2.0])
    right = oracle(logits / torch.tensor([0.5, 1.0, 1.0, 1.0, 2.0])[:, None])[rows]
    for block in (module.BLOCK_ELEMENTS, 600):
        monkeypatch.setattr(module, "BLOCK_ELEMENTS", block)
        np.testing.assert_allclose(entropy(logits, temperature, rows).numpy(), right, rtol=0, atol=NATS)


def test_history_made_outside_inference_mode_is_written_inside_it() -> None:
    history, logits = torch.zeros(1), torch.zeros(1, 2)
    with torch.inference_mode():
        entropy_into(history, torch.tensor([0]), logits, torch.tensor([0]))
    assert history.item() == pytest.approx(np.log(2))


def test_cuda_without_triton_takes_the_torch_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "arpo_entropy_recorder.ops.entropy_triton", raising=False)
    assert module._path.__wrapped__("cuda") is entropy_into_torch


def test_the_choice_is_made_once() -> None:
    module._path.cache_clear()
    for _ in range(2):
        entropy_into(torch.zeros(1), torch.tensor([0]), torch.zeros(1, 2), torch.tensor([0]))
    assert module._path.cache_info().misses == 1


def test_a_fused_kernel_that_cannot_be_compiled_gives_way_to_torch_once_and_for_all(caplog):
    calls = []

    def fused(*args):
        calls.append(args)
        raise RuntimeError("Failed to find C compiler")

    path = _or_torch(fused)
    logits, rows = torch.randn(3, 50), torch.tensor([2, 0])
    for _ in range(2):
        found, expected = torch.zeros(4), torch.zeros(4)
        path(found, rows, logits, rows)
        entropy_into_torch(expected, rows, logits, rows)
        assert torch.equal(found, expected)
    assert len(calls) == 1
    assert sum("torch takes over" in message for message in caplog.messages) == 1
