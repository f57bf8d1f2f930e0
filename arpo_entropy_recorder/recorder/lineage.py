"""Lineage: which trajectory, round and tool a segment belongs to, from nothing but the token lists passed to
`generate` and what came back.

A rollout loop passes, round after round, one token list a live trajectory. Between two rounds a list has grown
by what was generated and, perhaps, by a tool's result. A list that was never seen before is a branch (it starts
like a known trajectory, beyond the prompt), a restart (it starts like a known prompt) or a new prompt. What cannot
be decided is marked `unsure`.
"""

from __future__ import annotations

from collections.abc import Sequence

from arpo_entropy_recorder.recorder.closest import closest, written_alike
from arpo_entropy_recorder.recorder.places import Place, Rows, SeenPrompts
from arpo_entropy_recorder.recorder.results import ResultForm
from arpo_entropy_recorder.recorder.token_lists import SHARED_INTS, common_prefix, shares_objects
from arpo_entropy_recorder.recorder.trajectory import Piece, Segment, Trajectory


class TrajectoryTracker:
    """Follows the trajectories of one `generate_sequences` call.

    `form` tells tools' results from other text. `rows` are the batch's prompts; without them prompts are numbered in
    the order of their first appearance.
    """

    def __init__(self, form: ResultForm | None = None, rows: Rows | None = None) -> None:
        self.trajectories: list[Trajectory] = []
        self.segments: list[Segment] = []
        self._form = form or ResultForm()
        self._rows = rows or SeenPrompts()
        # By identity of the list: loops pass the same objects again. They are kept so that no id comes twice.
        self._by_list: dict[int, tuple[list[int], Trajectory]] = {}
        # By length and content of the prompt: a new list is compared with those that start like it only.
        self._by_prompt: dict[int, dict[tuple[int, ...], list[Trajectory]]] = {}
        self._live: list[Trajectory] = []
        self._taken_now: dict[int, tuple[int, int]] = {}
        # What a new list has behind all of a trajectory that it was taken for.
        self._appended: list[tuple[Trajectory, Piece]] = []

    def begin(self, prompts: list[list[int]], completions: int = 1) -> list[Segment]:
        """The segments of a `generate` call, prompt by prompt, `completions` of them each.

        With several completions the first one continues the trajectory, the others branch from it.
        """
        claimed: set[int] = set()
        self._taken_now = {}
        known = [self._known(tokens, claimed) for tokens in prompts]
        if None in known:
            self._catch_up()
        # Siblings of one round are not each other's parents, so none is enrolled before all are placed.
        fresh = []
        for i, tokens in enumerate(prompts):
            if known[i] is None:
                known[i] = self._continue_or_branch(tokens, claimed)
            if known[i] is None:
                fresh.append(i)
        for i, place in zip(fresh, self._rows.places([prompts[i] for i in fresh]), strict=True):
            known[i] = self._start(prompts[i], place)
        self._live = []
        for tokens, trajectory in zip(prompts, known, strict=True):
            assert trajectory is not None
            self._by_list[id(tokens)] = (tokens, trajectory)
            self._enrol(trajectory)
            for _ in range(completions - 1):
                sibling = trajectory.branch(tokens, len(tokens), self._form)
                # The list is the first completion's; what the loop makes for this one is yet to be seen.
                sibling.source, sibling.source_len = [], 0
                self._enrol(sibling)
        segments = [trajectory.segment() for trajectory in self._live]
        self.segments += segments
        return segments

    def end(
        self,
        token_ids: Sequence[Sequence[int]],
        stop_reasons: Sequence[object],
        finish_reasons: Sequence[object] = (),
    ) -> None:
        """What the segments of the last `begin` came back as, in the same order."""
        by_length = [reason == "length" for reason in finish_reasons] or [False] * len(self._live)
        came_back = zip(self._live, token_ids, stop_reasons, by_length, strict=True)
        for trajectory, generated, reason, ended_by_length in came_back:
            trajectory.write(generated, self._form.tool_of(reason), ended_by_length)

    def settle(self) -> list[Segment]:
        """Label the segments by what is known at the end; returns those that are still unsure."""
        for segment in self.segments:
            for piece in segment.pieces:
                if piece.is_result is None:
                    piece.is_result = self._form.judge(list(piece.head), piece.tool)
        for trajectory, piece in self._appended:
            # A notice or hint, unless it is the question of a scoring call.
            trajectory.unsure |= not piece.is_result
        for trajectory in self.trajectories:
            trajectory.unsure |= trajectory.prompt_idx in self._rows.doubtful
            if trajectory.parent_idx is not None:
                trajectory.unsure |= self.trajectories[trajectory.parent_idx].unsure
        for segment in self.segments:
            segment.label()
        return [segment for segment in self.segments if segment.unsure]

    def _start(self, tokens: list[int], place: Place) -> Trajectory:
        start = Trajectory.start(tokens, place.row, place.prompt_len, self._form)
        # A row may read like another's prompt with what was generated from it.
        start.unsure = any(
            other.prompt_len < place.prompt_len and other.tokens[: len(tokens)] == tokens
            for other in self._of_same_prompt(tokens)
        )
        if start.mid_start:
            # It may go on from what was generated elsewhere and reads the same, or from where nothing was generated.
            start.unsure |= bool(written_alike(tokens, self._of_same_prompt(tokens), place.prompt_len))
        return start

    def _enrol(self, trajectory: Trajectory) -> None:
        if trajectory.sample_idx < 0:
            trajectory.sample_idx = len(self.trajectories)
            self.trajectories.append(trajectory)
            prompt = tuple(trajectory.tokens[: trajectory.prompt_len])
            self._by_prompt.setdefault(len(prompt), {}).setdefault(prompt, []).append(trajectory)
        self._live.append(trajectory)

    def _known(self, tokens: list[int], claimed: set[int]) -> Trajectory | None:
        """The trajectory that this very list object is, brought up to date.

        None for a list that comes twice in a call, or again without what was generated from it: another sample.
        """
        _, trajectory = self._by_list.get(id(tokens), (None, None))
        if trajectory is None or id(trajectory) in claimed:
            return None
        if len(tokens) == trajectory.source_len < len(trajectory.tokens):
            return None
        shared = common_prefix(tokens, trajectory.tokens)
        if shared < trajectory.prompt_len:
            return None
        # Another list was taken for this trajectory meanwhile, perhaps wrongly.
        trajectory.unsure |= bool(trajectory.taken) and trajectory.source is not tokens
        trajectory.is_contested = False
        claimed.add(id(trajectory))
        trajectory.read(tokens, self._form, shared)
        return trajectory

    def _catch_up(self) -> None:
        """Read the lists that have grown but are not passed this time: a branch may start from them."""
        for trajectory in self.trajectories:
            if len(trajectory.source) > trajectory.source_len:
                trajectory.read(trajectory.source, self._form)

    def _of_same_prompt(self, tokens: list[int]) -> list[Trajectory]:
        """The trajectories with whose prompt `tokens` start, in their order."""
        found = [
            trajectory
            for length, trajectories in self._by_prompt.items()
            for trajectory in trajectories.get(tuple(tokens[:length]), ())
        ]
        return sorted(found, key=lambda trajectory: trajectory.sample_idx)

    def _continue_or_branch(self, tokens: list[int], claimed: set[int]) -> Trajectory | None:
        """The trajectory of a list object never seen before, or None for a start."""
        found = closest(tokens, self._of_same_prompt(tokens), claimed, self._form)
        if found is None:
            return None
        best, shared, same_objects, free, rivals = found
        if not free and shared <= best.start_len:
            # A start of this prompt or of another row that reads the same: the batch knows which is due.
            told_by_objects = len(tokens) == shared and same_objects and max(tokens) > SHARED_INTS
            return best.branch(tokens, shared, self._form) if told_by_objects else None
        if len(tokens) > best.prompt_len and self._rows.is_row(tokens):
            is_copy = same_objects and max(tokens[best.prompt_len : shared], default=0) > SHARED_INTS
            if not is_copy:
                return None
        is_contested = False
        while not free and best.parent_idx is not None and not best.has_added(shared):
            # A branch that only repeats what its parent has: as a scoring call's list with the parent's result does.
            parent = self.trajectories[best.parent_idx]
            common = common_prefix(tokens, parent.tokens)
            if same_objects and not shares_objects(tokens, parent.tokens, common):
                break
            # Either list may have been made from the other.
            is_contested |= same_objects and common < shared and tokens[shared - 1] > SHARED_INTS
            best, shared = parent, common
            free = id(best) not in claimed and best.may_go_on(tokens, shared, self._form)
            # It may go on where that branch began, too.
            best.unsure |= free
        if not free:
            child = self._branch(best, tokens, shared, claimed)
            child.unsure |= is_contested or bool(rivals)
            return child
        for rival in rivals:
            best.unsure = rival.unsure = True
        # Where nothing was generated, another list may begin there.
        best.unsure |= best.is_contested or len(tokens) == best.last.start
        if best.last.start == best.last.end:
            # So it may if another one has written nothing there either.
            written = written_alike(tokens, self._of_same_prompt(tokens), best.last.start)
            best.unsure |= any(p.start == p.end and p not in best.pieces for p in written)
        if best.is_kept_in_place:
            # A later list up to the result's end is a branch, as the loop's own list of this is known.
            self._taken_now[id(best)] = shared, len(tokens)
            best.taken.append((shared, len(tokens) - 1))
        else:
            best.taken.append((shared, len(tokens)))
        is_whole = shared == len(best.tokens) < len(tokens)
        claimed.add(id(best))
        best.read(tokens, self._form)
        if is_whole:
            self._appended.append((best, best.last))
        return best

    def _branch(self, parent: Trajectory, tokens: list[int], shared: int, claimed: set[int]) -> Trajectory:
        """A branch of `parent`, marked unsure where it may as well be `parent` itself."""
        paused = id(parent) not in claimed
        taken = [*parent.taken, self._taken_now.get(id(parent), (1, 0))]
        if any(low <= shared <= high for low, high in taken):
            # Either this list or one that was taken for the parent is the parent.
            parent.unsure = True
        child = parent.branch(tokens, shared, self._form)
        last = parent.last
        is_copy = tokens[shared - 1] <= SHARED_INTS or tokens[shared - 1] is parent.tokens[shared - 1]
        if shared < len(tokens) and not is_copy:
            # Text behind a result that only reads the same.
            child.unsure |= any(piece.end == shared and not piece.by_policy for piece in parent.pieces)
        if not child.last.by_policy:
            at = child.last.start
            result, known = tokens[at:], parent.tokens[at:]
            if len(result) > len(known) or not shares_objects(result, known, len(result)):
                # Made anew, it may be that of any that has written nothing there.
                written = written_alike(tokens, self._of_same_prompt(tokens), at)
                child.unsure |= any(piece.start == piece.end for piece in written)
        if paused and last.by_policy and (last.start < shared or last.end == shared):
            if parent.is_kept_in_place:
                # Text that a scoring call appends, or a notice or a cut after which a new list goes on.
                goes_on = (last.tool is not None and last.end == shared) or parent.ended_by_length
                may_be_parent = goes_on and (shared < len(tokens) or not is_copy)
            else:
                # An over-long segment that was cut and goes on.
                may_be_parent = parent.ended_by_length and len(tokens) == shared and parent in self._live
            child.unsure |= may_be_parent
            parent.is_contested |= may_be_parent
        return child
