"""The answer in words: do tool results raise the entropy, did that change over the training, after which tool?

`words` translates: it takes an English text and the values of its fields, as `str.format` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite, isnan

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.choices import MEAN
from arpo_entropy_recorder.analysis.first_tokens import Commonest
from arpo_entropy_recorder.analysis.pairs import PROMPTS, PairedTest, Pairs
from arpo_entropy_recorder.analysis.ratio import Ratio, fold, ratio_of
from arpo_entropy_recorder.analysis.statistics import MIN_INTERVAL
from arpo_entropy_recorder.analysis.trend import CONFIDENCE, Phase, Trend

# The trend is told for the tools that are called most.
MAX_TOOLS = 8
# A run "holds" only if its after-tool entropy may still be this share of the beginning's.
KEPT_LEVEL = 0.5
SIGNIFICANT = 0.05


def verdict(pairs: Pairs, words: Callable[..., str] = str.format) -> str:
    """A few words: of the trend from 20 steps on, else of the paired test."""
    trend = pairs.trend()
    return paired_verdict(pairs.test(), words) if trend is None else _trend_verdict(trend, words)


def basis(pairs: Pairs, words: Callable[..., str] = str.format) -> str:
    """What the verdict rests on: ratio and level, or the ratio and the paired test."""
    trend = pairs.trend()
    if trend is None:
        test = pairs.test()
        numbers = paired_numbers(test, words)
        if isnan(test.low):
            return numbers
        return words(
            "{numbers}; {ratio}", numbers=numbers, ratio=_against_start(ratio_of(pairs.sums.sum(0)), words)
        )
    since = words("; below 1x since {since}", since=_since(trend, words)) if trend.since is not None else ""
    return words(
        "against the start {first}, {last}{since}; after tool results {level}",
        first=_phase(trend.first, words), last=_phase(trend.last, words), since=since, level=_level(trend, words),
    )  # fmt: skip


def paired_verdict(test: PairedTest, words: Callable[..., str] = str.format) -> str:
    """Whether the entropy after tool results exceeds the initial one; Yes or No only if interval and p agree."""
    if isnan(test.low):
        return words("No answer")
    if test.low <= 0 <= test.high or test.p >= SIGNIFICANT:
        return words("No clear difference between after-tool and initial entropy")
    if test.low > 0:
        return words("Yes: after-tool entropy exceeds the initial one")
    return words("No: after-tool entropy is below the initial one")


def paired_numbers(test: PairedTest, words: Callable[..., str] = str.format) -> str:
    """What the paired test's verdict rests on."""
    if not test.n:
        return words("no trajectory has both an initial and an after-tool entropy")
    if isnan(test.low):
        return words(
            "mean change {change:+.4f}, but for an interval there have to be {least} {over}, not {n}",
            change=test.change, least=MIN_INTERVAL, over=words(test.over), n=test.n,
        )  # fmt: skip
    return words(
        "mean change {change:+.4f}, 95 % interval [{low:+.4f}, {high:+.4f}], {strength}, over n = {size}; "
        "it rises for {rising:.0%} of the {over}",
        change=test.change, low=test.low, high=test.high, strength=_strength(test, words),
        size=paired_size(test, words), rising=test.rising, over=words(test.over),
    )  # fmt: skip


def paired_size(test: PairedTest, words: Callable[..., str] = str.format) -> str:
    """How many changes were tested, and of how many trajectories: "32 prompts with 512 trajectories"."""
    if test.over == PROMPTS:
        return words(
            "{n:,} prompts with {trajectories:,} trajectories", n=test.n, trajectories=test.trajectories
        )
    return words("{n:,} trajectories", n=test.n)


def headline(pairs: Pairs, openers: Sequence[Commonest] = (), remedy: str = "a window's mean") -> str:
    """The answer in one line; `openers`, dominant first tokens, are named with the `remedy` that the reader has."""
    lines = [f"{verdict(pairs)}: {basis(pairs)}.", *tool_lines(pairs), formatting(openers, remedy)]
    return " ".join(filter(None, lines))


def answer(analysis: Analysis, remedy: str) -> str:
    """`headline` of an analysis."""
    return headline(analysis.pairs, dominant(analysis), remedy)


def dominant(analysis: Analysis) -> Sequence[Commonest]:
    """The tokens that nearly all segments begin with; none of a window's means."""
    return () if analysis.selection.over == MEAN else analysis.first_tokens.dominant()


def formatting(openers: Sequence[Commonest], remedy: str, words: Callable[..., str] = str.format) -> str:
    """A sentence about tokens that nearly all segments begin with; none without such."""
    found = [
        words(
            "token {id} makes up {share:.0%} of the first tokens after a tool result",
            id=token.token_id,
            share=token.share,
        )
        if token.after_tool
        else words("token {id} makes up {share:.0%} of the starts", id=token.token_id, share=token.share)
        for token in openers
    ]
    if not found:
        return ""
    line = words(" and ").join(found)
    shown = line[:1].upper() + line[1:]
    return words("{tokens}: formatting, perhaps; compare {remedy}.", tokens=shown, remedy=remedy)


def tool_trends(pairs: Pairs) -> dict[str, Trend]:
    """The trend after each of the most called tools, at a confidence that allows for their number."""
    if pairs.trend() is None:
        return {}
    most = sorted(pairs.by_tool, key=lambda tool: -len(pairs.by_tool[tool]))[:MAX_TOOLS]
    confidence = 1 - (1 - CONFIDENCE) / max(len(most), 1)
    trends = {tool: pairs.trend(tool, confidence) for tool in most}
    return {tool: trend for tool, trend in trends.items() if trend is not None}


def tool_lines(pairs: Pairs, words: Callable[..., str] = str.format) -> list[str]:
    """A sentence for each tool that differs from the whole: lost while that holds, or holding while that does not.

    One more where the level has fallen with the share of the calls, and after no tool by itself.
    """
    trends, whole = tool_trends(pairs), pairs.trend()
    if whole is None or len(trends) < 2:
        return []
    found = []
    for tool, trend in trends.items():
        last, first = trend.last.ratio, trend.first.ratio
        values = {"tool": tool, "first": _phase(trend.first, words), "last": _phase(trend.last, words)}
        if whole.last.ratio.low > 1 and first.low > 1 and not last.low > 1 and fold(last, first)[2] < 1:
            found.append(words("Not so after {tool}, which raises it no longer: {first}, {last}.", **values))
        elif not whole.last.ratio.low > 1 and last.low > 1:
            found.append(words("But {tool} raises it still: {first}, {last}.", **values))
    # Tools that each fell less than the whole cannot account for it in an unchanged mix.
    kept = [whole.level_high < trend.level_low <= 1 <= trend.level_high for trend in trends.values()]
    if all(kept) and len(kept) == len(pairs.by_tool):
        found.append(
            words("After each tool by itself the entropy has not clearly changed; the mix of tools has.")
        )
    return found


def _trend_verdict(trend: Trend, words: Callable[..., str]) -> str:
    first, last = trend.first.ratio, trend.last.ratio
    if last.n < MIN_INTERVAL:
        return words(
            "No answer for the end: of the prompts there {n} have both entropies, {least} are needed",
            n=last.n, least=MIN_INTERVAL,
        )  # fmt: skip
    if isnan(last.ratio):
        return words("No ratio at the end, where the starts are not clearly above 0")
    if last.low > 1:
        if first.high < 1:
            return words("Risen: tool results raise the entropy at the end, but lowered it at first")
        if isnan(trend.level_high):
            return words("Tool results raise the entropy at the end; how the level has changed is not known")
        if trend.level_high < KEPT_LEVEL:
            return words("Faded: tool results still raise the entropy, at a far lower level")
        return words("Holds: tool results raise the entropy to the end")
    if last.high < 1:
        if first.low > 1:
            return words("Gone: at the end the entropy after tool results is below the start's")
        return words("No: at the end the entropy after tool results is below the start's")
    if first.low > 1:
        return words("No longer clear: tool results raised the entropy at first")
    return words("No clear difference between after-tool and initial entropy at the end")


def _strength(test: PairedTest, words: Callable[..., str]) -> str:
    """Effect size and p in words, or why there are none."""
    undefined = words("d_z not defined (all changes equal)")
    effect = f"d_z = {test.effect:.2f}" if isfinite(test.effect) else undefined
    if isnan(test.p):
        return effect
    return words("{effect}, Wilcoxon signed-rank p {p}", effect=effect, p=test.p_words)


def _against_start(ratio: Ratio, words: Callable[..., str]) -> str:
    values = {"before": short(ratio.before), "after": short(ratio.after)}
    if isnan(ratio.ratio):
        return words("no ratio, since the starts are not clearly above 0 ({before} -> {after})", **values)
    return words("{ratio} of the start ({before} -> {after})", ratio=_x(ratio, words), **values)


def _phase(phase: Phase, words: Callable[..., str]) -> str:
    return words(
        "{ratio} in steps {first} to {last}", ratio=_x(phase.ratio, words), first=phase.first, last=phase.last
    )


def _x(ratio: Ratio, words: Callable[..., str]) -> str:
    if isnan(ratio.ratio):
        return words("no ratio")
    return f"{short(ratio.ratio)}x {interval(ratio.low, ratio.high)}"


def _since(trend: Trend, words: Callable[..., str]) -> str:
    values = {"step": trend.since, "low": trend.since_low, "high": trend.since_high}
    if trend.since == trend.first.first:
        return words("the beginning, step {step}", **values)
    if trend.since_low == trend.since_high:
        return words("about step {step}", **values)
    return words("about step {step} ({low} to {high})", **values)


def _level(trend: Trend, words: Callable[..., str]) -> str:
    values = {"before": short(trend.first.ratio.after), "after": short(trend.last.ratio.after)}
    if isnan(trend.level):
        return words("{before} -> {after}, without a ratio", **values)
    level = f"{short(trend.level)}x {interval(trend.level_low, trend.level_high)}"
    return words("{level} of the beginning ({before} -> {after})", level=level, **values)


def interval(low: float, high: float) -> str:
    """An interval, as "[0.3, 0.39]"; empty where there is none."""
    return "" if isnan(low) else f"[{short(low)}, {short(high)}]"


def short(value: float) -> str:
    """Two decimals from 0.1 on, two digits below; without an exponent down to 0.0001."""
    return "-" if isnan(value) else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"
