"""Several runs beside each other: does after / before differ at the same time of the training?"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, isnan, log, nan, sqrt

import numpy as np

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.choices import MIN_STEPS
from arpo_entropy_recorder.analysis.pairs import Pairs
from arpo_entropy_recorder.analysis.ratio import Ratio, fold, ratio_of, six_sums
from arpo_entropy_recorder.analysis.trend import phases
from arpo_entropy_recorder.analysis.verdict import interval, short

# So many prompts have to be in both runs for a comparison prompt by prompt.
MIN_SHARED = 20
SHARED, PROMPTS, SEEDS = "shared prompts", "prompts", "seeds"
# What runs have to have in common, by the keys of entropy_run.json.
CONDITIONS = {"vocab_size": "vocabulary", "temperature": "temperature", "window": "window"}


@dataclass(frozen=True)
class Difference:
    """After / before of the run `one` over that of `other`, in `steps`, with the 95 % interval; NaN if not defined.

    `steps` is None for runs that have none in common, and then there is no ratio. `over` tells what the interval is
    over: prompts that both runs have (`n` of them), each run's prompts, or seeds.
    """

    one: str
    other: str
    steps: tuple[int, int] | None
    ratio: float
    low: float
    high: float
    over: str
    n: tuple[int, int]

    @property
    def line(self) -> str:
        """In words."""
        if self.steps is None:
            return f"{self.one} / {self.other}: no ratio of ratios, as they have no step in common."
        where = f"{self.one} / {self.other} in steps {self.steps[0]} to {self.steps[1]}"
        if isnan(self.ratio):
            return (
                f"{where}: no ratio of ratios, too few prompts, starts not clearly above 0, or a ratio of 0."
            )
        counts = f"{self.n[0]:,}" if self.over == SHARED else f"{self.n[0]:,} and {self.n[1]:,}"
        return (
            f"{where}: {self._verdict}, {short(self.ratio)}x {interval(self.low, self.high)} over "
            f"{counts} {self.over}."
        )

    @property
    def _verdict(self) -> str:
        if self.low > 1:
            return f"{self.one}'s ratio is higher"
        return f"{self.one}'s ratio is lower" if self.high < 1 else "no clear difference of the ratios"


def differences(runs: Mapping[str, Sequence[Pairs]]) -> list[Difference]:
    """Each run after the first against the first; the seeds of a run are a list, and never pooled."""
    first, *others = runs
    return [difference(name, runs[name], first, runs[first]) for name in others]


def difference(one: str, seeds: Sequence[Pairs], other: str, other_seeds: Sequence[Pairs]) -> Difference:
    """Two runs' ratios at the same steps: those of the last phase before the shorter one's end.

    Of less than 20 steps all that both have. Prompt by prompt where 20 are in both and each run has one seed; over
    seeds where each has two or more.
    """
    steps = common_steps([*seeds, *other_seeds])
    if steps is None:
        return Difference(one, other, None, nan, nan, nan, PROMPTS, (0, 0))
    both = [[within(pairs, steps) for pairs in group] for group in (seeds, other_seeds)]
    ratios = [[ratio_of(_sums(*columns[:2])) for columns in group] for group in both]
    n = (sum(ratio.n for ratio in ratios[0]), sum(ratio.n for ratio in ratios[1]))
    if len(seeds) == len(other_seeds) == 1:
        shared = _shared(both[0][0], both[1][0])
        if (count := shared.shape[1]) >= MIN_SHARED:
            return Difference(one, other, steps, *_paired(*shared), SHARED, (count, count))
    if not _are_known([*ratios[0], *ratios[1]]):
        return Difference(one, other, steps, nan, nan, nan, PROMPTS, n)
    if min(len(seeds), len(other_seeds)) >= 2:
        return Difference(one, other, steps, *_over_seeds(*ratios), SEEDS, (len(seeds), len(other_seeds)))
    return Difference(one, other, steps, *fold(_mean(ratios[0]), _mean(ratios[1])), PROMPTS, n)


def common_steps(runs: Sequence[Pairs]) -> tuple[int, int] | None:
    """First and last of the steps to compare: the last phases up to where the shortest run ends.

    Of runs of which one has less than 20 steps until then, all that they have in common; None where one ends before
    another begins.
    """
    begin, end = max(pairs.steps[0] for pairs in runs), min(pairs.steps[-1] for pairs in runs)
    if begin > end:
        return None
    starts = []
    for pairs in runs:
        inside = pairs.steps <= end
        if inside.sum() < MIN_STEPS:
            return int(begin), int(end)
        starts.append(pairs.steps[inside][phases(pairs.sums[inside, 0])[1]][0])
    return int(min(starts)), int(end)


def within(pairs: Pairs, steps: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A and B, float64[n] each, and names, object[n], of the prompts in `steps`, both ends counted."""
    of, after, before, names = pairs.means.columns()
    inside = (of >= steps[0]) & (of <= steps[1])
    return after[inside], before[inside], names[inside]


def spread(seeds: Sequence[Pairs], steps: tuple[int, int]) -> list[float]:
    """The ratio of each seed in `steps`."""
    return [ratio_of(_sums(*within(pairs, steps)[:2])).ratio for pairs in seeds]


def seed_line(runs: Mapping[str, Sequence[Pairs]]) -> str:
    """How far seeds differ, or that there is one alone."""
    steps = common_steps([pairs for seeds in runs.values() for pairs in seeds])
    several = {name: seeds for name, seeds in runs.items() if len(seeds) > 1}
    lines = []
    for name, seeds in several.items():
        inside = steps or common_steps(seeds)
        ratios = (
            ["no ratio" if isnan(ratio) else f"{short(ratio)}x" for ratio in spread(seeds, inside)]
            if inside
            else ["no step in common"]
        )
        lines.append(f"{name}'s {len(seeds)} seeds: {', '.join(ratios)}.")
    if len(several) < len(runs):
        single = " and ".join(name for name in runs if name not in several) if several else "each"
        lines.append(f"One seed of {single}: differences may be the seed's.")
    return " ".join(lines)


def remarks(
    runs: Mapping[str, Sequence[Analysis]], infos: Mapping[str, Sequence[Mapping[str, object]]]
) -> list[str]:
    """What to know of a comparison: the seeds, and in what the runs and their records are unlike."""
    lines = [seed_line({name: [run.pairs for run in seeds] for name, seeds in runs.items()}), *unlike(infos)]
    kinds = {analysis.kind for seeds in runs.values() for analysis in seeds}
    if len(kinds) > 1:
        lines.append(f"Records of different kinds are compared: {', '.join(sorted(kinds))}.")
    sources = {name: [set(+run.origins.sources) for run in seeds] for name, seeds in runs.items()}
    if len({frozenset(found) for seeds in sources.values() for found in seeds}) > 1:
        said = ", ".join(
            f"{name} {' and '.join(sorted(set().union(*found)))}" for name, found in sources.items()
        )
        lines.append(f"Records of different sources are compared: {said}.")
    return lines


def unlike(infos: Mapping[str, Sequence[Mapping[str, object]]]) -> list[str]:
    """A sentence for each condition that the runs do not share, by what `entropy_run.json` says of them."""
    found = []
    for key, word in CONDITIONS.items():
        # A file may have a list where a number belongs.
        values = {
            name: {str(value) if isinstance(value, list | dict) else value for value in told} - {None}
            for name, seeds in infos.items()
            if (told := [info.get(key) for info in seeds])
        }
        if len(set().union(*values.values())) > 1:
            said = ", ".join(
                f"{name} {' and '.join(map(str, sorted(of_run, key=str))) or 'not known'}"
                for name, of_run in values.items()
            )
            found.append(f"The runs differ in {word}: {said}.")
    return found


def _sums(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    return six_sums(after, before, np.zeros(len(after), int), 1)[0]


def _shared(
    one: tuple[np.ndarray, np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    """A and B in one run and in the other, float64[4, n], of the prompts that both have, averaged over steps."""
    means = []
    for after, before, names in (one, other):
        by_name: dict[str, list[tuple[float, float]]] = {}
        for name, a, b in zip(names, after, before, strict=True):
            if name is not None:
                by_name.setdefault(name, []).append((a, b))
        means.append({name: np.mean(values, axis=0) for name, values in by_name.items()})
    both = sorted(means[0].keys() & means[1].keys())
    return np.array([[*means[0][name], *means[1][name]] for name in both]).reshape(-1, 4).T


def _paired(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> tuple[float, float, float]:
    """(A / B) / (C / D) of sums of float64[n], with the 95 % interval: delta method on the log, Student's t."""
    from scipy.special import stdtrit

    if not _are_known([ratio_of(_sums(a, b)), ratio_of(_sums(c, d))]):
        return nan, nan, nan
    scores = a / a.mean() - b / b.mean() - c / c.mean() + d / d.mean()
    half = float(stdtrit(len(a) - 1, 0.975)) * float(scores.std(ddof=1)) / sqrt(len(a))
    middle = log(a.sum() / b.sum()) - log(c.sum() / d.sum())
    return exp(middle), exp(middle - half), exp(middle + half)


def _are_known(ratios: Sequence[Ratio]) -> bool:
    """Whether each has a logarithm; a ratio of 0 has none."""
    return all(ratio.ratio > 0 for ratio in ratios)


def _mean(ratios: Sequence[Ratio]) -> Ratio:
    """The geometric mean of the seeds' ratios, with the interval that their prompts give it."""
    if len(ratios) == 1:
        return ratios[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        middle, low, high = np.log([[ratio.ratio, ratio.low, ratio.high] for ratio in ratios]).T
        mean, below, above = middle.mean(), middle - low, high - middle
        ends = (
            mean,
            mean - np.sqrt((below**2).sum()) / len(ratios),
            mean + np.sqrt((above**2).sum()) / len(ratios),
        )
    return Ratio(sum(ratio.n for ratio in ratios), nan, nan, *(float(np.exp(end)) for end in ends))


def _over_seeds(one: Sequence[Ratio], other: Sequence[Ratio]) -> tuple[float, float, float]:
    """The geometric means' ratio, with Welch's interval over seeds."""
    from scipy import stats

    logs = [np.log([ratio.ratio for ratio in ratios]) for ratios in (one, other)]
    middle = float(logs[0].mean() - logs[1].mean())
    with warnings.catch_warnings():  # of seeds that are all alike
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.ttest_ind(logs[0], logs[1], equal_var=False).confidence_interval(0.95)
    return exp(middle), exp(float(found.low)), exp(float(found.high))
