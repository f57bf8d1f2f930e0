"""From a step's dumped trajectories to its records: tokenized, run through the model, put into columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rescore.dumps import Dump
from arpo_entropy_recorder.rescore.line import Line
from arpo_entropy_recorder.rescore.lineage import find_branches
from arpo_entropy_recorder.rescore.retokenize import Retokenizer
from arpo_entropy_recorder.rescore.settings import RescoreSettings, SettingError
from arpo_entropy_recorder.rescore.skipping import Skip, usable
from arpo_entropy_recorder.rescore.tokenized import Segment, Tokenized
from arpo_entropy_recorder.step_files.values import normalised, prompt_digest


class Scorer:
    """The model, and the columns of records that it makes of dumped lines as `retokenizer` reads them."""

    def __init__(self, settings: RescoreSettings, retokenizer: Retokenizer, max_batch_tokens: int) -> None:
        from arpo_entropy_recorder.rescore.prefill import Prefill, load_model

        self.settings, self.retokenizer, self.max_batch_tokens = settings, retokenizer, max_batch_tokens
        try:
            model = load_model(settings.model, settings.dtype)
        except UserError as error:
            raise SettingError("model", str(error)) from error
        allowed = sorted(retokenizer.tokenizer.get_vocab().values())
        self.prefill = Prefill(model, allowed, settings.temperature, max_batch_tokens)
        self._max_tokens = getattr(model.config, "max_position_embeddings", None) or math.inf
        self._sampleable = len(allowed)

    def read(self, dump: Dump, skip: Skip | None) -> Iterator[tuple[int, Tokenized]]:
        """The usable trajectories, each with its place in the dump."""
        return usable(enumerate(dump.lines), lambda item: (item[0], self._read(item[1])), skip)

    def columns(
        self, trajectories: Mapping[int, Tokenized], progress: Callable[[float], object]
    ) -> dict[str, Any]:
        """A step's records by column, as the live recorder has them, without what a dump cannot tell.

        `trajectories` by sample_idx; `progress` is called with each share of the step that is done.
        """
        prompts: dict[str, int] = {}
        branches = find_branches(trajectories)
        entropies = self._entropies(
            [(trajectory.tokens, branches[i].segments) for i, trajectory in trajectories.items()], progress
        )
        rows: list[tuple[int, int, int | None, Segment, np.ndarray]] = []
        for (sample_idx, trajectory), of_segments in zip(trajectories.items(), entropies, strict=True):
            parent_idx, segments = branches[sample_idx]
            prompt_idx = prompts.setdefault(trajectory.prompt, len(prompts))
            for segment, values in zip(segments, of_segments, strict=True):
                rows.append((sample_idx, prompt_idx, parent_idx, segment, values))
        sample_idxs, prompt_idxs, parent_idxs, segments, windows = zip(*rows, strict=True)
        # Only where the prompt's tokens are whole is it known what the policy was given.
        digests = {
            i: prompt_digest(t.tokens[: t.prompt_len]) if t.is_prompt_exact else None
            for i, t in trajectories.items()
        }
        columns = {
            "sample_idx": np.array(sample_idxs),
            "prompt_idx": np.array(prompt_idxs),
            "prompt": [digests[sample_idx] for sample_idx in sample_idxs],
            "parent_idx": list(parent_idxs),
            "round": np.array([segment.round for segment in segments]),
            "tool": [segment.tool for segment in segments],
            "is_after_tool_call": np.array([segment.is_after_result for segment in segments]),
            "token_id": [segment.tokens[0] for segment in segments],
            "entropy": np.array([values[0] for values in windows], np.float32),
            "tokens": [segment.tokens for segment in segments],
            "inexact": np.array([not trajectories[row[0]].is_exact(row[3]) for row in rows]),
            "source": ["rescored"] * len(rows),
        }
        return columns | ({"window": list(windows)} if self.settings.window > 1 else {})

    def _entropies(
        self,
        trajectories: Sequence[tuple[list[int], list[Segment]]],
        progress: Callable[[float], object],
    ) -> list[list[np.ndarray]]:
        """Each segment's first tokens' normalised entropies, float32 [up to window], by trajectory."""
        from arpo_entropy_recorder.rescore.prefill import Probe

        probes, windows = [], []
        for tokens, segments in trajectories:
            window = [len(segment.tokens[: self.settings.window]) for segment in segments]
            # A token's distribution is at the position before it; tokens after the last such position are not run.
            positions = [
                segment.start - 1 + at
                for segment, width in zip(segments, window, strict=True)
                for at in range(width)
            ]
            probes.append(Probe(tokens[: max(positions, default=0) + 1], positions))
            windows.append(window)
        total = sum(len(probe.tokens) for probe in probes)
        found: list[list[np.ndarray]] = [[] for _ in probes]
        try:
            for index, nats in self.prefill.entropies(probes):
                found[index] = np.split(normalised(nats, self._sampleable), np.cumsum(windows[index]))[:-1]
                progress(len(probes[index].tokens) / total)
        except RuntimeError as error:  # torch's OutOfMemoryError is one
            if "out of memory" not in str(error).lower():
                raise
            raise SettingError(
                "max_batch_tokens", f"{self.max_batch_tokens}: out of memory; give fewer"
            ) from error
        return found

    def _read(self, line: Line) -> Tokenized:
        if line.largest_id >= self.prefill.vocab_size:
            raise UserError(
                f"{line.where}: token id {line.largest_id} is not in the model's vocabulary of "
                f"{self.prefill.vocab_size}; give the model that wrote the trajectory"
            )
        trajectory = self.retokenizer.read(line)
        length = len(trajectory.tokens)
        for what, most in (
            ("max_batch_tokens", self.max_batch_tokens),
            ("the model's context", self._max_tokens),
        ):
            if length > most:
                raise UserError(f"{line.where}: {length} tokens, more than {what} of {most}")
        return trajectory
