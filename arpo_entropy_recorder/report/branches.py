"""How branches score beside their prompt's other trajectories, by the entropy where they forked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from arpo_entropy_recorder.analysis.prompts import prompts
from arpo_entropy_recorder.report.sample import Dumped
from arpo_entropy_recorder.step_files.read import Step


@dataclass
class BranchScores:
    """For each step six sums: n, sum and sum of squares over prompts, of forks above the median, then below it.

    What is summed is a prompt's mean over its branches of: score - mean score of the prompt's other trajectories.
    A fork's entropy is that of the branch's first record; the median is that of all records of the same step and
    round after a tool result.
    """

    sums: dict[int, np.ndarray] = field(default_factory=dict)

    def add(self, step: Step, dumped: Mapping[int, Dumped]) -> None:
        """Take a step; `dumped` is by the number of a trajectory (`Step.trajectories`)."""
        first = step.trajectories[1]
        score = np.array([_score(dumped.get(number)) for number in range(len(first))])
        if np.isnan(score).all() or "parent_idx" not in step.columns:
            return
        entropy, rounds = step.columns["entropy"], step.columns["round"]
        after = step.columns["is_after_tool_call"] & ~np.isnan(entropy)
        median = {r: np.median(entropy[after & (rounds == r)]) for r in np.unique(rounds[after]).tolist()}
        prompt, _, known = prompts(step, first)
        if not known.any():
            return
        total = np.bincount(prompt, np.nan_to_num(score))
        count = np.bincount(prompt, ~np.isnan(score))
        found: tuple[dict[int, list[float]], dict[int, list[float]]] = ({}, {})
        for number in np.flatnonzero(step.columns["parent_idx"][first] >= 0).tolist():
            row, of = first[number], int(prompt[number])
            fork, middle = entropy[row], median.get(int(rounds[row]), np.nan)
            if np.isnan(score[number]) or count[of] < 2 or not after[row] or fork == middle:
                continue
            others = (total[of] - score[number]) / (count[of] - 1)
            found[0 if fork > middle else 1].setdefault(of, []).append(score[number] - others)
        sums = self.sums.setdefault(step.global_step, np.zeros(6))
        for side, by_prompt in enumerate(found):
            means = np.array([np.mean(values) for values in by_prompt.values()])
            sums[3 * side : 3 * side + 3] += [len(means), means.sum(), np.square(means).sum()]


def _score(dumped: Dumped | None) -> float:
    return np.nan if dumped is None or dumped.score is None else dumped.score
