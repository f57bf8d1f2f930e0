"""A request under way: what the engine gives out of it, and which weights wrote that."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from arpo_entropy_recorder.live.mark import child_mark
from arpo_entropy_recorder.live.serve.turns import Completion, Turn

if TYPE_CHECKING:
    from arpo_entropy_recorder.live.serve.chat import ChatRequest
    from arpo_entropy_recorder.live.serve.front import Front


class OpenTurn:
    """Told to the recorder once all who have a part in it are done."""

    def __init__(
        self,
        front: Front,
        key: str,
        params: Any,
        session: str | None,
        chat: ChatRequest | None,
        version_of: Callable[[int], str | None],
    ) -> None:
        self.front, self.chat, self.session, self._version_of = front, chat, session, version_of
        self.asked, self.ended = time.monotonic(), 0.0
        self.keys = (
            [key] if params.n == 1 else [child_mark(front.job.token, key, i)[0] for i in range(params.n)]
        )
        self.is_delta = getattr(params.output_kind, "name", "") == "DELTA"
        self.prompt: list[int] | None = None
        self.token_ids: dict[int, list[int]] = {}
        self.finish: dict[int, str] = {}
        self.versions: dict[int, str] = {}
        self._parts = 1 if chat is None else 2

    def see(self, output: Any) -> None:
        """What the engine gives out."""
        if self.prompt is None:
            self.prompt = output.prompt_token_ids
        for completion in output.outputs:
            index = completion.index
            if index not in self.token_ids and (version := self._version_of(index)) is not None:
                self.versions[index] = version
            if self.is_delta:
                self.token_ids.setdefault(index, []).extend(completion.token_ids)
            else:
                self.token_ids[index] = completion.token_ids
            if completion.finish_reason is not None:
                self.finish[index] = completion.finish_reason
            if spans := getattr(completion, "weight_versions", None):
                self.versions[index] = spans[0].version

    def end(self) -> None:
        """One who has a part in it is done."""
        self._parts -= 1
        if self._parts == 0:
            self.ended = time.monotonic()
            self.front.channel.put(self._tell, self.size)

    @property
    def size(self) -> int:
        """Bytes that it holds, about: a token id takes 8 at most, and in a request's body may be pictures."""
        num_tokens = len(self.prompt or ()) + sum(map(len, self.token_ids.values()))
        return 8 * num_tokens + (0 if self.chat is None else self.chat.size)

    def _tell(self) -> Turn | None:
        """In the channel's thread: what the recorder is told."""
        if self.prompt is None:  # aborted before anything came, or a prompt of embeddings
            self.front.channel.passed["no tokens"] += 1
            return None
        completions = [
            Completion(self.keys[index], _packed(token_ids), self.finish.get(index), self.versions.get(index))
            for index, token_ids in sorted(self.token_ids.items())
        ]
        turn = Turn(self.asked, self.ended, _packed(self.prompt), completions)
        if self.chat is not None:
            self.chat.complete(turn, sorted(self.token_ids), self.session)
        elif self.session is not None:
            turn.session = self.front.digests.of("session", "", self.session)
        return turn


def version_so_far(engine: Any, request_id: str, index: int) -> str | None:
    """The version of the weights that wrote the first token of a request's completion `index`, before it is done.

    vLLM 0.32 tells it with a completion's end, which one that is cut off does not reach. None where it is not known:
    another vLLM, or several requests of this name with different versions.
    """
    try:
        processor = engine.output_processor
        states = [processor.request_states[name] for name in processor.external_req_ids.get(request_id, ())]
        starts = [state.weight_version_starts for state in states if state.request_index == index]
    except (AttributeError, KeyError):
        return None
    versions = {of_one[0][0] for of_one in starts if of_one}
    return versions.pop() if len(versions) == 1 else None


def _packed(token_ids: Any) -> bytes:
    return array("i", token_ids).tobytes()
