"""What a batch of prompts says about itself: step, kind of call, rows, padding."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Any

import numpy as np

from arpo_entropy_recorder.recorder.places import Place
from arpo_entropy_recorder.recorder.trajectory import SHARED_INTS, common_prefix
from arpo_entropy_recorder.step_files.values import prompt_digest


class Batch:
    """A view of the `prompts` of generate_sequences (verl's DataProto, or anything with its attributes).

    Reads `meta_info` (`global_steps`, `validate`, `do_sample`, `pad_size`) and `batch["input_ids"]`, which is
    [rows, length] and padded on the left with `pad_token_id`.
    """

    def __init__(
        self, prompts: Any, pad_token_id: int | None = None, dp_rank: int = 0, dp_size: int = 1
    ) -> None:
        meta_info = getattr(prompts, "meta_info", None) or {}
        step = meta_info.get("global_steps")
        self.global_step: int | None = None if step is None else int(step)
        if self.global_step is not None and not 0 <= self.global_step < 10**18:
            raise ValueError(f"meta_info['global_steps'] is {step}, which no file can be named after")
        self.validate = bool(meta_info.get("validate", False))
        self.do_sample = bool(meta_info.get("do_sample", True))
        self._pad_size = int(meta_info.get("pad_size", 0))
        self.pad_token_id = -1 if pad_token_id is None else pad_token_id
        self._dp_rank, self._dp_size = dp_rank, dp_size
        self._input_ids = prompts.batch["input_ids"]
        # Whether rows were told by the starts' order alone.
        self.edits_prompts = False
        self._found: dict[tuple[int, ...], tuple[int, ...] | None] = {}
        # How many starts, or sets of int objects, each prompt has had; and the row of each set.
        self._started: Counter[tuple[int, ...]] = Counter()
        self._row_of_objects: dict[Any, tuple[int, bool]] = {}
        # So that no later int is given one of their addresses.
        self._kept: list[list[int]] = []

    def places(self, starts: list[list[int]]) -> list[Place]:
        """The row that each start of a generate call answers, by its tokens, and how long its prompt is.

        A start is a row, or begins with one (the longest), or is one with text put in. Where none of a call is any
        of these, its starts are taken for the rows in order. Else such a start has row -1.
        """
        prompts = [self._prompt_in(tuple(start)) for start in starts]
        num_rows = len(self._input_ids)
        if not any(prompts) and not self._started and starts and num_rows and len(starts) % num_rows == 0:
            self.edits_prompts = True
            return [Place(i * num_rows // len(starts), len(start)) for i, start in enumerate(starts)]
        members: dict[tuple[int, ...], list[int]] = {}
        for i, prompt in enumerate(prompts):
            if prompt is not None:
                members.setdefault(prompt, []).append(i)
        places = [Place(-1, len(start)) for start in starts]
        for prompt, indices in members.items():
            rows = self._share(prompt, [starts[i] for i in indices])
            for i, (row, is_sure) in zip(indices, rows, strict=True):
                is_begun = tuple(starts[i][: len(prompt)]) == prompt
                places[i] = Place(row, len(prompt) if is_begun else len(starts[i]), is_sure)
        beyond = {tuple(start[place.prompt_len :]) for start, place in zip(starts, places, strict=True)}
        if len(beyond) == 1 and len(members) > 1:
            # The loop has put the same text behind all prompts.
            places = [
                place._replace(prompt_len=len(start)) for start, place in zip(starts, places, strict=True)
            ]
        return places

    def is_row(self, tokens: list[int]) -> bool:
        """Whether `tokens` are the prompt of a row."""
        return len(tokens) in self._lengths and tuple(tokens) in self._rows_by_prompt

    def is_padding(self, prompt_idx: np.ndarray) -> np.ndarray:
        """[n] bool: rows that only fill the last rank's chunk up (`pad_size` rows at the whole batch's end)."""
        if not self._pad_size:
            return np.zeros(len(prompt_idx), dtype=bool)
        num_rows = len(self._input_ids)
        real = self._dp_size * num_rows - self._pad_size
        return (prompt_idx >= 0) & (prompt_idx + self._dp_rank * num_rows >= real)

    def prompt_digests(self, prompt_idx: np.ndarray) -> list[str | None]:
        """The digest of each row's prompt, [n]; None for row -1."""
        digests = {row: prompt_digest(self._prompts[row]) for row in set(prompt_idx.tolist()) if row >= 0}
        return [digests.get(row) for row in prompt_idx.tolist()]

    @cached_property
    def _prompts(self) -> list[np.ndarray]:
        """Each row from its first token on that is not padding."""
        ids = self._input_ids
        table = np.asarray(ids.cpu() if hasattr(ids, "cpu") else ids, dtype=np.int64)
        return [row[int((row != self.pad_token_id).argmax()) :] for row in table]

    @cached_property
    def _rows_by_prompt(self) -> dict[tuple[int, ...], list[int]]:
        rows: dict[tuple[int, ...], list[int]] = {}
        for index, prompt in enumerate(self._prompts):
            rows.setdefault(tuple(prompt.tolist()), []).append(index)
        return rows

    @cached_property
    def _lengths(self) -> list[int]:
        return sorted({len(prompt) for prompt in self._rows_by_prompt}, reverse=True)

    def _prompt_in(self, start: tuple[int, ...]) -> tuple[int, ...] | None:
        """The row's prompt that `start` is, begins with, or is with one insertion; None for none."""
        if start not in self._found:
            prompt: tuple[int, ...] | None = None
            for length in self._lengths:
                if length <= len(start) and start[:length] in self._rows_by_prompt:
                    prompt = start[:length]
                    break
            else:
                edited = [row for row in self._rows_by_prompt if _is_inserted(row, start)]
                prompt = max(edited, key=len, default=None)
            self._found[start] = prompt
        return self._found[start]

    def _share(self, prompt: tuple[int, ...], starts: list[list[int]]) -> list[tuple[int, bool]]:
        """Which of the rows that read `prompt` each start answers, and whether that is sure.

        Copies of a row's list share its int objects, so each set of objects belongs to one row. Sets that are new in
        this call go to the rows in turn, or, where there are more of them than rows, in equal shares in order, as in
        a loop that repeats each row: of six starts over rows 3 and 8, three belong to each.
        """
        rows = self._rows_by_prompt[prompt]
        if len(rows) == 1:
            self._started[prompt] += 1
            return [(rows[0], True)] * len(starts)
        known = self._row_of_objects
        # Python keeps one object for each small int, in whatever list it is.
        if max(prompt, default=0) > SHARED_INTS:
            units: list[Any] = [tuple(map(id, start[: len(prompt)])) for start in starts]
            if len(set(units)) == 1 and len(units) >= len(rows) and not self._started[prompt]:
                # A loop that has made the prompt's list once, for all rows that read the same.
                units = list(range(len(starts)))
        else:
            units = list(range(len(starts)))
        fresh = list(dict.fromkeys(unit for unit in units if unit not in known))
        sure = len(fresh) % len(rows) == 0
        for place, unit in enumerate(fresh):
            at = place * len(rows) // len(fresh) if len(fresh) >= len(rows) else self._started[prompt] + place
            known[unit] = rows[at % len(rows)], sure
        self._started[prompt] += len(fresh)
        self._kept += map(list, starts)
        found = [known[unit] for unit in units]
        for unit in range(len(starts)):
            known.pop(unit, None)
        return found


def _is_inserted(row: tuple[int, ...], start: tuple[int, ...]) -> bool:
    """Whether `start` is `row` with tokens put in at one place."""
    if not 0 < len(row) < len(start):
        return False
    before = common_prefix(row, start)
    return row[before:] == start[len(start) - len(row) + before :]
