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

from arpo_entropy_recorder.recorder.trajectory import SHARED_INTS, Segment, Trajectory, common_prefix

STOP_TAG = re.compile(r"</([\w.-]+)>\s*$")
# What may follow these is no tool's result, whatever stop strings a loop has.
NO_TOOLS = {"think", "answer"}


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
        # By length and content of the prompt: a new list is compared with those that start like it only.
        self._by_prompt: dict[int, dict[tuple[int, ...], list[Trajectory]]] = {}
        self._live: list[Trajectory] = []

    def begin(self, prompts: list[list[int]], completions: int = 1) -> list[Segment]:
        """The segments of a `generate` call, prompt by prompt, `completions` of them each.

        With several completions the first one continues the trajectory, the others branch from it.
        """
        claimed: set[int] = set()
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
        for i, row in zip(fresh, self._rows_of([prompts[i] for i in fresh]), strict=True):
            start = Trajectory(-1, row, None, len(prompts[i]), list(prompts[i]))
            start.read(prompts[i], self._is_result)
            known[i] = start
        self._live = []
        for tokens, trajectory in zip(prompts, known, strict=True):
            assert trajectory is not None
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
            trajectory.stopped_at = tag.group(1) if tag and tag.group(1) not in NO_TOOLS else None

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
        if len(tokens) <= trajectory.source_len < len(trajectory.tokens):
            return None
        if common_prefix(tokens, trajectory.tokens) < trajectory.prompt_len:
            return None
        claimed.add(id(trajectory))
        trajectory.read(tokens, self._is_result)
        return trajectory

    def _catch_up(self) -> None:
        """Read the lists that have grown but are not passed this time: a branch may start from them."""
        for trajectory in self.trajectories:
            if len(trajectory.source) > trajectory.source_len:
                trajectory.read(trajectory.source, self._is_result)

    def _of_same_prompt(self, tokens: list[int]) -> list[Trajectory]:
        """The trajectories with whose prompt `tokens` start, in their order."""
        found = [
            trajectory
            for length, trajectories in self._by_prompt.items()
            for trajectory in trajectories.get(tuple(tokens[:length]), ())
        ]
        return sorted(found, key=lambda trajectory: trajectory.sample_idx)

    def _continue_or_branch(self, tokens: list[int], claimed: set[int]) -> Trajectory | None:
        """The trajectory of a list object never seen before, or None for a new prompt."""
        best, best_key = None, (0, False, False)
        for trajectory in self._of_same_prompt(tokens):
            shared = common_prefix(tokens, trajectory.tokens)
            if shared < best_key[0]:
                continue
            key = (
                shared,
                _shares_objects(tokens, trajectory.tokens, shared),
                self._is_free(trajectory, shared, claimed),
            )
            if key > best_key:
                best, best_key = trajectory, key
        if best is None:
            return None
        shared, same_objects, free = best_key
        if len(tokens) == best.prompt_len and not (same_objects and max(tokens) > SHARED_INTS):
            # A restart of this prompt or of another row that reads the same: the batch knows which is due.
            return None
        if free:
            claimed.add(id(best))
            best.read(tokens, self._is_result)
            return best
        return best.branch(tokens, shared, self._is_result)

    @staticmethod
    def _is_free(trajectory: Trajectory, shared: int, claimed: set[int]) -> bool:
        """Whether a new list object may be this same trajectory, as `tokens + result` makes one.

        Not if its own list is passed too. A trajectory that waits for its tool is expected to go on; any other
        goes on only in a loop that makes a new list each time, perhaps without an end-of-text token.
        """
        if id(trajectory) in claimed or shared <= trajectory.prompt_len:
            return False
        return trajectory.stopped_at is not None or (
            shared >= len(trajectory.tokens) - 1 and not trajectory.in_place
        )

    def _rows_of(self, prompts: list[list[int]]) -> list[int]:
        if self._prompt_rows is not None:
            return self._prompt_rows(prompts)
        order: dict[tuple[int, ...], int] = {}
        for trajectory in self.trajectories:
            order.setdefault(tuple(trajectory.tokens[: trajectory.prompt_len]), trajectory.prompt_idx)
        return [order.setdefault(tuple(prompt), len(order)) for prompt in prompts]


def _shares_objects(a: list[int], b: list[int], length: int) -> bool:
    """Whether the first `length` tokens are the very same int objects, as `list.copy()` leaves them.

    Tells a branch's parent from a trajectory that reads the same by chance; of SHARED_INTS it says nothing.
    """
    return all(map(operator.is_, a[:length], b[:length]))
