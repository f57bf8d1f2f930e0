"""Lineage: which trajectory, round and tool a segment belongs to, from nothing but the token lists passed to
`generate` and what came back.

A rollout loop passes, round after round, one token list a live trajectory. Between two rounds a list has grown
by what was generated and, perhaps, by a tool's result. A list that was never seen before is a branch (it starts
like a known trajectory, beyond the prompt), a restart (it starts like a known prompt) or a new prompt.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

STOP_TAG = re.compile(r"</([\w.-]+)>\s*$")


@dataclass(frozen=True)
class ToolResult:
    """A tool's result within a trajectory: tokens [start, end), and the tag of the tool, if known."""

    start: int
    end: int
    tool: str | None


@dataclass
class Segment:
    """What one request generates. `token_ids` is filled in when it has come back."""

    sample_idx: int
    prompt_idx: int
    parent_idx: int | None
    round: int
    tool: str | None
    is_after_tool_call: bool
    token_ids: Sequence[int] | None = None


@dataclass
class Trajectory:
    """Everything known of one token list: its tokens so far, and where tools answered."""

    sample_idx: int
    prompt_idx: int
    parent_idx: int | None
    prompt_len: int
    tokens: list[int]
    results: list[ToolResult] = field(default_factory=list)
    # Tag the last segment stopped at: `search` for `</search>`. What is appended next is that tool's result.
    stopped_at: str | None = None
    # The loop's own list, its length when last read, and whether it is one that the loop appends to.
    source: list[int] = field(default_factory=list, repr=False)
    source_len: int = 0
    in_place: bool = False

    def cut(self, length: int) -> None:
        """Forget the tokens from `length` on, and the results that are then no longer whole."""
        if length < len(self.tokens):
            del self.tokens[length:]
            self.results = [result for result in self.results if result.end <= length]
            self.stopped_at = None

    def grow(self, tokens: list[int], is_result: Callable[[list[int]], bool]) -> None:
        """Take in what was appended since the last segment: `tokens` continues from what is known."""
        start = len(self.tokens)
        appended = tokens[start:]
        if appended:
            if self.stopped_at is not None or is_result(appended):
                self.results.append(ToolResult(start, len(tokens), self.stopped_at))
            self.tokens.extend(appended)
            self.stopped_at = None

    def read(self, tokens: list[int], is_result: Callable[[list[int]], bool]) -> None:
        """Bring the trajectory up to date with the loop's list of it."""
        self.cut(common_prefix(tokens, self.tokens))
        self.grow(tokens, is_result)
        # The loop's own int objects, which a copy of its list shares: see `_shares_objects`.
        self.tokens[:] = tokens
        self.in_place |= tokens is self.source and len(tokens) > self.source_len
        self.source, self.source_len = tokens, len(tokens)

    def branch(self, tokens: list[int], shared: int, is_result: Callable[[list[int]], bool]) -> Trajectory:
        """A new trajectory that has the first `shared` tokens in common with this one; it has no index yet."""
        child = replace(
            self,
            sample_idx=-1,
            parent_idx=self.sample_idx if shared > self.prompt_len else None,
            tokens=list(self.tokens),
            results=list(self.results),
            in_place=False,
        )
        child.cut(shared)
        child.read(tokens, is_result)
        return child

    def segment(self) -> Segment:
        """The segment that is about to be generated at the end of the tokens."""
        last = self.results[-1] if self.results else None
        after = last is not None and last.end == len(self.tokens)
        return Segment(
            sample_idx=self.sample_idx,
            prompt_idx=self.prompt_idx,
            parent_idx=self.parent_idx,
            round=len(self.results),
            tool=last.tool if after and last is not None else None,
            is_after_tool_call=after,
        )


class TrajectoryTracker:
    """Follows the trajectories of one `generate_sequences` call.

    `is_result(tokens)` says whether tokens appended after a segment are a tool result where the segment's stop
    string does not say so. `prompt_rows(prompts)` gives the batch row of each starting prompt of a call.
    """

    def __init__(
        self,
        is_result: Callable[[list[int]], bool] = lambda tokens: False,
        prompt_rows: Callable[[list[list[int]]], list[int]] | None = None,
    ) -> None:
        self.trajectories: list[Trajectory] = []
        self._is_result = is_result
        self._prompt_rows = prompt_rows
        # By identity of the list: loops pass the same objects again. They are kept so that no id comes twice.
        self._by_list: dict[int, tuple[list[int], Trajectory]] = {}
        self._live: list[Trajectory] = []

    def begin(self, prompts: list[list[int]], completions: int = 1) -> list[Segment]:
        """The segments of a `generate` call, prompt by prompt, `completions` of them each.

        With several completions the first one continues the trajectory, the others branch from it.
        """
        known = [self._known(tokens) for tokens in prompts]
        claimed = {id(trajectory) for trajectory in known if trajectory is not None}
        if None in known:
            self._catch_up()
        # Only what was there before this call: siblings of one round are not each other's parents.
        candidates = list(self.trajectories)
        fresh = []
        for i, tokens in enumerate(prompts):
            if known[i] is None:
                known[i] = self._continue_or_branch(tokens, candidates, claimed)
            if known[i] is None:
                fresh.append(i)
        for i, row in zip(fresh, self._rows_of([prompts[i] for i in fresh]), strict=True):
            known[i] = Trajectory(-1, row, None, len(prompts[i]), list(prompts[i]))
        self._live = []
        for tokens, trajectory in zip(prompts, known, strict=True):
            assert trajectory is not None
            trajectory.read(tokens, self._is_result)
            self._by_list[id(tokens)] = (tokens, trajectory)
            self._enrol(trajectory)
            for _ in range(completions - 1):
                sibling = trajectory.branch(tokens, len(tokens), self._is_result)
                # The list is the first completion's; what the loop makes for this one is yet to be seen.
                sibling.source, sibling.source_len = [], 0
                self._enrol(sibling)
        return [trajectory.segment() for trajectory in self._live]

    def end(self, token_ids: Sequence[Sequence[int]], stop_reasons: Sequence[object]) -> None:
        """What the segments of the last `begin` came back as, in the same order."""
        for trajectory, generated, reason in zip(self._live, token_ids, stop_reasons, strict=True):
            trajectory.tokens.extend(generated)
            tag = STOP_TAG.search(reason) if isinstance(reason, str) else None
            trajectory.stopped_at = tag.group(1) if tag else None

    def _enrol(self, trajectory: Trajectory) -> None:
        if trajectory.sample_idx < 0:
            trajectory.sample_idx = len(self.trajectories)
            self.trajectories.append(trajectory)
        self._live.append(trajectory)

    def _known(self, tokens: list[int]) -> Trajectory | None:
        """The trajectory that this very list object is, brought up to date."""
        _, trajectory = self._by_list.get(id(tokens), (None, None))
        if trajectory is None or common_prefix(tokens, trajectory.tokens) < trajectory.prompt_len:
            return None
        trajectory.read(tokens, self._is_result)
        return trajectory

    def _catch_up(self) -> None:
        """Read the lists that have grown but are not passed this time: a branch may start from them."""
        for trajectory in self.trajectories:
            if len(trajectory.source) > trajectory.source_len:
                trajectory.read(trajectory.source, self._is_result)

    def _continue_or_branch(
        self, tokens: list[int], candidates: list[Trajectory], claimed: set[int]
    ) -> Trajectory | None:
        """The trajectory of a list object never seen before, or None for a new prompt."""
        best, best_key = None, (0, False, False)
        for trajectory in candidates:
            n = trajectory.prompt_len
            if len(tokens) < n or tokens[n - 1] != trajectory.tokens[n - 1]:
                continue
            shared = common_prefix(tokens, trajectory.tokens)
            if shared < max(n, best_key[0]):
                continue
            whole = shared == len(trajectory.tokens) > n
            unclaimed = whole and not trajectory.in_place and id(trajectory) not in claimed
            key = (shared, _shares_objects(tokens, trajectory.tokens, shared), unclaimed)
            if key > best_key:
                best, best_key = trajectory, key
        if best is None:
            return None
        shared, _, unclaimed = best_key
        if unclaimed:
            # The loop made a new list of the same trajectory, as `tokens + result` does.
            claimed.add(id(best))
            return best
        return best.branch(tokens, shared, self._is_result)

    def _rows_of(self, prompts: list[list[int]]) -> list[int]:
        if self._prompt_rows is not None:
            return self._prompt_rows(prompts)
        order: dict[tuple[int, ...], int] = {}
        for trajectory in self.trajectories:
            order.setdefault(tuple(trajectory.tokens[: trajectory.prompt_len]), trajectory.prompt_idx)
        return [order.setdefault(tuple(prompt), len(order)) for prompt in prompts]


def _shares_objects(a: list[int], b: list[int], length: int) -> bool:
    """Whether the first `length` tokens are the very same int objects, as `list.copy()` leaves them.

    Tells a branch's parent from a trajectory that reads the same by chance. (Python keeps one object for each
    int up to 256, so for those it says nothing.)
    """
    return all(map(operator.is_, a[:length], b[:length]))


def common_prefix(a: list[int], b: list[int]) -> int:
    """Length of the longest common prefix, by halving: slices are compared at C speed."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low
