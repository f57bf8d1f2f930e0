"""The change of entropy against the trajectory's own start, on which ARPO's branching rests."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from arpo_entropy_recorder.analysis.ancestry import initial_entropies
from arpo_entropy_recorder.analysis.breakdown import by_tool
from arpo_entropy_recorder.analysis.prompts import PromptMeans, prompts
from arpo_entropy_recorder.analysis.selection import OTHERS
from arpo_entropy_recorder.analysis.statistics import MIN_INTERVAL, Group
from arpo_entropy_recorder.analysis.trend import CONFIDENCE, Trend, trend_of
from arpo_entropy_recorder.step_files.read import Step

# Changes that differ by less count as equal: the difference comes from rounding.
ROUNDING = 1e-12
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


@dataclass
class Pairs:
    """Each trajectory's after-tool entropies and its start: a record's change by round, a prompt's means by step.

    `unpaired` counts after-tool records without a known start, `without_prompt` trajectories that have both entropies
    and count one each, among others whose prompt is known. `trajectories` counts, for each step, all of them,
    those that were given a tool result, and those that have both entropies.
    """

    by_round: dict[int, Group] = field(default_factory=dict)
    unpaired: int = 0
    trajectories_of: dict[int, np.ndarray] = field(default_factory=dict)
    means: PromptMeans = field(default_factory=PromptMeans)
    by_tool: dict[str, PromptMeans] = field(default_factory=dict)
    _unknown: int = 0
    _prompts_known: bool = False
    _trends: dict[tuple[str | None, float], Trend | None] = field(default_factory=dict, repr=False)
    _test: PairedTest | None = field(default=None, repr=False)

    def add(self, step: Step) -> None:
        self._trends.clear()
        self._test = None
        trajectory, initial = initial_entropies(step)
        columns = step.columns
        entropy, results = columns["entropy"], columns["is_after_tool_call"]
        after = results & ~np.isnan(entropy)
        paired = after & ~np.isnan(initial[trajectory])
        self.unpaired += int((after & ~paired).sum())
        change = entropy - initial[trajectory]
        for number in np.unique(columns["round"][paired]).tolist():
            group = self.by_round.setdefault(number, Group())
            group.add(change[paired & (columns["round"] == number)])
        first = step.trajectories[1]
        prompt, names, known = prompts(step, first)
        self._prompts_known |= bool(known.any())
        self._unknown += int(np.count_nonzero(~known[np.unique(trajectory[paired])]))

        def take(means: PromptMeans, chosen: np.ndarray) -> int:
            count = np.bincount(trajectory[chosen], minlength=len(initial))
            total = np.bincount(trajectory[chosen], weights=entropy[chosen], minlength=len(initial))
            both = count > 0
            number = np.unique(prompt[both], return_inverse=True)[1].reshape(-1)
            means.add(step.global_step, number, names[both], total[both] / count[both], initial[both])
            return int(both.sum())

        pairs = take(self.means, paired)
        chosen = results & ~step.columns.get(OTHERS, np.zeros(len(step), bool))
        with_result = len(np.unique(trajectory[chosen]))
        counts = np.array([len(initial), with_result, pairs])
        self.trajectories_of[step.global_step] = self.trajectories_of.get(step.global_step, 0) + counts
        for tool, of_tool in by_tool(step, paired):
            take(self.by_tool.setdefault(tool, PromptMeans()), of_tool)

    @property
    def steps(self) -> np.ndarray:
        """The global steps that were added, in order, int64[steps]."""
        return np.array(sorted(self.trajectories_of), int)

    @property
    def sums(self) -> np.ndarray:
        """The six sums (`ratio`) of each of `steps`, float64[steps, 6]."""
        return self.means.sums(self.steps)

    @property
    def counts(self) -> np.ndarray:
        """How many trajectories each of `steps` has, with a tool result, with both entropies, int64[steps, 3]."""
        return np.array([self.trajectories_of[step] for step in self.steps], int).reshape(-1, 3)

    def with_tool(self, span: slice) -> float:
        """Of the trajectories in the rows `span` of `steps`, the share with a chosen tool result; NaN without any."""
        every, given, _ = self.counts[span].sum(0).tolist()
        return given / every if every else math.nan

    @property
    def trajectories(self) -> int:
        """How many trajectories have both entropies."""
        return int(self.counts[:, 2].sum())

    @property
    def changes(self) -> np.ndarray:
        """Each prompt's mean over its trajectories that have both entropies, float64[n]."""
        _, after, before, _ = self.means.columns()
        return after - before

    @property
    def without_prompt(self) -> int:
        """0 where no prompt is known, since then `test` tells that it counts trajectories."""
        return self._unknown if self._prompts_known else 0

    def trend(self, tool: str | None = None, confidence: float = CONFIDENCE) -> Trend | None:
        """First and last phase of a run of 20 steps or more, else None; with `tool` after its results, undated."""
        key = tool, confidence
        if key not in self._trends:
            steps = self.steps
            of, after, before, _ = (self.means if tool is None else self.by_tool[tool]).columns()
            at = np.searchsorted(steps, of)
            self._trends[key] = trend_of(steps, at, after, before, confidence, dated=tool is None)
        return self._trends[key]

    def test(self) -> PairedTest:
        """Test the prompts' mean changes against zero."""
        if self._test is None:
            self._test = self._tested()
        return self._test

    def _tested(self) -> PairedTest:
        changes = np.where(np.abs(self.changes) < ROUNDING, 0.0, self.changes)
        n, mean = len(changes), float(changes.mean()) if len(changes) else math.nan
        low = high = p = effect = math.nan
        if n >= MIN_INTERVAL:
            from scipy import stats

            p = _signed_rank_p(changes) if changes.any() else math.nan
            if np.ptp(changes) <= ROUNDING:
                low = high = mean
            else:
                # A bootstrap's interval is too narrow for few prompts: for eight, 13 % false answers instead of 5 %.
                low, high = map(float, stats.ttest_1samp(changes, 0).confidence_interval(0.95))
                effect = mean / float(changes.std(ddof=1))
        rising = float((changes > 0).mean()) if n else math.nan
        over = PROMPTS if self._prompts_known else TRAJECTORIES
        return PairedTest(n, over, self.trajectories, mean, low, high, p, effect, rising)


def _signed_rank_p(changes: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test of float64[n] changes, not all 0; of few of them exact.

    scipy ranks up to 13 changes of which some are equal or 0 anew for each of the 2^n signs, which takes a second.
    No rank depends on a sign, so here they are ranked once; the p is the same.
    """
    from scipy import stats

    sizes = np.abs(changes)
    zeros = np.count_nonzero(sizes == 0)
    if len(changes) > 13 or (len(np.unique(sizes)) == len(changes) and not zeros):
        return float(stats.wilcoxon(changes).pvalue)
    ranks = np.sign(changes) * (stats.rankdata(sizes) - zeros)
    test = stats.permutation_test(
        (ranks,), lambda ranks, axis: ranks.clip(0).sum(axis), permutation_type="samples", vectorized=True
    )
    return float(test.pvalue)
