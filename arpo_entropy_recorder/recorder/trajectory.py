"""One trajectory: its tokens so far, where tools answered, and the segment that it is about to generate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

# Python keeps one object for each int up to this one, whatever lists it is in.
SHARED_INTS = 256


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
        waits_for = self.stopped_at
        self.cut(common_prefix(tokens, self.tokens))
        # A loop that shortens a trajectory to make room for a result still appends that tool's result.
        self.stopped_at = waits_for
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
