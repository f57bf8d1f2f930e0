"""The completions that may be continued, found by the identifiers, tokens, messages or session that a turn has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from arpo_entropy_recorder.live.serve.digests import TOKEN_BYTES, Digests
from arpo_entropy_recorder.live.serve.tables import Found, Lengths, Table
from arpo_entropy_recorder.live.serve.turns import Completion, Turn


@dataclass(eq=False)
class Trajectory:
    """A trajectory: its number in the recording, that of the one it branched from, and its prompt's name.

    is_start: it began with a prompt, and not in the middle. prompt: None where that is not known.
    """

    number: int
    parent: int | None
    prompt: str | None
    is_start: bool


@dataclass(eq=False)
class Known:
    """A completion that may be continued.

    reply: its words and calls alone. length, tokens, can_resume: of its prompt and tokens, as far as they have been
    heard of.
    """

    trajectory: Trajectory
    ended: float
    turns: int | None
    round: int
    calls: bytes | None
    session: bytes | None
    conversation: bytes | None
    reply: bytes | None
    call_ids: list[bytes]
    length: int = 0
    tokens: bytes = b""
    can_resume: bool = False
    continued: int = 0


class KnownCompletions:
    """What is remembered of a recording, oldest first. Not for several threads."""

    def __init__(self, digests: Digests) -> None:
        self._digests = digests
        # A dict keeps the order of insertion.
        self._all: dict[int, Known] = {}
        self._entered = 0
        self._calls: Table[Known] = Table()
        self._tokens: Table[Known] = Table()
        self._lengths = Lengths()
        self._conversations: Table[Known] = Table()
        self._sessions: Table[Known] = Table()

    def __len__(self) -> int:
        return len(self._all)

    def enter(self, turn: Turn, completion: Completion, trajectory: Trajectory, rounds: int) -> None:
        """Remember a completion of a turn, in this trajectory and round."""
        reply, conversation = completion.reply, turn.conversation
        known = Known(
            trajectory=trajectory,
            ended=turn.ended,
            turns=conversation.turns if conversation else None,
            round=rounds,
            calls=reply.calls if reply else None,
            session=turn.session,
            conversation=reply.conversation if reply else None,
            reply=reply.alone if reply else None,
            call_ids=list(dict.fromkeys(reply.call_ids)) if reply else [],
        )
        self._all[self._entered] = known
        self._entered += 1
        self._enter_tokens(known, turn, completion)
        for table, digest in self._entries(known):
            table.add(digest, known)

    def resume(self, known: Known, turn: Turn, completion: Completion) -> None:
        """Lengthen a completion that was cut off."""
        self._remove_tokens(known)
        known.ended = turn.ended
        self._enter_tokens(known, turn, completion)

    def forget_oldest(self, most: int, ended_before: float) -> int:
        """Forget until fewer than `most` are left and the oldest one is not older; returns how many."""
        forgotten = 0
        while self._all:
            number, known = next(iter(self._all.items()))
            if len(self._all) < most and known.ended >= ended_before:
                break
            del self._all[number]
            forgotten += 1
            self._remove_tokens(known)
            for table, digest in self._entries(known):
                table.remove(digest, known)
        return forgotten

    def issuer(self, call_id: bytes | None) -> Known | None:
        """The one that issued a call; None where two have issued it, or none."""
        found = self._calls.get(call_id)
        return None if found is None or found.was_alike else found.nodes[0]

    def by_tokens(self, turn: Turn) -> Found[Known] | None:
        """Those with the longest prompt and completion that the turn's prompt starts with."""
        longest = None
        for _, digest in self._digests.prefixes(turn.prompt, self._lengths):
            longest = self._tokens.get(digest) or longest
        return longest

    def by_conversation(self, digest: bytes | None) -> Found[Known] | None:
        """Those that have written this conversation's last reply."""
        return self._conversations.get(digest)

    def of_session(self, session: bytes | None) -> list[Known]:
        """Those of a session, in the order of their turns."""
        found = self._sessions.get(session)
        return [] if found is None else found.nodes

    def _entries(self, known: Known) -> Iterator[tuple[Table[Known], bytes]]:
        """Where a completion is entered beside its tokens."""
        if known.conversation is not None:
            yield self._conversations, known.conversation
        for call_id in known.call_ids:
            yield self._calls, call_id
        if known.session is not None:
            yield self._sessions, known.session

    def _enter_tokens(self, known: Known, turn: Turn, completion: Completion) -> None:
        sequence = turn.prompt + completion.token_ids
        known.length, known.tokens = len(sequence) // TOKEN_BYTES, self._digests.of_bytes(sequence)
        known.can_resume = completion.finish in (None, "abort")
        self._tokens.add(known.tokens, known)
        self._lengths.add(known.length)

    def _remove_tokens(self, known: Known) -> None:
        self._tokens.remove(known.tokens, known)
        self._lengths.remove(known.length)
