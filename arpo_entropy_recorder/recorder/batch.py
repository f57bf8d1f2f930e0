"""What a batch of prompts says about itself: step, kind of call, rows, padding."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Any

import numpy as np

from arpo_entropy_recorder.recorder.trajectory import SHARED_INTS
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
        self._pad_token_id = -1 if pad_token_id is None else pad_token_id
        self._dp_rank, self._dp_size = dp_rank, dp_size
        self._started: Counter[bytes] = Counter()
        self._objects_of: dict[bytes, tuple[dict[tuple[int, ...], int], list[list[int]]]] = {}
        self._input_ids = prompts.batch["input_ids"]

    def rows_of(self, starts: list[list[int]]) -> list[int]:
        """The row of each starting prompt, by content; [len(starts)] ints.

        Of rows that read the same each may start another number of trajectories. Copies of a row's list share its
        int objects, which tells the rows apart if there are as many sets of objects as rows. Else the rows share
        the starts out in order, as a loop that repeats each row does: of six starts over rows 3 and 8, three belong
        to each. Fewer starts than rows take the rows in turn, call by call. A start that is in no row gets -1.
        """
        starts_by_content: dict[bytes, list[int]] = {}
        for i, start in enumerate(starts):
            starts_by_content.setdefault(np.asarray(start, dtype=np.int64).tobytes(), []).append(i)
        rows_by_content = self._rows_by_content()
        rows = [-1] * len(starts)
        for content, members in starts_by_content.items():
            matches = rows_by_content.get(content, [-1])
            started = self._started[content]
            self._started[content] += len(members)
            alike = len(matches) > 1
            order = self._order_of_objects(content, [starts[i] for i in members]) if alike else {}
            for k, i in enumerate(members):
                place = k * len(matches) // len(members) if len(members) >= len(matches) else started + k
                if alike and len(order) == len(matches):
                    place = order[_objects(starts[i])]
                rows[i] = matches[place % len(matches)]
        return rows

    def _order_of_objects(self, content: bytes, starts: list[list[int]]) -> dict[tuple[int, ...], int]:
        """The sets of int objects that have started with `content` so far, numbered in order."""
        order, kept = self._objects_of.setdefault(content, ({}, []))
        # Python keeps one object for each small int, in whatever list it is.
        if starts[0] and max(starts[0]) > SHARED_INTS:
            for start in starts:
                if order.setdefault(_objects(start), len(order)) == len(kept):
                    # So that no later int is given one of these addresses.
                    kept.append(list(start))
        return order

    def is_padding(self, prompt_idx: np.ndarray) -> np.ndarray:
        """[n] bool: rows that only fill the last rank's chunk up (`pad_size` rows at the whole batch's end)."""
        if not self._pad_size:
            return np.zeros(len(prompt_idx), dtype=bool)
        num_rows = len(self._input_ids)
        real = self._dp_size * num_rows - self._pad_size
        return prompt_idx + self._dp_rank * num_rows >= real

    def prompt_digests(self, prompt_idx: np.ndarray) -> list[str | None]:
        """The digest of each row's prompt, [n]; None for row -1."""
        digests = {row: prompt_digest(self._prompts[row]) for row in set(prompt_idx.tolist()) if row >= 0}
        return [digests.get(row) for row in prompt_idx.tolist()]

    @cached_property
    def _prompts(self) -> list[np.ndarray]:
        """Each row from its first token on that is not padding."""
        ids = self._input_ids
        table = np.asarray(ids.cpu() if hasattr(ids, "cpu") else ids, dtype=np.int64)
        return [row[int((row != self._pad_token_id).argmax()) :] for row in table]

    def _rows_by_content(self) -> dict[bytes, list[int]]:
        """Rows by their prompt."""
        by_content: dict[bytes, list[int]] = {}
        for index, prompt in enumerate(self._prompts):
            by_content.setdefault(prompt.tobytes(), []).append(index)
        return by_content


def _objects(tokens: list[int]) -> tuple[int, ...]:
    """Which int objects a list holds."""
    return tuple(map(id, tokens))
