"""The trajectories of a page, as plain types: what was written, its entropies, and the prompt's others."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from arpo_entropy_recorder.analysis.breakdown import shown_tool
from arpo_entropy_recorder.report.markup import visible
from arpo_entropy_recorder.report.sample import Record, Trajectory
from arpo_entropy_recorder.report.transcript import Round, Transcript
from arpo_entropy_recorder.step_files.schema import RESULT_TAG

# Characters shown of a text: its beginning, and its end. A token is cut behind its beginning.
HEAD, TAIL, TOKEN = 1200, 400, 120


def trajectory_data(t: Trajectory, transcript: Transcript | None, tools: Sequence[str]) -> dict[str, Any]:
    """One trajectory; without a transcript it has no text. `tools` are the run's, whose numbers the segments have."""
    rounds: Sequence[Round | None] = transcript.rounds if transcript else [None] * len(t.records)
    return {
        "step": t.global_step,
        "sample": t.sample_idx,
        "call": t.call,
        "rank": t.dp_rank,
        "parent": t.parent_idx,
        "why": t.why,
        "level": number(t.level),
        "score": t.dumped.score if t.dumped else None,
        "asked": cut(transcript.prompt) if transcript and transcript.prompt is not None else None,
        "segments": [_segment(r, part, tools) for r, part in zip(t.records, rounds, strict=True)],
        "family": [
            [s.sample_idx, s.parent_idx, [[r, number(entropy)] for r, entropy in s.rounds], s.score]
            for s in t.family
        ],
    }


def _segment(record: Record, part: Round | None, tools: Sequence[str]) -> dict[str, Any]:
    name = shown_tool(record.tool)
    data: dict[str, Any] = {
        "round": record.round,
        "entropies": [number(value) for value in record.entropies.tolist()],
    }
    # A page may hold thousands of segments: what is not so is left out.
    if record.is_after_tool_call:
        data["after"] = True
        if name in tools:
            data["tool"] = tools.index(name) + 1
    if part is not None:
        data["tokens"] = [_token(text) for text in part.tokens]
        data["rest"] = cut(part.rest)
        if part.result is not None:
            data["result"] = cut(_unwrapped(part.result))
    return data


def number(value: float) -> float | None:
    """Three significant digits; None for NaN."""
    return float(f"{value:.3g}") if isfinite(value) else None


def cut(text: str) -> str:
    """A text as a page can show it, a long one without its middle."""
    if len(text) > HEAD + TAIL + 100:
        left_out = f" [{len(text) - HEAD - TAIL:,} characters left out] "
        text = text[:HEAD] + left_out + text[-TAIL:]
    return visible(text)


def _token(text: str) -> str:
    return visible(text if len(text) <= TOKEN else f"{text[:TOKEN]} [a token of {len(text):,} characters]")


def _unwrapped(result: str) -> str:
    """A result's text without its tags, which the page's layout stands for."""
    opening, closing = f"<{RESULT_TAG}>", f"</{RESULT_TAG}>"
    return result.strip().removeprefix(opening).removesuffix(closing).strip("\n")
