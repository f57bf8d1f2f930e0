"""What a batch of prompts says about itself: step, kind of call, rows, padding."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from arpo_entropy_recorder.recorder.places import Place
from arpo_entropy_recorder.recorder.token_lists import SHARED_INTS, common_prefix
from arpo_entropy_recorder.step_files.values import prompt_digest, unpadded


class Match(NamedTuple):
    """The prompt of a row that a start begins with, and how long it is in the start."""

    prompt: tuple[int, ...]
    length: int


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
        # The rows of which it is not sure which trajectory answers which.
        self.doubtful: set[int] = set()
        self._found: dict[tuple[int, ...], Match | None] = {}
        # How many sources, as `_sources` tells them, each prompt has had; and the row of each.
        self._started: Counter[tuple[int, ...]] = Counter()
        self._row_of_source: dict[Any, int] = {}
        # So that no later int is given one of their addresses.
        self._kept: list[list[int]] = []

    def places(self, starts: list[list[int]]) -> list[Place]:
        """The row that each start of a generate call answers, by its tokens, and how long its prompt is.

        A start is a row, or begins with one (the longest), perhaps with text put in. Where none of a call is any of
        these, its starts are taken for the rows in order. Else such a start has row -1.
        """
        matches = [self._match(tuple(start)) for start in starts]
        num_rows = len(self._input_ids)
        if not any(matches) and not self._started and starts and num_rows and len(starts) % num_rows == 0:
            self.edits_prompts = True
            return [Place(i * num_rows // len(starts), len(start)) for i, start in enumerate(starts)]
        members: dict[tuple[int, ...], list[int]] = {}
        for i, match in enumerate(matches):
            if match is not None:
                members.setdefault(match.prompt, []).append(i)
        sources: list[Any] = [None] * len(starts)
        for prompt, indices in members.items():
            told = self._sources(prompt, [starts[i] for i in indices])
            # In a batch of one prompt a call that starts a part of it has them all, too; but one that passes copies
            # of its lists starts each row as often as is due.
            is_whole = len(members) == len(self._rows_by_prompt) and (
                len(members) > 1 or len(set(told)) < len(told)
            )
            self._share(prompt, told, is_whole)
            for i, source in zip(indices, told, strict=True):
                sources[i] = source
        in_turn = [self._row_of_source[source] for source in dict.fromkeys(sources) if source is not None]
        if in_turn != sorted(in_turn):
            # Of rows that read the same it cannot be seen in what order they come.
            for prompt in members:
                self._doubt(prompt)
        places = [
            Place(-1, len(start)) if match is None else Place(self._row_of_source[source], match.length)
            for start, match, source in zip(starts, matches, sources, strict=True)
        ]
        beyond = {tuple(start[place.prompt_len :]) for start, place in zip(starts, places, strict=True)}
        if len(beyond) == 1 and len(members) > 1:
            # The loop has put the same text behind all prompts.
            places = [Place(place.row, len(start)) for start, place in zip(starts, places, strict=True)]
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
        return [unpadded(row, self.pad_token_id) for row in table]

    @cached_property
    def _rows_by_prompt(self) -> dict[tuple[int, ...], list[int]]:
        rows: dict[tuple[int, ...], list[int]] = {}
        for index, prompt in enumerate(self._prompts):
            rows.setdefault(tuple(prompt.tolist()), []).append(index)
        return rows

    @cached_property
    def _lengths(self) -> list[int]:
        return sorted({len(prompt) for prompt in self._rows_by_prompt if prompt}, reverse=True)

    def _match(self, start: tuple[int, ...]) -> Match | None:
        """The row's prompt that `start` is or begins with, as it is or with one insertion; None for none."""
        if start not in self._found:
            begins = [start[:n] for n in self._lengths if n <= len(start)]
            matches = [Match(begin, len(begin)) for begin in begins if begin in self._rows_by_prompt]
            if not matches:
                edited = [Match(row, end) for row in self._rows_by_prompt if (end := _end_edited(row, start))]
                matches = sorted(edited, key=lambda match: len(match.prompt), reverse=True)
            self._found[start] = matches[0] if matches else None
            if len(matches) > 1 and start != matches[0].prompt:
                # The response may as well begin where a shorter row ends.
                self.doubtful.update(self._rows_by_prompt[matches[0].prompt])
        return self._found[start]

    def _sources(self, prompt: tuple[int, ...], starts: list[list[int]]) -> list[Any]:
        """What tells the rows that read `prompt` apart: the int objects of each start, which copies share.

        Python keeps one object for each small int, in whatever list it is: then each start stands for itself.
        """
        if len(self._rows_by_prompt[prompt]) == 1:
            return [prompt] * len(starts)
        if max(prompt, default=0) > SHARED_INTS:
            self._kept += map(list, starts)
            return [tuple(map(id, start[: len(prompt)])) for start in starts]
        first = self._started[prompt]
        return [(prompt, first + i) for i in range(len(starts))]

    def _share(self, prompt: tuple[int, ...], sources: list[Any], is_whole: bool) -> None:
        """Give the sources that are new to the rows that read `prompt`.

        In turn, or, where there are more of them than rows, in equal shares in order, as in a loop that repeats each
        row: of six starts over rows 3 and 8, three belong to each. `is_whole`: the call starts all of the batch.
        """
        rows = self._rows_by_prompt[prompt]
        fresh = list(dict.fromkeys(source for source in sources if source not in self._row_of_source))
        if len(fresh) % len(rows) or (fresh and self._started[prompt] and not is_whole):
            self._doubt(prompt)
        for place, source in enumerate(fresh):
            at = place * len(rows) // len(fresh) if len(fresh) >= len(rows) else self._started[prompt] + place
            self._row_of_source[source] = rows[at % len(rows)]
        self._started[prompt] += len(fresh)

    def _doubt(self, prompt: tuple[int, ...]) -> None:
        rows = self._rows_by_prompt[prompt]
        if len(rows) > 1:
            self.doubtful.update(rows)


def _end_edited(row: tuple[int, ...], start: tuple[int, ...]) -> int | None:
    """Where `row`, with tokens put in at one place, ends in `start`; None if `start` does not begin so."""
    before = common_prefix(row, start)
    rest = row[before:]
    if not 0 < len(rest) < len(start) - before:
        return None
    if start[-len(rest) :] == rest:
        return len(start)
    at = before
    while rest[0] in start[at:]:
        at = start.index(rest[0], at)
        if start[at : at + len(rest)] == rest:
            return at + len(rest)
        at += 1
    return None
