"""Entropies at chosen positions of known token sequences: one forward pass a sequence, no generation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.ops.entropy import entropy

# Logits of a batch in float32: 2**26 values are 256 MiB, and the entropy needs little more.
LOGITS_AT_ONCE = 1 << 26


@dataclass(frozen=True)
class Probe:
    """Token ids, and the positions in them whose next-token distributions are wanted."""

    tokens: list[int]
    positions: list[int]


def load_model(path: str, dtype: str = "auto") -> Any:
    """The causal LM at `path`, or of that name in the Hugging Face cache, on the GPU where there is one.

    Nothing is downloaded. Raises UserError.
    """
    import transformers

    # The keyword was renamed in transformers 4.56.
    version = tuple(int(number) for number in transformers.__version__.split(".")[:2])
    keyword = "dtype" if version >= (4, 56) else "torch_dtype"
    precision = dtype if dtype == "auto" else getattr(torch, dtype)
    transformers.utils.logging.disable_progress_bar()  # it would garble the command's own bar
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            path, local_files_only=True, **{keyword: precision}
        )
        return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    except Exception as error:
        # A missing file, an unknown architecture, a broken checkpoint, a GPU too small: each has a type of its own,
        # and some have no message.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(f"{path}: cannot be loaded: {reason}") from error


class Prefill:
    """Runs `model` over sequences, batched by length, at most `max_batch_tokens` padded tokens at once.

    `allowed` are the ids that the policy could sample: the tokenizer's vocabulary, as a rollout's mask has it.
    Raises UserError where the model's vocabulary is smaller.
    """

    def __init__(
        self, model: Any, allowed: Sequence[int], temperature: float = 1.0, max_batch_tokens: int = 16384
    ) -> None:
        self.model, self.max_batch_tokens = model, max_batch_tokens
        head = model.get_output_embeddings()
        self.vocab_size = int(head.weight.shape[0])
        if max(allowed) >= self.vocab_size:
            raise UserError(
                f"the tokenizer has ids up to {max(allowed)} and the model's vocabulary {self.vocab_size} entries: "
                "they do not belong together; give the model that the tokenizer came with"
            )
        masked = torch.ones(self.vocab_size, dtype=torch.bool)
        masked[list(allowed)] = False
        self._masked = masked.to(model.device) if masked.any() else None
        self._temperature = temperature
        self._wanted: tuple[Tensor, Tensor] | None = None
        head.register_forward_pre_hook(self._select)

    def entropies(self, probes: Sequence[Probe]) -> Iterator[tuple[int, np.ndarray]]:
        """(index, entropies in nats, float32 [positions]) of each probe, the longest first."""
        for batch in self._batches(probes):
            counts = [len(probes[index].positions) for index in batch]
            nats = self._run([probes[index] for index in batch])
            yield from zip(batch, np.split(nats, np.cumsum(counts)[:-1]), strict=True)

    def _batches(self, probes: Sequence[Probe]) -> Iterator[list[int]]:
        batch: list[int] = []
        longest = positions = 0
        for index in sorted(range(len(probes)), key=lambda i: -len(probes[i].tokens)):
            wanted = len(probes[index].positions)
            full = (len(batch) + 1) * longest > self.max_batch_tokens
            if batch and (full or (positions + wanted) * self.vocab_size > LOGITS_AT_ONCE):
                yield batch
                batch, positions = [], 0
            if not batch:
                longest = len(probes[index].tokens)
            batch.append(index)
            positions += wanted
        if batch:
            yield batch

    @torch.inference_mode()
    def _run(self, batch: Sequence[Probe]) -> np.ndarray:
        longest = max(len(probe.tokens) for probe in batch)
        ids = torch.tensor([probe.tokens + [0] * (longest - len(probe.tokens)) for probe in batch])
        rows = [row for row, probe in enumerate(batch) for _ in probe.positions]
        columns = [position for probe in batch for position in probe.positions]
        device = self.model.device
        self._wanted = (torch.tensor(rows, device=device), torch.tensor(columns, device=device))
        # Padding is on the right, where a causal model does not look: no attention mask is needed, and without
        # one attention runs its fast causal kernel.
        logits = self.model(input_ids=ids.to(device), use_cache=False).logits[0]
        if self._masked is not None:
            logits = logits.masked_fill(self._masked, -torch.inf)
        temperature = torch.full((len(logits),), self._temperature, device=device)
        return entropy(logits, temperature).cpu().numpy()

    def _select(self, head: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Hidden states [batch, length, hidden] to the wanted ones, [1, positions, hidden].

        In front of the head rather than in place of it, so that what a model does to its logits (a scale, a
        soft cap) is done to these.
        """
        assert self._wanted is not None
        return (args[0][self._wanted][None], *args[1:])
