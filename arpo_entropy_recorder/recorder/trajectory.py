"""One trajectory: its tokens so far, who wrote which of them, and the segment that it is about to generate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from arpo_entropy_recorder.recorder.results import EDGE, ResultForm, Span
from arpo_entropy_recorder.recorder.token_lists import common_prefix


@dataclass(eq=False, slots=True)
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


@dataclass(eq=False, slots=True)
class Segment:
    """What one request generates. `token_ids` is filled in when it has come back, and `logprobs_entropy` where the
    loop asked for log-probabilities.

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
    logprobs_entropy: float | None = None
    mid_start: bool = False
    unsure: bool = False
    trajectory: Trajectory | None = field(default=None, repr=False)
    pieces: Sequence[Piece] = field(default=(), repr=False)
    start: int = 0

    def label(self) -> None:
        """Set the labels by what is known of the pieces before the segment."""
        num_results, last = 0, None
        unsure = self.trajectory is not None and self.trajectory.unsure
        for piece in self.pieces:
            if piece.is_result:
                num_results, last = num_results + 1, piece
            elif piece.is_result is None:
                unsure = True
        self.round, self.unsure = num_results, unsure
        self.is_after_tool_call = last is not None and last.end == self.start
        self.tool = last.tool if last is not None and self.is_after_tool_call else None


@dataclass(eq=False, slots=True)
class Trajectory:
    """Everything known of one token list. `pieces` cover its tokens from `prompt_len` on."""

    sample_idx: int
    prompt_idx: int
    parent_idx: int | None
    prompt_len: int
    # How many tokens it was started with, or the trajectory that it branched from: more than the prompt if midway.
    start_len: int
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
    # Whether a new list was taken for its branch that may as well be its own.
    is_contested: bool = False

    @classmethod
    def start(cls, tokens: list[int], row: int, prompt_len: int, form: ResultForm) -> Trajectory:
        """One that starts with a prompt of a row, or with what is more than it; it has no index yet."""
        spans = form.find(tokens[prompt_len:]) if prompt_len < len(tokens) else []
        pieces = pieces_from(spans, prompt_len, len(tokens))
        started = cls(-1, row, None, prompt_len, len(tokens), list(tokens), pieces, prompt_len < len(tokens))
        started.source, started.source_len = tokens, len(tokens)
        return started

    @property
    def last(self) -> Piece:
        """The piece that the tokens end with; an empty one where there are none but the prompt's."""
        return self.pieces[-1] if self.pieces else Piece(self.prompt_len, self.prompt_len, by_policy=True)

    @property
    def is_kept_in_place(self) -> bool:
        """Whether the loop has a list of all that was generated, so that this list is what goes on."""
        return self.in_place and len(self.source) >= len(self.tokens)

    def has_written(self, length: int) -> bool:
        """Whether its token before `length` is its own, neither its parent's nor what it was started with."""
        return length > max(self.shared, self.start_len)

    def has_added(self, length: int) -> bool:
        """Whether the policy or a tool has added to what its parent had, up to `length`."""
        return any(
            piece.end > self.shared and piece.start < min(piece.end, length)
            for piece in self.pieces
            if piece.by_policy or piece.is_result
        )

    def length_in_common(self, shared: int) -> int:
        """`shared`, the first tokens in common with a longer list, without what two results have begun with alike."""
        piece = next((piece for piece in reversed(self.pieces) if piece.start < shared), None)
        is_begun = piece is not None and shared < piece.end and not piece.by_policy
        return piece.start if piece is not None and is_begun else shared

    def may_go_on(self, tokens: list[int], shared: int, form: ResultForm) -> bool:
        """Whether a list never seen may be this trajectory's next one, as `tokens + result` makes one."""
        last, length = self.last, len(self.tokens)
        if not last.by_policy or (shared <= last.start and shared < length):
            return False
        if len(tokens) == shared < length:
            # What has only become shorter is a branch.
            return False
        if self.is_kept_in_place or length - shared > 1:
            if last.tool is None:
                return self.ended_by_length and not self.is_kept_in_place
            return form.judge(tokens[shared:], last.tool) is True
        # All of it, or all but an end-of-text token, and perhaps more.
        return True

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
                # What is left of a result is one; with another end the text is judged anew. Where it goes on behind
                # a result without its end, that may be more of it or other text.
                self.unsure |= cut is None and last.is_result is not False
                known, start = bool(last.is_result) and len(tokens) == last.end, last.start
                self.pieces.pop()
        text = tokens[start:]
        is_result = known or form.judge(text, tool)
        # A result right behind a result: one of two that came at once, or of a branch with the same first words.
        self.unsure |= bool(is_result) and start == last.end and not last.by_policy
        if is_result and not known:
            form.learn(text, tool)
        head = () if is_result is not None else text[:EDGE]
        self.pieces.append(Piece(start, len(tokens), False, tool, is_result, head))

    def branch(self, tokens: list[int], shared: int, form: ResultForm) -> Trajectory:
        """A new trajectory that has the first `shared` tokens in common with this one; it has no index yet."""
        child = replace(
            self,
            sample_idx=-1,
            parent_idx=self.sample_idx if shared > self.start_len else None,
            tokens=list(self.tokens),
            pieces=list(self.pieces),
            mid_start=self.prompt_len < shared <= self.start_len,
            start_len=min(shared, self.start_len),
            shared=shared,
            source=[],
            source_len=0,
            in_place=False,
            taken=[],
            is_contested=False,
        )
        child.read(tokens, form, shared)
        return child

    def segment(self) -> Segment:
        """The segment that is about to be generated at the end of the tokens."""
        segment = Segment(self.sample_idx, self.prompt_idx, self.parent_idx, mid_start=self.mid_start)
        segment.trajectory, segment.pieces, segment.start = self, tuple(self.pieces), len(self.tokens)
        segment.label()
        return segment


def pieces_from(spans: list[Span], at: int, length: int) -> list[Piece]:
    """What tokens [at, length) are made of: results at `spans`, counted from `at`, and what the policy wrote."""
    offset, pieces = at, []
    for start, end, tool in spans:
        if offset + start > at:
            pieces.append(Piece(at, offset + start, by_policy=True, tool=tool))
        pieces.append(Piece(offset + start, offset + end, False, tool, is_result=True))
        at = offset + end
    if at < length:
        pieces.append(Piece(at, length, by_policy=True))
    return pieces
