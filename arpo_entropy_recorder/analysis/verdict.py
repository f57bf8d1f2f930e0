"""The answer in words: do tool results raise the entropy, did that change over the training, after which tool?"""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.analysis.choices import MEAN
from arpo_entropy_recorder.analysis.first_tokens import Dominant
from arpo_entropy_recorder.analysis.pairs import Pairs
from arpo_entropy_recorder.analysis.ratio import Ratio, fold, ratio_of
from arpo_entropy_recorder.analysis.statistics import MIN_INTERVAL
from arpo_entropy_recorder.analysis.trend import CONFIDENCE, Phase, Trend

# The trend is told for the tools that are called most.
MAX_TOOLS = 8
# A run "holds" only if its after-tool entropy may still be this share of the beginning's.
KEPT_LEVEL = 0.5


def verdict(pairs: Pairs) -> str:
    """A few words: of the trend from 20 steps on, else of the paired test."""
    trend = pairs.trend()
    return pairs.test().verdict if trend is None else _trend_verdict(trend)


def basis(pairs: Pairs) -> str:
    """What the verdict rests on: ratio and level, or the ratio and the paired test."""
    trend = pairs.trend()
    if trend is None:
        test = pairs.test()
        return (
            test.numbers
            if isnan(test.low)
            else f"{test.numbers}; {_against_start(ratio_of(pairs.sums.sum(0)))}"
        )
    since = f"; below 1x since {_since(trend)}" if trend.since is not None else ""
    return (
        f"against the start {_phase(trend.first)}, {_phase(trend.last)}{since}; "
        f"after tool results {_level(trend)}"
    )


def headline(pairs: Pairs, openers: Sequence[Dominant] = (), remedy: str = "a window's mean") -> str:
    """The answer in one line; `openers`, dominant first tokens, are named with the `remedy` that the reader has."""
    lines = [f"{verdict(pairs)}: {basis(pairs)}.", *tool_lines(pairs), formatting(openers, remedy)]
    return " ".join(filter(None, lines))


def answer(analysis: Analysis, remedy: str) -> str:
    """`headline` of an analysis."""
    return headline(analysis.pairs, dominant(analysis), remedy)


def dominant(analysis: Analysis) -> Sequence[Dominant]:
    """The tokens that nearly all segments begin with; none of a window's means."""
    return () if analysis.selection.over == MEAN else analysis.first_tokens.dominant()


def formatting(openers: Sequence[Dominant], remedy: str) -> str:
    """A sentence about tokens that nearly all segments begin with; none without such."""
    found = [
        f"token {token_id} makes up {share:.0%} of the "
        f"{'first tokens after a tool result' if after_tool else 'starts'}"
        for after_tool, token_id, share in openers
    ]
    line = " and ".join(found)
    return f"{line[:1].upper()}{line[1:]}: formatting, perhaps; compare {remedy}." if found else ""


def tool_trends(pairs: Pairs) -> dict[str, Trend]:
    """The trend after each of the most called tools, at a confidence that allows for their number."""
    if pairs.trend() is None:
        return {}
    most = sorted(pairs.by_tool, key=lambda tool: -len(pairs.by_tool[tool]))[:MAX_TOOLS]
    confidence = 1 - (1 - CONFIDENCE) / max(len(most), 1)
    trends = {tool: pairs.trend(tool, confidence) for tool in most}
    return {tool: trend for tool, trend in trends.items() if trend is not None}


def tool_lines(pairs: Pairs) -> list[str]:
    """A sentence for each tool that differs from the whole: lost while that holds, or holding while that does not."""
    trends, whole = tool_trends(pairs), pairs.trend()
    if whole is None or len(trends) < 2:
        return []
    found = []
    for tool, trend in trends.items():
        last, first = trend.last.ratio, trend.first.ratio
        change = f"{_x(first)} in steps {_steps(trend.first)}, {_x(last)} in steps {_steps(trend.last)}"
        if whole.last.ratio.low > 1 and first.low > 1 and not last.low > 1 and fold(last, first)[2] < 1:
            found.append(f"Not so after {tool}, which raises it no longer: {change}.")
        elif not whole.last.ratio.low > 1 and last.low > 1:
            found.append(f"But {tool} raises it still: {change}.")
    return found


def _trend_verdict(trend: Trend) -> str:
    first, last = trend.first.ratio, trend.last.ratio
    if last.n < MIN_INTERVAL:
        return f"No answer for the end: of the prompts there {last.n} have both entropies, {MIN_INTERVAL} are needed"
    if isnan(last.ratio):
        return "No ratio at the end, where the starts are not clearly above 0"
    if last.low > 1:
        if isnan(trend.level_high):
            return "Tool results raise the entropy at the end; how the level has changed is not known"
        if trend.level_high < KEPT_LEVEL:
            return "Faded: tool results still raise the entropy, at a far lower level"
        return "Holds: tool results raise the entropy to the end"
    if last.high < 1:
        if first.low > 1:
            return "Gone: at the end the entropy after tool results is below the start's"
        return "No: at the end the entropy after tool results is below the start's"
    if first.low > 1:
        return "No longer clear: tool results raised the entropy at first"
    return "No clear difference between after-tool and initial entropy at the end"


def _against_start(ratio: Ratio) -> str:
    if isnan(ratio.ratio):
        return f"no ratio, since the starts are not clearly above 0 ({short(ratio.before)} -> {short(ratio.after)})"
    return f"{_x(ratio)} of the start ({short(ratio.before)} -> {short(ratio.after)})"


def _phase(phase: Phase) -> str:
    return f"{_x(phase.ratio)} in steps {_steps(phase)}"


def _steps(phase: Phase) -> str:
    return f"{phase.first} to {phase.last}"


def _x(ratio: Ratio) -> str:
    return "no ratio" if isnan(ratio.ratio) else f"{short(ratio.ratio)}x {interval(ratio.low, ratio.high)}"


def _since(trend: Trend) -> str:
    if trend.since == trend.first.first:
        return f"the beginning, step {trend.since}"
    span = f" ({trend.since_low} to {trend.since_high})" if trend.since_low != trend.since_high else ""
    return f"about step {trend.since}{span}"


def _level(trend: Trend) -> str:
    means = f"({short(trend.first.ratio.after)} -> {short(trend.last.ratio.after)})"
    if isnan(trend.level):
        return f"{means[1:-1]}, without a ratio"
    return f"{short(trend.level)}x {interval(trend.level_low, trend.level_high)} of the beginning {means}"


def interval(low: float, high: float) -> str:
    """An interval, as "[0.3, 0.39]"; empty where there is none."""
    return "" if isnan(low) else f"[{short(low)}, {short(high)}]"


def short(value: float) -> str:
    """Two decimals from 0.1 on, two digits below; without an exponent down to 0.0001."""
    return "-" if isnan(value) else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"
