"""What generate_sequences returns against what was followed: the loop's own word on who wrote which token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from arpo_entropy_recorder.recorder.token_lists import common_prefix
from arpo_entropy_recorder.recorder.trajectory import Piece, Trajectory
from arpo_entropy_recorder.step_files.values import unpadded

# ARPO's family: 1 where the policy wrote a token of the response, 0 for tools' results and padding.
MASKS = ("loss_mask", "result_mask")


class Findings(NamedTuple):
    """How many returned responses were not followed, and how many pieces the mask says otherwise of.

    `example` describes one; it is empty where all agree.
    """

    not_followed: int = 0
    disagreements: int = 0
    example: str = ""


def compare(trajectories: Sequence[Trajectory], output: Any, pad_token_id: int) -> Findings:
    """Compare the trajectories with `output`, a DataProto whose batch has `prompts`, `responses` and a mask.

    Sets right what the mask settles: text that it says the policy wrote is no result. A trajectory of which it
    disagrees otherwise is marked unsure. An output of another form is not compared.
    """
    batch = getattr(output, "batch", None)
    prompts, responses = _table(batch, "prompts"), _table(batch, "responses")
    if prompts is None or responses is None or len(prompts) != len(responses):
        return Findings()
    mask = next((table for name in MASKS if (table := _table(batch, name)) is not None), None)
    if mask is None or mask.shape != responses.shape:
        mask = np.zeros_like(responses)
    by_prompt: dict[tuple[int, ...], list[Trajectory]] = {}
    for trajectory in trajectories:
        # A prompt that is longer than the batch loses its beginning.
        prompt = trajectory.tokens[: trajectory.prompt_len][-prompts.shape[1] :]
        by_prompt.setdefault(tuple(prompt), []).append(trajectory)

    not_followed, example = 0, ""
    said: dict[Piece, tuple[Trajectory, np.ndarray]] = {}
    for row, (prompt, response, by_policy) in enumerate(zip(prompts, responses, mask, strict=True)):
        start = tuple(unpadded(prompt, pad_token_id).tolist())
        text = response[: _end(response != pad_token_id)].tolist()
        found = [(common_prefix(text, t.tokens[t.prompt_len :]), t) for t in by_prompt.get(start, ())]
        if not any(_is_followed(*pair, text, by_policy) for pair in found):
            not_followed += 1
            example = example or f"response {row} of the output was not generated as it is returned"
            continue
        shared, trajectory = max(found, key=lambda pair: pair[0])
        end = min(shared, _end(by_policy == 1))
        for piece in trajectory.pieces:
            low, high = piece.start - trajectory.prompt_len, piece.end - trajectory.prompt_len
            if low < high <= end:
                said.setdefault(piece, (trajectory, by_policy[low:high]))
    wrong = _settle(said)
    if wrong:
        piece, trajectory = wrong[0]
        writer = "the policy's" if piece.by_policy else "a tool's result"
        example = example or (
            f"tokens {piece.start} to {piece.end} of trajectory {trajectory.sample_idx} were taken for {writer}, and "
            "the loop's mask says otherwise"
        )
    return Findings(not_followed, len(wrong), example)


def _settle(said: dict[Piece, tuple[Trajectory, np.ndarray]]) -> list[tuple[Piece, Trajectory]]:
    """Set right what the mask decides; returns the pieces that it said otherwise of."""
    if not any(piece.is_result and not by_policy.any() for piece, (_, by_policy) in said.items()):
        # A mask that is 1 on all results does not tell them from what the policy wrote.
        return []
    wrong = []
    for piece, (trajectory, by_policy) in said.items():
        if piece.by_policy:
            agrees = bool(by_policy.all())
            trajectory.unsure |= not agrees
        else:
            agrees = piece.is_result is not True or not by_policy.any()
            if by_policy.all():
                piece.is_result = False
            trajectory.unsure |= not agrees and not by_policy.all()
        if not agrees:
            wrong.append((piece, trajectory))
    return wrong


def _is_followed(shared: int, trajectory: Trajectory, text: list[int], by_policy: np.ndarray) -> bool:
    """Whether a response is the trajectory's, up to what the loop has appended or cut at the end."""
    if shared == len(text):
        return True
    if not by_policy.any():
        return shared >= len(trajectory.tokens) - trajectory.prompt_len - 1
    # Loops end a response with an end-of-text token of their own, and count it as the policy's.
    return int(by_policy[shared:].sum()) <= 1


def _end(flags: np.ndarray) -> int:
    """One behind the last that is true, of [n] bool."""
    where = np.flatnonzero(flags)
    return int(where[-1]) + 1 if len(where) else 0


def _table(batch: Any, key: str) -> np.ndarray | None:
    """A [rows, length] tensor of the batch on the host; None if there is none."""
    try:
        values = batch[key]
        table = np.asarray(values.cpu() if hasattr(values, "cpu") else values)
    except (KeyError, TypeError, IndexError, ValueError, RuntimeError):
        # None there, or of a type that is no table: a nested tensor, one that has a gradient or is bfloat16.
        return None
    return table if table.ndim == 2 and table.dtype.kind in "biuf" else None
