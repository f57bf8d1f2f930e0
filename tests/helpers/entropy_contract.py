"""What every implementation of `entropy_into` must do; the test modules say which one and on which device."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.special import entr, softmax
from torch import Tensor

INF, NAN = float("inf"), float("nan")
UNTOUCHED = -7.0
NATS = 1e-5  # the worst seen is 2e-6
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
LARGEST = {dtype: torch.finfo(dtype).max for dtype in DTYPES}


def oracle(logits: Tensor, temperature: Tensor | None = None) -> np.ndarray:
    """Entropy in nats, [num_rows] float64, of rows that have one, by numpy and scipy."""
    z = logits.double().cpu().numpy()
    if temperature is not None:
        t = temperature.cpu().numpy().astype(np.float64)
        z = z / np.where(t <= np.float32(1e-5), 1.0, t)[:, None]
    return entr(softmax(z, axis=-1)).sum(-1)


def random_logits(num_rows: int, vocab_size: int, dtype: torch.dtype, masked: float = 0.0) -> Tensor:
    """Rows from nearly uniform to nearly one-hot; a share `masked` of the entries after the first is -inf."""
    generator = torch.Generator().manual_seed(num_rows * vocab_size)
    spread = torch.logspace(-1, 1, num_rows)[:, None]
    logits = torch.randn(num_rows, vocab_size, generator=generator) * spread
    mask = torch.rand(num_rows, vocab_size, generator=generator) < masked
    mask[:, 0] = False
    return logits.masked_fill(mask, -INF).to(dtype)


class EntropyContract:
    """Subclasses set `device` and `entropy_into`."""

    device: ClassVar[str]
    entropy_into: ClassVar[Callable[..., None]]

    def entropies(
        self,
        logits: Tensor,
        temperature: Tensor | None = None,
        rows: list[int] | None = None,
        index_dtype: torch.dtype = torch.int64,
    ) -> np.ndarray:
        """Entropies of the rows, written to every other slot, last row first; no other slot changes."""
        rows = list(range(len(logits))) if rows is None else rows
        history = torch.full((2 * len(rows) + 1,), UNTOUCHED, device=self.device)
        slots = torch.tensor(range(2 * len(rows) - 1, 0, -2), device=self.device, dtype=index_dtype)
        where = torch.tensor(rows, device=self.device, dtype=index_dtype)
        logits = logits.to(self.device)
        before = logits.clone()
        type(self).entropy_into(
            history, slots, logits, where, None if temperature is None else temperature.to(self.device)
        )
        assert torch.equal(logits.nan_to_num(nan=1.5), before.nan_to_num(nan=1.5))
        history = history.cpu().numpy()
        assert (history[::2] == UNTOUCHED).all()
        return history[1::2][::-1]

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("masked", [0.0, 0.5, 0.999])
    @pytest.mark.parametrize("vocab_size", [1, 2, 31, 300, 32000])
    def test_equals_float64(self, vocab_size: int, masked: float, dtype: torch.dtype) -> None:
        logits = random_logits(5, vocab_size, dtype, masked)
        np.testing.assert_allclose(self.entropies(logits), oracle(logits), rtol=0, atol=NATS)

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_equals_float64_at_a_vocabulary_of_151936(self, dtype: torch.dtype) -> None:
        logits = random_logits(3, 151936, dtype, 0.2)
        np.testing.assert_allclose(self.entropies(logits), oracle(logits), rtol=0, atol=NATS)

    @pytest.mark.parametrize(
        ("num_rows", "vocab_size"), [(1, 5000), (64, 1100), (65, 1100), (3, 513), (2, 1025), (1, 5127)]
    )
    def test_equals_float64_for_few_and_for_many_rows(self, num_rows: int, vocab_size: int) -> None:
        logits = random_logits(num_rows, vocab_size, torch.float32, 0.1)
        for _ in range(2):  # the second call finds whatever state the first one left
            np.testing.assert_allclose(self.entropies(logits), oracle(logits), rtol=0, atol=NATS)

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("vocab_size", [4, 5000])
    def test_extreme_logits_neither_overflow_nor_lose_digits(
        self, vocab_size: int, dtype: torch.dtype
    ) -> None:
        top = LARGEST[dtype]
        logits = torch.zeros(9, vocab_size, dtype=torch.float64)
        logits[0, 0] = top
        logits[1] = top
        logits[2] = -top
        logits[3, :2], logits[3, 2:] = top, -top
        logits[4, 1:] = -INF
        logits[5] += 1e4
        logits[5, 1] += 8.0
        logits[6] -= 1e4
        logits[7, :3] = torch.tensor([top, -INF, -top])
        logits[8, -2:] = min(1e30, top)
        logits = logits.to(dtype)
        np.testing.assert_allclose(self.entropies(logits), oracle(logits), rtol=0, atol=NATS)
        hot = torch.full((9,), 1e-4)
        np.testing.assert_allclose(self.entropies(logits, hot), oracle(logits, hot), rtol=0, atol=NATS)

    @pytest.mark.parametrize("vocab_size", [1, 2, 300, 5000])
    @pytest.mark.parametrize("elsewhere", [-INF, -1e4, -3e38])
    def test_a_one_hot_row_is_exactly_zero(self, vocab_size: int, elsewhere: float) -> None:
        logits = torch.full((3, vocab_size), elsewhere)
        logits[0, 0] = logits[1, vocab_size // 2] = logits[2, -1] = 3.0
        for values in (self.entropies(logits), self.entropies(logits, torch.tensor([0.7, 0.0, 2.0]))):
            assert (values == 0).all()
            assert not np.signbit(values).any()

    @pytest.mark.parametrize("vocab_size", [1, 2, 31, 300, 32000, 151936])
    @pytest.mark.parametrize("level", [0.0, 1e4, -6e4])
    def test_a_uniform_row_is_the_log_of_its_size(self, vocab_size: int, level: float) -> None:
        logits = torch.full((1, vocab_size), level, dtype=torch.float16)
        np.testing.assert_allclose(self.entropies(logits), np.log(vocab_size), rtol=2e-7, atol=0)

    @pytest.mark.parametrize("vocab_size", [1, 300, 5000])
    @pytest.mark.parametrize("bad", [NAN, INF])
    def test_a_nan_or_plus_infinity_anywhere_makes_its_row_nan_and_no_other(
        self, vocab_size: int, bad: float
    ) -> None:
        logits = random_logits(5, vocab_size, torch.float32, 0.3)
        logits[0, 0] = logits[1, vocab_size // 2] = logits[3, -1] = bad
        logits[4] = bad
        for values in (self.entropies(logits), self.entropies(logits, torch.full((5,), 0.5))):
            assert np.isnan(values).tolist() == [True, True, False, True, True]

    @pytest.mark.parametrize("vocab_size", [1, 300, 5000])
    def test_a_row_of_nothing_but_minus_infinity_is_nan(self, vocab_size: int) -> None:
        logits = torch.full((2, vocab_size), -INF)
        logits[1, -1] = 0.0
        values = self.entropies(logits)
        assert np.isnan(values[0])
        assert values[1] == 0

    def test_temperature_goes_with_the_row_and_a_greedy_one_counts_as_1(self) -> None:
        temperature = torch.tensor([0.0, -1.0, 1e-6, 1e-5, 1e-4, 0.1, 0.7, 1.0, 2.5, 100.0])
        logits = random_logits(10, 300, torch.bfloat16, 0.2)
        rows = [9, 0, 3, 3, 1, 2, 8, 4, 5, 7, 6, 0]
        expected = oracle(logits, temperature)[rows]
        np.testing.assert_allclose(self.entropies(logits, temperature, rows), expected, rtol=0, atol=NATS)
        assert expected[1] == oracle(logits)[0]

    def test_temperature_of_one_changes_nothing_and_may_be_an_expanded_scalar(self) -> None:
        logits = random_logits(6, 300, torch.float32)
        plain = self.entropies(logits)
        np.testing.assert_allclose(self.entropies(logits, torch.ones(6)), plain, rtol=0, atol=1e-6)
        np.testing.assert_allclose(self.entropies(logits, torch.ones(1).expand(6)), plain, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64], ids=str)
    def test_rows_are_gathered_in_any_order_and_more_than_once(self, index_dtype: torch.dtype) -> None:
        logits = random_logits(7, 300, torch.float32)
        rows = [6, 2, 2, 0, 6, 5]
        np.testing.assert_allclose(
            self.entropies(logits, rows=rows, index_dtype=index_dtype),
            oracle(logits)[rows],
            rtol=0,
            atol=NATS,
        )

    def test_no_rows_leave_the_history_as_it_is(self) -> None:
        assert len(self.entropies(random_logits(3, 31, torch.float32), rows=[])) == 0

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_strided_logits_and_indices(self, dtype: torch.dtype) -> None:
        whole = random_logits(8, 301, dtype).to(self.device)
        for logits in (whole[:, :300], whole[::2], whole[1:, 1:], whole.t()[:5], whole[:, ::3]):
            rows = torch.arange(len(logits) * 2, device=self.device)[::2] // 2
            history = torch.empty(len(logits), device=self.device)
            type(self).entropy_into(history, rows, logits, rows)
            np.testing.assert_allclose(history.cpu().numpy(), oracle(logits), rtol=0, atol=NATS)

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("vocab_size", [1, 3, 7, 8, 9, 15, 1017, 1023, 1025, 1031, 5119, 5127])
    def test_a_vocabulary_cut_from_a_padded_one(self, vocab_size: int, dtype: torch.dtype) -> None:
        padded = random_logits(4, 5136, dtype).to(self.device)
        padded[:, vocab_size:] = NAN
        padded[1, vocab_size - 1] = -INF
        padded[2, vocab_size - 1] = 100.0
        padded[3, vocab_size - 1] = NAN
        rows = torch.arange(4, device=self.device)
        history, hot = torch.empty(4, device=self.device), torch.full((4,), 0.7, device=self.device)
        for temperature in (None, hot):
            type(self).entropy_into(history, rows, padded[:, :vocab_size], rows, temperature)
            values = history.cpu().numpy()
            assert np.isnan(values[3])
            known = slice(0 if vocab_size > 1 else 2, 3)
            expected = oracle(padded[known, :vocab_size], None if temperature is None else hot[known])
            np.testing.assert_allclose(values[known], expected, rtol=0, atol=NATS)
            assert vocab_size > 1 or np.isnan(values[1])

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def test_equals_float64_and_lies_between_0_and_the_log_of_the_size(self, data: st.DataObject) -> None:
        width = data.draw(st.integers(1, 24), "vocab_size")
        value = (
            st.floats(-30, 30, width=32)
            | st.floats(width=32, allow_nan=False, allow_infinity=False)
            | st.just(-INF)
        )
        some = data.draw(
            st.lists(st.lists(value, min_size=width, max_size=width), min_size=1, max_size=4), "rows"
        )
        logits = torch.tensor(some, dtype=torch.float32)
        t = st.lists(st.floats(-1, 4, width=32), min_size=len(logits), max_size=len(logits))
        temperature = torch.tensor(data.draw(t, "temperature"), dtype=torch.float32)
        values = self.entropies(logits, temperature)
        dead = (logits == -INF).all(-1).numpy()
        assert np.isnan(values).tolist() == dead.tolist()
        values = values[~dead]
        expected = oracle(logits[torch.from_numpy(~dead)], temperature[torch.from_numpy(~dead)])
        np.testing.assert_allclose(values, expected, rtol=0, atol=NATS)
        assert (values >= 0).all()
        assert (values <= np.log(width) + 1e-6).all()
