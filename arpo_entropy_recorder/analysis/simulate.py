"""Made-up steps, only to see what a figure looks like."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.step_files.read import Step

MAX_ROUNDS = 100
MAX_SAMPLES = 100_000
STEPS = 10
WINDOW = 20
SEED = 0


def simulate_steps(num_rounds: int = 5, num_samples: int = 100) -> Iterator[Step]:
    """Yield up to 10 steps that together hold `num_samples` records of each of the rounds 0 to `num_rounds`.

    Entropies are beta distributed, low before the first tool result and high after each; the same every time.
    Raises UserError for numbers out of range.
    """
    for name, number, most in (
        ("num_rounds", num_rounds, MAX_ROUNDS),
        ("num_samples", num_samples, MAX_SAMPLES),
    ):
        if not 1 <= number <= most:
            raise UserError(f"{name} {number}: give a number from 1 to {most:,}")
    return _steps(num_rounds, num_samples)


def _steps(num_rounds: int, num_samples: int) -> Iterator[Step]:
    random = np.random.default_rng(SEED)
    bounds = np.linspace(0, num_samples, min(STEPS, num_samples) + 1).astype(int)
    for index, size in enumerate(np.diff(bounds).tolist()):
        sample, rounds = (grid.ravel() for grid in np.meshgrid(np.arange(size), np.arange(num_rounds + 1)))
        # after a tool result the policy starts uncertain, a little less so with each round and each step
        mean = np.where(rounds == 0, 0.35, 0.55 + 0.17 * np.exp(-0.25 * (rounds - 1))) - 0.008 * index
        entropy = random.beta(9 * mean, 9 * (1 - mean))
        fade = np.exp(-np.arange(WINDOW) / np.where(rounds == 0, 12.0, 5.0)[:, None])
        tool = np.where((sample + rounds) % 2, "python", "search")
        columns = {
            "sample_idx": sample,
            "prompt_idx": sample,
            "parent_idx": np.full(len(sample), -1),
            "round": rounds,
            "tool": np.where(rounds == 0, "", tool).astype(object),
            "is_after_tool_call": rounds > 0,
            "entropy": entropy,
            "source": np.full(len(sample), "simulated", object),
            "window": entropy[:, None] * (0.15 + 0.85 * fade),
        }
        yield Step(global_step=index + 1, validate=False, columns=columns)
