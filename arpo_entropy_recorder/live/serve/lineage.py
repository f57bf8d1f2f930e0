"""Which trajectory a turn continues: the first of four things that answers, and null where it is left open.

1. Identifiers of tool calls that the server issued and the client sends back. One issued twice is none.
2. Tokens: the longest known prompt and completion that the prompt starts with.
3. Messages: the conversation up to and with the last assistant message is a known one with its reply.
4. A session that the client names, where the history was edited: its one turn that nothing continues.

A parent is null where two candidates read alike, or where what one of them says contradicts another. A turn that is
continued again is a branch, and so are a request's further completions; a start asked again is another start.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from arpo_entropy_recorder.live.serve.conversation import Conversation
from arpo_entropy_recorder.live.serve.digests import TOKEN_BYTES, Digests
from arpo_entropy_recorder.live.serve.known import Known, KnownCompletions, Trajectory
from arpo_entropy_recorder.live.serve.tables import Found
from arpo_entropy_recorder.live.serve.turns import Completion, Turn

MAX_TURNS = 100_000
MAX_AGE_S = 4 * 3600.0


@dataclass
class Placed:
    """Where a completion stands. how: what its parent was found by. is_first: its trajectory's first completion."""

    completion: Completion
    trajectory: Trajectory
    round: int
    is_after: bool
    tools: tuple[str | None, ...]
    how: str
    is_first: bool


@dataclass
class Lineage:
    """The turns of a recording. Bounded in turns and seconds; evictions are counted. Not for several threads."""

    digests: Digests
    text_results: bool = False
    max_turns: int = MAX_TURNS
    max_age_s: float = MAX_AGE_S
    clock: Callable[[], float] = time.monotonic
    how: Counter[str] = field(default_factory=Counter)
    """Turns by what their parent was found by."""
    evicted: int = 0

    def __post_init__(self) -> None:
        self._known = KnownCompletions(self.digests)
        self._trajectories = 0

    def __len__(self) -> int:
        return len(self._known)

    def place(self, turn: Turn) -> list[Placed]:
        """Where the turn's completions that have a token stand, in their order.

        Turns come in the order in which they were asked. A completion that goes on with what an abort cut off is a
        part of the aborted one and not among them.
        """
        self.evicted += self._known.forget_oldest(self.max_turns, self.clock() - self.max_age_s)
        completions = [completion for completion in turn.completions if completion.token_ids]
        if not completions:
            self.how["without a token"] += 1
            return []
        parent, how = self._parent_of(turn)
        self.how[how] += 1
        if how == "resumed":
            assert parent is not None
            self._known.resume(parent, turn, completions[0])
            return []
        conversation = turn.conversation
        if conversation is not None:
            rounds, is_after, tools = conversation.round, conversation.is_after, tuple(conversation.tools)
        else:
            is_after = self.text_results and parent is not None
            rounds, tools = (parent.round if parent else 0) + is_after, (None,) * is_after
        placed = []
        for completion in completions:
            trajectory = self._trajectory(turn, parent, how)
            self._known.enter(turn, completion, trajectory, rounds)
            is_first = parent is None or trajectory is not parent.trajectory
            placed.append(Placed(completion, trajectory, rounds, is_after, tools, how, is_first))
        return placed

    def _trajectory(self, turn: Turn, parent: Known | None, how: str) -> Trajectory:
        if parent is not None:
            parent.continued += 1
            if parent.continued == 1:
                return parent.trajectory
        number = self._trajectories
        self._trajectories += 1
        if parent is not None:
            return Trajectory(number, parent.trajectory.number, parent.trajectory.prompt, is_start=False)
        is_start = how == "start"
        name = self.digests.of_bytes(turn.prompt)[:8].hex() if is_start else None
        return Trajectory(number, None, name, is_start)

    def _parent_of(self, turn: Turn) -> tuple[Known | None, str]:
        conversation = turn.conversation
        if conversation is None:
            found = self._known.by_tokens(turn)
            if found is None:
                return None, "start"
            parent = self._only(found, turn)
            if parent is not None and parent.can_resume and parent.length * TOKEN_BYTES == len(turn.prompt):
                return parent, "resumed"
            return parent, "tokens" if parent else "alike"
        if not conversation.turns:
            return None, "unknown" if conversation.is_after else "start"
        if parent := self._by_calls(turn):
            return (None, "unknown") if self._reads_as_another(parent, conversation) else (parent, "calls")
        if found := self._known.by_tokens(turn):
            parent = self._only(found, turn)
            if parent is None:
                return None, "alike"
            # Else the client has lengthened the reply or added others, or the tokens are alike by chance.
            if parent.turns in (None, conversation.turns - 1) and not _contradicts(parent, conversation):
                return parent, "tokens"
        if found := self._known.by_conversation(conversation.continued):
            parent = self._only(found, turn)
            return parent, "messages" if parent else "alike"
        if parent := self._by_session(turn):
            return parent, "session"
        return None, "unknown"

    def _by_calls(self, turn: Turn) -> Known | None:
        conversation = turn.conversation
        assert conversation is not None
        issuers = [self._known.issuer(call_id) for call_id in conversation.result_ids]
        parent = issuers[0] if issuers else None
        if parent is None or any(issuer is not parent for issuer in issuers):
            return None
        # Where they are not equal the client has changed the calls: the messages contradict.
        return parent if parent.calls == conversation.calls else None

    def _reads_as_another(self, parent: Known, conversation: Conversation) -> bool:
        """Whether the messages are those of one other turn: the client has mixed up identifiers."""
        found = self._known.by_conversation(conversation.continued)
        return found is not None and not found.was_alike and found.nodes[0] is not parent

    def _by_session(self, turn: Turn) -> Known | None:
        ends = [known for known in self._known.of_session(turn.session) if not known.continued]
        return ends[0] if len(ends) == 1 and ends[0].ended <= turn.asked else None

    def _only(self, found: Found[Known], turn: Turn) -> Known | None:
        """The one turn that is meant: of several that read alike the one of the same session."""
        if not found.was_alike:
            return found.nodes[0]
        mine = [node for node in found.nodes if turn.session is not None and node.session == turn.session]
        return mine[0] if len(mine) == 1 else None


def _contradicts(parent: Known, conversation: Conversation) -> bool:
    """Whether the client's last assistant message is another one than the reply that `parent` was.

    Not told where one of the two has calls: a client may have read them from the text, or written them into it.
    """
    if (parent.calls is None) != (conversation.calls is None):
        return False
    return parent.reply not in (None, conversation.last)
