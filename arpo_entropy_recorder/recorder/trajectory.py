"""One trajectory: its tokens so far, who wrote which of them, and the segment that it is about to generate."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from arpo_entropy_recorder.recorder.results import EDGE, ResultForm

# Python keeps one object for each int up to this one, whatever lists it is in.
SHARED_INTS = 256


@dataclass(eq=False)
class Piece:
    """Tokens [start, end) of a trajectory that the policy has written or the loop has appended.

    `tool`: the tool that the policy's piece called at its end, or that the loop's piece answers.
    `is_result`: whether the loop's piece is a tool's result; None: not known. Branches share these objects.
    """

    start: int
    end: int
    by_policy: bool
    tool: str | None = None
    is_result: bool | None = False
    # How a piece begins that could not be judged yet.
    head: Sequence[int] = ()


@dataclass(eq=False)
class Segment:
    """What one request generates. `token_ids` is filled in when it has come back.

    `mid_start`: the trajectory began with more than a prompt. `unsure`: a label may be wrong. Of
    `trajectory`, the `pieces` before the segment and its `start` the labels are made.
    """

    sample_idx: int
    prompt_idx: int
    parent_idx: int | None
    round: int = 0
    tool: str | None = None
    is_after_tool_call: bool = False
    token_ids: Sequence[int] | None = None
    mid_start: bool = False
    unsure: bool = False
    trajectory: Trajectory | None = field(default=None, repr=False)
    pieces: Sequence[Piece] = field(default=(), repr=False)
    start: int = 0

    def label(self) -> None:
        """Set the labels by what is known of the pieces before the segment."""
        results = [piece for piece in self.pieces if piece.is_result]
        self.round = len(results)
        self.is_after_tool_call = bool(results) and results[-1].end == self.start
        self.tool = results[-1].tool if self.is_after_tool_call else None
        self.unsure = (self.trajectory is not None and self.trajectory.unsure) or any(
            piece.is_result is None for piece in self.pieces
        )


@dataclass(eq=False)
class Trajectory:
    """Everything known of one token list. `pieces` cover its tokens from `prompt_len` on."""

    sample_idx: int
    prompt_idx: int
    parent_idx: int | None
    prompt_len: int
    tokens: list[int]
    pieces: list[Piece] = field(default_factory=list)
    mid_start: bool = False
    # Which list is which trajectory could not be decided: what is said of either may be the other's.
    unsure: bool = False
    # Where it was the same as its parent, up to this length.
    shared: int = 0
    ended_by_length: bool = False
    # The loop's own list, its length when last read, and whether it is one that the loop appends to.
    source: list[int] = field(default_factory=list, repr=False)
    source_len: int = 0
    in_place: bool = False
    # From, to: lengths between which a new list was taken for this trajectory by its content alone.
    taken: list[tuple[int, int]] = field(default_factory=list)

    @property
    def last(self) -> Piece:
        """The piece that the tokens end with; an empty one where there are none but the prompt's."""
        return self.pieces[-1] if self.pieces else Piece(self.prompt_len, self.prompt_len, by_policy=True)

    @property
    def is_kept_in_place(self) -> bool:
        """Whether the loop has a list of all that was generated, so that this list is what goes on."""
        return self.in_place and len(self.source) >= len(self.tokens)

    def has_added(self, length: int) -> bool:
        """Whether the policy or a tool has added to what its parent had, up to `length`."""
        return any(
            piece.end > self.shared and piece.start < min(piece.end, length)
            for piece in self.pieces
            if piece.by_policy or piece.is_result
        )

    def write(self, generated: Sequence[int], tool: str | None, ended_by_length: bool) -> None:
        """Take in what the policy wrote, and the tool that it called at the end."""
        start = len(self.tokens)
        self.tokens.extend(generated)
        self.pieces.append(Piece(start, len(self.tokens), by_policy=True, tool=tool))
        self.ended_by_length = ended_by_length

    def cut(self, length: int) -> Piece | None:
        """Forget the tokens from `length` on. Returns the piece, whole, that was cut within."""
        whole = None
        while self.pieces and self.pieces[-1].end > length:
            piece = self.pieces.pop()
            if piece.start < length:
                whole = piece
                self.pieces.append(replace(piece, end=length, tool=None if piece.by_policy else piece.tool))
        del self.tokens[length:]
        return whole

    def read(self, tokens: list[int], form: ResultForm, shared: int | None = None) -> None:
        """Bring the trajectory up to date with the loop's list of it, `shared` tokens of which are known."""
        if shared is None:
            shared = common_prefix(tokens, self.tokens)
        cut = self.cut(shared)
        if len(tokens) > shared or (cut is not None and not cut.by_policy):
            self._append(tokens, cut, form)
        # The loop's own int objects, which a copy of its list shares: see `shares_objects`.
        self.tokens[:] = tokens
        self.in_place |= tokens is self.source and len(tokens) > self.source_len
        self.source, self.source_len = tokens, len(tokens)

    def _append(self, tokens: list[int], cut: Piece | None, form: ResultForm) -> None:
        """Take in the text behind what is known, of which `cut` was cut short before."""
        start, last, known = len(self.tokens), self.last, False
        # A loop that shortens a segment to make room for a result still appends that tool's result.
        tool = cut.tool if cut else last.tool
        if not last.by_policy:
            if cut is None and form.is_whole(self.tokens[last.start :]):
                tool = None
            else:
                # What is left of a result is one; with another end the text is judged anew.
                known, start = bool(last.is_result) and len(tokens) == last.end, last.start
                self.pieces.pop()
        text = tokens[start:]
        is_result = known or form.judge(text, tool)
        if is_result and not known:
            form.learn(text, tool)
        head = () if is_result is not None else text[:EDGE]
        self.pieces.append(Piece(start, len(tokens), False, tool, is_result, head))

    def branch(self, tokens: list[int], shared: int, form: ResultForm) -> Trajectory:
        """A new trajectory that has the first `shared` tokens in common with this one; it has no index yet."""
        child = replace(
            self,
            sample_idx=-1,
            parent_idx=self.sample_idx if shared > self.prompt_len else None,
            tokens=list(self.tokens),
            pieces=list(self.pieces),
            mid_start=False,
            shared=shared,
            source=[],
            source_len=0,
            in_place=False,
            taken=[],
        )
        child.read(tokens, form, shared)
        return child

    def segment(self) -> Segment:
        """The segment that is about to be generated at the end of the tokens."""
        segment = Segment(self.sample_idx, self.prompt_idx, self.parent_idx, mid_start=self.mid_start)
        segment.trajectory, segment.pieces, segment.start = self, tuple(self.pieces), len(self.tokens)
        segment.label()
        return segment


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
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


def shares_objects(a: list[int], b: list[int], length: int) -> bool:
    """Whether the first `length` tokens are the very same int objects, as `list.copy()` leaves them.

    Tells a branch's parent from a trajectory that reads the same by chance; of SHARED_INTS it says nothing.
    """
    return all(map(operator.is_, a[:length], b[:length]))
