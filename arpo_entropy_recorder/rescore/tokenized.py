"""A dumped trajectory as token ids: where its prompt ends, and what the policy and the tools wrote."""

from __future__ import annotations

from dataclasses import dataclass

from arpo_entropy_recorder.rescore.segments import Part


@dataclass(frozen=True)
class Span:
    """`tokens[start:stop]` of a trajectory is this part. Never empty."""

    part: Part
    start: int
    stop: int


@dataclass(frozen=True)
class Segment:
    """What the policy wrote in one round: its tokens, where they start, and which result comes before."""

    start: int
    tokens: list[int]
    round: int
    tool: str | None
    is_after_result: bool


@dataclass(frozen=True)
class Tokenized:
    """A trajectory's token ids, the first `prompt_len` of them the prompt, and its response's spans in order.

    `is_prompt_exact`: the prompt's tokens are those that the policy saw, special ones included; `is_ambiguous`: its
    text has another reading, too. `exact_rounds`: of how many first rounds the context is exact; None: of all.
    `ids_differ`: the dump's own token ids do not read as its text, which was used instead.
    """

    where: str
    prompt: str
    tokens: list[int]
    spans: list[Span]
    is_prompt_exact: bool
    prompt_len: int
    is_ambiguous: bool = False
    exact_rounds: int | None = None
    ids_differ: bool = False

    @property
    def segments(self) -> list[Segment]:
        found, tool, rounds, is_after = [], None, 0, False
        for span in self.spans:
            if span.part.is_result:
                tool, rounds, is_after = span.part.tool, rounds + 1, True
            else:
                tokens = self.tokens[span.start : span.stop]
                found.append(Segment(span.start, tokens, rounds, tool, is_after))
                tool, is_after = None, False
        return found

    def is_exact(self, segment: Segment) -> bool:
        """Whether the segment's context is what the policy was given, as far as the dump can tell."""
        return self.is_prompt_exact and (self.exact_rounds is None or segment.round < self.exact_rounds)
