"""Which of the known trajectories a new list goes on from: by what it reads, and by the int objects it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from arpo_entropy_recorder.recorder.results import ResultForm
from arpo_entropy_recorder.recorder.token_lists import common_prefix, shares_objects
from arpo_entropy_recorder.recorder.trajectory import Piece, Trajectory


class Closest(NamedTuple):
    """The trajectory that a list goes on from, and how many tokens they share.

    `same_objects`: whether these are the very same int objects. `is_free`: whether the list may be the trajectory's
    next one. `rivals`: those that are as close, so that either may be meant.
    """

    trajectory: Trajectory
    shared: int
    same_objects: bool
    is_free: bool
    rivals: Sequence[Trajectory] = ()


def closest(
    tokens: list[int], trajectories: list[Trajectory], claimed: set[int], form: ResultForm
) -> Closest | None:
    """The closest one of `trajectories`, with whose prompts `tokens` start; None where there are none.

    `claimed`: the ids of those that have their next list already.
    """
    found = _closest_in_text(tokens, trajectories, claimed, form)
    while found is not None and not found.same_objects:
        # From here on it only reads the same by chance if another has the very object: the list is made from that.
        known = found.trajectory.tokens
        at = next(i for i in range(found.shared) if tokens[i] is not known[i])
        trajectories = [
            other
            for other in trajectories
            if len(other.tokens) > at and other.tokens[at] is tokens[at] and other.tokens[:at] == tokens[:at]
        ]
        if not trajectories:
            break
        found = _closest_in_text(tokens, trajectories, claimed, form)
    return found


def _closest_in_text(
    tokens: list[int], trajectories: list[Trajectory], claimed: set[int], form: ResultForm
) -> Closest | None:
    """The one that shares the most tokens; of several, one with the same objects, then one that may go on."""
    # Those that share the most so far, each with whether its objects are the same and whether it may go on.
    most = 0
    equals: list[tuple[Trajectory, tuple[bool, bool]]] = []
    for trajectory in trajectories:
        if tokens[most - 1 : most] != trajectory.tokens[most - 1 : most]:
            continue
        # As a rule it shares less than the best or as much: to see that costs less than to see how much.
        if tokens[most : most + 1] == trajectory.tokens[most : most + 1]:
            shared = common_prefix(tokens, trajectory.tokens)
        else:
            shared = most if tokens[:most] == trajectory.tokens[:most] else 0
        if trajectory.prompt_len < shared < len(tokens):
            shared = trajectory.length_in_common(shared)
        if shared < most:
            continue
        if shared > most:
            most, equals = shared, []
        same_objects = shares_objects(tokens, trajectory.tokens, shared)
        is_free = id(trajectory) not in claimed and trajectory.may_go_on(tokens, shared, form)
        equals.append((trajectory, (same_objects, is_free)))
    if not most:
        return None
    best, key = max(equals, key=lambda equal: equal[1])
    rivals = [
        other
        for other, (same_objects, is_free) in equals
        if other is not best
        and same_objects == key[0]
        # Both may go on, or the other has written the same by itself, and so has the best if it may go on.
        and (is_free or (other.has_written(most) and (not key[1] or best.has_written(most))))
    ]
    return Closest(best, most, *key, rivals)


def written_alike(tokens: list[int], trajectories: list[Trajectory], low: int) -> list[Piece]:
    """What was generated, be it nothing, in `trajectories` that `tokens` read like, and ended at `low` or later."""
    return [
        piece
        for other in trajectories
        for piece in other.pieces
        if piece.by_policy
        and low <= piece.end
        and other.start_len <= piece.start < len(tokens)
        # The tokens may be cut within it.
        and other.tokens[: min(piece.end, len(tokens))] == tokens[: piece.end]
    ]
