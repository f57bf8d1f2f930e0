"""The books of one trajectory that an agent loop runs: which requests it made, and what came right before each.

Nothing is inferred from text. The loop tells of each request (`begin`, `end`) and of the tools that it called
(`parsed`, `called`); tokens are compared only to see that an aborted request goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from arpo_entropy_recorder.step_files.values import tool_name

# How many tokens at the end of a prompt may open the turn that is to be written (the role, an empty thought), and be
# dropped from the history. Qwen3's are 7.
OPENER = 8


@dataclass
class Request:
    """One request to an engine: the key of its mark, how many tokens came back, and the policy's version."""

    key: str
    num_tokens: int = 0
    policy_step: int | None = None


@dataclass
class Segment:
    """What the policy wrote in one turn, by one request, or by several where it was aborted and went on.

    tools: the tools whose results come right before it, in order; None for a name that is none, or where the loop
    does not tell. unsure: another request of the trajectory was under way, or its prompt does not go on from
    what is known. token_ids: kept only where tokens are recorded.
    """

    round: int
    is_after_tool_call: bool = False
    tools: tuple[str | None, ...] = ()
    unsure: bool = False
    requests: list[Request] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        """Tokens of all requests."""
        return sum(request.num_tokens for request in self.requests)

    @property
    def first_request(self) -> Request | None:
        """The request that wrote the first token; None without any token."""
        return next((request for request in self.requests if request.num_tokens), None)


@dataclass
class Trajectory:
    """What is handed to the collector: numbers and names.

    step: the trainer's, or negative where it gives none. group: equal for trajectories of one prompt. order:
    sorts the trajectories of a step as the batch has them. prompt: its digest. incomplete: its loop failed.
    group_size: how many trajectories of a group the trainer wants; more are padding. 0: not known.
    """

    step: int
    validate: bool
    group: str
    order: tuple[int, ...] = ()
    is_greedy: bool = False
    prompt: str | None = None
    vocab_size: int = 0
    group_size: int = 0
    incomplete: bool = False
    segments: list[Segment] = field(default_factory=list)


class Books:
    """Follows one trajectory while its loop runs."""

    def __init__(self, trajectory: Trajectory, record_tokens: bool = False) -> None:
        self.trajectory = trajectory
        self._record_tokens = record_tokens
        # What the trajectory's own prompts begin with, and all tokens after the last request: its prompt and what it
        # brought.
        self._beginning: list[int] = []
        self._known: list[int] | None = None
        self._under_way: list[Segment] = []
        # The calls since the last request, as parsed and as made; None: nobody has looked for any.
        self._parsed: list[str] | None = None
        self._called: list[str] = []
        self._has_parser = False

    def parsed(self, names: Sequence[str]) -> None:
        """The loop looked for tool calls in the last turn, and found these."""
        self._has_parser = True
        self._parsed = list(names)

    def called(self, name: str) -> None:
        """The loop makes this tool call; of the calls that it parsed it may leave some out."""
        self._called.append(name)

    def begin(self, key: str, prompt: Sequence[int]) -> Request:
        """A request with this key and prompt is about to be made."""
        request, segments = Request(key), self.trajectory.segments
        goes_on = bool(segments) and self._known is not None and list(prompt) == self._known
        if not goes_on:
            segments.append(self._new_segment(prompt))
            self._parsed, self._called = None, []
            self._known = list(prompt)
        segment = segments[-1]
        segment.requests.append(request)
        if self._under_way:
            for other in (*self._under_way, segment):
                other.unsure = True
        self._under_way.append(segment)
        return request

    def end(
        self,
        request: Request,
        prompt: Sequence[int],
        token_ids: Sequence[int] | None,
        policy_step: int | None = None,
    ) -> None:
        """The request has come back with `token_ids`, or, with None, failed."""
        segment = next(s for s in self._under_way if any(r is request for r in s.requests))
        self._under_way = [other for other in self._under_way if other is not segment]
        if token_ids is None:
            return
        request.num_tokens, request.policy_step = len(token_ids), policy_step
        if self._record_tokens:
            segment.token_ids += token_ids
        self._known = [*prompt, *token_ids]

    def _new_segment(self, prompt: Sequence[int]) -> Segment:
        segments, known = self.trajectory.segments, self._known
        if not segments:
            self._beginning = list(prompt[:-OPENER] or prompt)
        if not segments or known is None:
            return Segment(0)
        extends = len(prompt) > len(known) and _begins_with(prompt, known)
        names = tuple(tool_name(name) for name in self._called or self._parsed or ())
        # Where nobody ever looks for calls, text that the loop appends is what a tool gave back.
        is_after = bool(names) or (not self._has_parser and extends)
        return Segment(
            segments[-1].round + is_after,
            is_after,
            names or ((None,) if is_after else ()),
            # A loop may write its history anew, but what a tool or a sub-agent asks in between begins otherwise.
            unsure=not extends and not (names and _begins_with(prompt, self._beginning)),
        )


def _begins_with(prompt: Sequence[int], tokens: list[int]) -> bool:
    return list(prompt[: len(tokens)]) == tokens
