"""The change of entropy against the trajectory's own start, on which ARPO's branching rests."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from arpo_entropy_recorder.analysis.statistics import MIN_INTERVAL, Group
from arpo_entropy_recorder.step_files.read import Step

# Changes that differ by less count as equal: the difference comes from rounding.
ROUNDING = 1e-12
SIGNIFICANT = 0.05
PROMPTS, TRAJECTORIES = "prompts", "trajectories"


@dataclass(frozen=True)
class PairedTest:
    """After-tool against initial entropy, paired in each trajectory and averaged in each prompt.

    A trajectory's change is its mean after-tool entropy - its initial one. Rollouts of one prompt resemble one
    another, so that what is tested are the `n` prompts' mean changes; `over` is "prompts", or "trajectories"
    where no record tells its prompt and each trajectory stands for itself. `trajectories` counts those that
    have both entropies. `change` is the mean, `low` to `high` its 95 % interval by Student's t, `p` from Wilcoxon's
    signed-rank test, `effect` Cohen's d_z = mean / sd, `rising` the share that is above zero. NaN where not
    defined.
    """

    n: int
    over: str
    trajectories: int
    change: float
    low: float
    high: float
    p: float
    effect: float
    rising: float

    @property
    def p_words(self) -> str:
        """p as "= 0.012", or "< 1e-300" where it is too small for a float."""
        return "< 1e-300" if self.p < 1e-300 else f"= {self.p:.2g}"

    @property
    def size(self) -> str:
        """How many changes were tested, and of how many trajectories: "32 prompts with 512 trajectories"."""
        of = f" with {self.trajectories:,} trajectories" if self.over == PROMPTS else ""
        return f"{self.n:,} {self.over}{of}"

    @property
    def strength(self) -> str:
        """Effect size and p in words, or why there are none."""
        effect = (
            f"d_z = {self.effect:.2f}" if np.isfinite(self.effect) else "d_z not defined (all changes equal)"
        )
        return effect if np.isnan(self.p) else f"{effect}, Wilcoxon signed-rank p {self.p_words}"

    @property
    def verdict(self) -> str:
        """Whether the entropy after tool results exceeds the initial one; Yes or No only if interval and p agree."""
        if np.isnan(self.low):
            return "No answer"
        if self.low <= 0 <= self.high or self.p >= SIGNIFICANT:
            return "No clear difference between after-tool and initial entropy"
        if self.low > 0:
            return "Yes: after-tool entropy exceeds the initial one"
        return "No: after-tool entropy is below the initial one"

    @property
    def numbers(self) -> str:
        """What the verdict rests on."""
        if not self.n:
            return "no trajectory has both an initial and an after-tool entropy"
        change = f"mean change {self.change:+.4f}"
        if np.isnan(self.low):
            return f"{change}, but for an interval there have to be {MIN_INTERVAL} {self.over}, not {self.n}"
        return (
            f"{change}, 95 % interval [{self.low:+.4f}, {self.high:+.4f}], {self.strength}, over n = {self.size}; "
            f"it rises for {self.rising:.0%} of the {self.over}"
        )

    @property
    def answer(self) -> str:
        """One line: does the entropy after tool results exceed the initial one?"""
        return f"{self.verdict}: {self.numbers}."


@dataclass
class Pairs:
    """After-tool entropy minus the trajectory's initial entropy: a record's by round, a prompt's mean."""

    by_round: dict[int, Group] = field(default_factory=dict)
    unpaired: int = 0
    trajectories: int = 0
    _prompts_known: bool = False
    _changes: list[np.ndarray] = field(default_factory=list, repr=False)

    def add(self, step: Step) -> None:
        trajectory, initial = initial_entropies(step)
        columns = step.columns
        change = columns["entropy"] - initial[trajectory]
        after = columns["is_after_tool_call"] & ~np.isnan(columns["entropy"])
        paired = after & ~np.isnan(change)
        self.unpaired += int((after & ~paired).sum())
        for number in np.unique(columns["round"][paired]).tolist():
            group = self.by_round.setdefault(number, Group())
            group.add(change[paired & (columns["round"] == number)])
        count = np.bincount(trajectory[paired], minlength=len(initial))
        total = np.bincount(trajectory[paired], weights=change[paired], minlength=len(initial))
        of_trajectory = total[count > 0] / count[count > 0]
        prompt, known = prompts(step, step.trajectories[1][count > 0])
        self._changes.append(np.bincount(prompt, of_trajectory) / np.bincount(prompt))
        self.trajectories += len(of_trajectory)
        self._prompts_known |= known

    @property
    def changes(self) -> np.ndarray:
        """Each prompt's mean over its trajectories that have both entropies, float64[n]."""
        return np.concatenate([np.empty(0), *self._changes])

    def test(self) -> PairedTest:
        """Test the prompts' mean changes against zero."""
        changes = np.where(np.abs(self.changes) < ROUNDING, 0.0, self.changes)
        n, mean = len(changes), float(changes.mean()) if len(changes) else math.nan
        low = high = p = effect = math.nan
        if n >= MIN_INTERVAL:
            from scipy import stats

            p = float(stats.wilcoxon(changes).pvalue) if changes.any() else math.nan
            if np.ptp(changes) <= ROUNDING:
                low = high = mean
            else:
                # A bootstrap's interval is too narrow for few prompts: for eight, 13 % false answers instead of 5 %.
                low, high = map(float, stats.ttest_1samp(changes, 0).confidence_interval(0.95))
                effect = mean / float(changes.std(ddof=1))
        rising = float((changes > 0).mean()) if n else math.nan
        over = PROMPTS if self._prompts_known else TRAJECTORIES
        return PairedTest(n, over, self.trajectories, mean, low, high, p, effect, rising)


def prompts(step: Step, records: np.ndarray) -> tuple[np.ndarray, bool]:
    """Number the prompts of `records`, int64[n] indices; returns int64[n], and whether any is known.

    A prompt is known by the call, data-parallel rank and batch row; a record that tells none has its own.
    """
    none = np.full(len(step), -1)
    call, rank, row = (step.columns.get(name, none)[records] for name in ("call", "dp_rank", "prompt_idx"))
    known = row >= 0
    row = np.where(known, row, -1 - np.arange(len(row)))
    _, number = np.unique(np.stack([call, rank, row]), axis=1, return_inverse=True)
    return number.reshape(-1), bool(known.any())


def initial_entropies(step: Step) -> tuple[np.ndarray, np.ndarray]:
    """Each record's trajectory as a number, int64[n], and the trajectories' initial entropies, float64.

    A trajectory's initial entropy is that of its first record if this is a start (`Step.starts`); a branch
    whose first record is none has its parent's; NaN where none is known.
    """
    trajectory, first = step.trajectories
    none = np.full(len(step), -1)
    call, rank, sample, parent = (
        step.columns.get(name, none)[first] for name in ("call", "dp_rank", "sample_idx", "parent_idx")
    )
    known = step.starts[first]
    initial = np.where(known, step.columns["entropy"][first], np.nan)

    # Trajectories are numbered by call, rank and sample_idx, so their keys are in order.
    batch = np.cumsum((np.diff(call, prepend=call[:1]) != 0) | (np.diff(rank, prepend=rank[:1]) != 0))
    samples, code = np.unique(sample, return_inverse=True)
    keys = batch * len(samples) + code
    at = np.minimum(np.searchsorted(samples, parent), len(samples) - 1)
    wanted = batch * len(samples) + at
    ancestor = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    branch = (samples[at] == parent) & (keys[ancestor] == wanted)
    while len(heirs := np.flatnonzero(branch & ~known & known[ancestor])):  # one generation each time
        initial[heirs], known[heirs] = initial[ancestor[heirs]], True
    return trajectory, initial
