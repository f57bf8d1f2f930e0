"""Trajectories and the values that came for their requests, as columns of a step file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arpo_entropy_recorder.live.trajectory import Segment, Trajectory
from arpo_entropy_recorder.step_files.values import normalised

Values = Mapping[str, Sequence[float | None]]
"""Nats of each request key's first tokens."""


def wanted_values(trajectories: Sequence[Trajectory], window: int) -> dict[str, int]:
    """For each request key how many positions the records need, at most `window` a segment; 0 for none."""
    wanted = {}
    for trajectory in trajectories:
        for segment in trajectory.segments:
            left = window
            for request in segment.requests:
                wanted[request.key] = min(left, request.num_tokens)
                left -= wanted[request.key]
    return wanted


def live_columns(
    trajectories: Sequence[Trajectory],
    values: Values,
    step: int,
    window: int,
    with_tokens: bool = False,
) -> dict[str, Any]:
    """Equally long columns by schema key, a row for each segment that has a token, of one step's trajectories.

    Entropies are normalised; NaN where no value came. `token_id` is null unless tokens are recorded.
    """
    ordered = sorted(trajectories, key=lambda trajectory: trajectory.order)
    groups: dict[str, int] = {}
    padding = _padding(ordered)
    rows = [
        (index, groups.setdefault(trajectory.group, len(groups)), trajectory, segment)
        for index, trajectory in enumerate(ordered)
        for segment in trajectory.segments
        if segment.num_tokens
    ]
    entropies = [
        _entropies(segment, values, window, trajectory.vocab_size) for _, _, trajectory, segment in rows
    ]
    segments = [segment for *_, segment in rows]
    columns: dict[str, Any] = {
        "sample_idx": np.array([row[0] for row in rows], dtype=np.int64),
        "prompt_idx": [row[1] for row in rows],
        "parent_idx": [None] * len(rows),
        "round": np.array([segment.round for segment in segments], dtype=np.int64),
        "tool": [shared_name(segment.tools) for segment in segments],
        "tools": [list(segment.tools) if segment.is_after_tool_call else None for segment in segments],
        "is_after_tool_call": np.array([segment.is_after_tool_call for segment in segments], dtype=bool),
        "entropy": np.array([row[0] for row in entropies], dtype=np.float32),
    }
    if any(trajectory.prompt for trajectory in ordered):
        columns["prompt"] = [trajectory.prompt for _, _, trajectory, _ in rows]
    if window > 1:
        columns["window"] = entropies
    if with_tokens:
        columns["token_id"] = [segment.token_ids[0] if segment.token_ids else None for segment in segments]
        columns["tokens"] = [np.asarray(segment.token_ids, dtype=np.int32) for segment in segments]
    policy = [request.policy_step if (request := s.first_request) else None for s in segments]
    if any(version not in (None, step) for version in policy):
        columns["policy_step"] = [None if version == step else version for version in policy]
    for name, flags, usual in (
        ("do_sample", [not trajectory.is_greedy for _, _, trajectory, _ in rows], True),
        ("padding", [index in padding for index, *_ in rows], False),
        ("unsure", [segment.unsure for segment in segments], False),
        ("incomplete", [trajectory.incomplete for _, _, trajectory, _ in rows], False),
    ):
        if any(flag is not usual for flag in flags):
            columns[name] = flags
    return columns


def _padding(ordered: Sequence[Trajectory]) -> set[int]:
    """The trajectories beyond their group's size: verl fills a validation batch up with copies of its first rows."""
    seen: Counter[str] = Counter()
    padding = set()
    for index, trajectory in enumerate(ordered):
        seen[trajectory.group] += 1
        if 0 < trajectory.group_size < seen[trajectory.group]:
            padding.add(index)
    return padding


def _entropies(segment: Segment, values: Values, window: int, vocab_size: int) -> np.ndarray:
    """[min(window, tokens)] float32, normalised: the values of the segment's requests, one after the other."""
    nats: list[float | None] = []
    for request in segment.requests:
        nats += first_values(values, request.key, min(request.num_tokens, window))
    return normalised_values(nats[:window], vocab_size)


def first_values(values: Values, key: str, count: int) -> list[float | None]:
    """The nats of the first `count` tokens of a request; None where none came."""
    return [*values.get(key, ()), *[None] * count][:count]


def normalised_values(nats: Sequence[float | None], vocab_size: int) -> np.ndarray:
    """float32[len(nats)] of nats over ln(vocabulary size); NaN for None."""
    floats = np.array([np.nan if value is None else value for value in nats], dtype=np.float32)
    return normalised(floats, vocab_size)


def shared_name(tools: Sequence[str | None]) -> str | None:
    """The name that all of a turn's tools have; None where they differ, or there are none."""
    names = set(tools)
    return names.pop() if len(names) == 1 else None
