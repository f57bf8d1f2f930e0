"""Made-up data: as many records as asked for, the same every time, and only where asked for."""

import numpy as np
import pytest

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.analysis.simulate import simulate_steps
from arpo_entropy_recorder.errors import UserError


@pytest.mark.parametrize(("num_rounds", "num_samples"), [(1, 1), (5, 100), (30, 7), (2, 1234)])
def test_every_round_has_as_many_records_as_asked_for(num_rounds, num_samples):
    analysis = analyse(simulate_steps(num_rounds, num_samples))
    assert {number: group.n for number, group in analysis.rounds.by_round.items()} == dict.fromkeys(
        range(1, num_rounds + 1), num_samples
    )
    assert analysis.rounds.initial.n == num_samples
    assert not analysis.left_out


def test_simulated_entropies_lie_in_0_to_1_and_are_the_same_every_time():
    first, second = (np.concatenate([s.columns["entropy"] for s in simulate_steps(5, 200)]) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.min() >= 0
    assert first.max() <= 1


@pytest.mark.parametrize("numbers", [(0, 100), (-1, 100), (5, 0), (5, -3), (10**9, 100), (5, 10**12)])
def test_numbers_out_of_range_are_refused_before_anything_is_made(numbers):
    with pytest.raises(UserError, match=r"^num_(rounds|samples) -?\d+: give a number from 1 to"):
        simulate_steps(*numbers)
