"""Put the chat template's markers back into text that was decoded without special tokens.

What stands around the turns is learnt from the tokenizer's own template: made-up messages are rendered, and the text
between their contents is what the template writes. So this works for any template, also for one that opens `<think>`
itself, as long as its text gives the dumped one when it is decoded again.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

# Contents that no template changes.
SYSTEM, USER, ASSISTANT = "zqsystemqz", "zquserqz", "zqassistantqz"
_ROLE_LINE = re.compile(r"(?:^|(?<=\n))(system|user|assistant)\n")
_FIRST_LINE = re.compile(r"\s*\n\s*")


class Restored(NamedTuple):
    """A text's token ids with the markers in place; `is_certain` unless another reading gives the same text."""

    ids: list[int]
    is_certain: bool


class _Form(NamedTuple):
    """What the template writes before, between and after the contents; without `between` there is one content."""

    before: str
    between: str | None
    after: str


class ChatTurns:
    """The chat template of `tokenizer`, for prompts and for results that are turns of the chat.

    With `several_turns` a prompt's lines that name a role start turns, where the template has such lines.
    """

    def __init__(self, tokenizer: Any, several_turns: bool = False) -> None:
        self._tokenizer, self._several_turns = tokenizer, several_turns
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        names = {token.content for token in added if token.special} | set(tokenizer.all_special_tokens)
        self._special = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))) or r"(?!)")
        forms = [self._form(SYSTEM, USER), self._form(USER)]
        self._forms = [form for form in forms if form is not None]
        self._answer = self._turn_after_assistant()
        self.restore_prompt = lru_cache(maxsize=4096)(self._restore_prompt)

    def has_markers(self, text: str) -> bool:
        """True if special tokens stand in the text: it was decoded with them."""
        return self._special.search(text) is not None

    def begins_with(self, text: str, prompt: str) -> bool:
        """True if `text` begins with `prompt`, special tokens in either aside."""
        start = self._plain(prompt).strip()
        return bool(start) and self._plain(text).lstrip().startswith(start)

    def _restore_prompt(self, text: str) -> Restored | None:
        """Token ids of a prompt with its markers; None where the template does not give this text.

        Of several readings the plainest is taken: a system message, if there is one, and one user's turn.
        """
        if self.has_markers(text):
            stripped = text
            pad = self._tokenizer.pad_token
            while pad and stripped.startswith(pad + pad):
                stripped = stripped.removeprefix(pad)
            if pad and stripped is not text:
                stripped = stripped.removeprefix(pad)
            return Restored(self._encode(stripped), True)
        if self._several_turns and (found := self._restore_chat(text)) is not None:
            return found
        for form in self._forms:
            marked = self._marked(text, form)
            if marked is not None:
                ids = self._encode(marked)
                if self._decode(ids) == text:
                    return Restored(ids, self._readings(text, form) == 1)
        return None

    def _restore_chat(self, text: str) -> Restored | None:
        """The prompt with each line that names a role as the start of a turn; None where that is no chat."""
        pieces = _ROLE_LINE.split(text)
        if pieces[0].strip() or len(pieces) < 5 or pieces[-2] != "assistant":
            return None
        # A role's text ends with the newline that follows the (skipped) end-of-turn marker.
        turns = list(zip(pieces[1::2], pieces[2::2], strict=True))
        messages = [{"role": role, "content": content.removesuffix("\n")} for role, content in turns[:-1]]
        marked = self._render(messages)
        if marked is None:
            return None
        ids = self._encode(marked + turns[-1][1])
        return Restored(ids, True) if self._decode(ids) == text else None

    def restore_result(self, text: str, opening: str, following: str) -> tuple[str, str] | None:
        """A result that is a chat turn, with its markers, and the policy's text after it.

        `text` is the result with the lines around it that name the roles, `opening` the tag that its content begins
        with, `following` the text behind. None where the template does not write these lines.
        """
        start, closing = text.index(opening), f"</{opening[1:]}"
        stop = text.rfind(closing) + len(closing)
        before, after = self._answer or ("", "")
        if self.has_markers(text):
            behind = text[stop:] + following
            if not after or closing not in text or not behind.startswith(after):
                return text, following
            return text[:stop] + after, behind.removeprefix(after)
        if self._answer is None:
            return None
        # A loop that appends a turn to the sampled end-of-turn token may leave out the newline behind that.
        known = {self._plain(form): form for form in (before, self._without_newline(before))}
        role = known.get(text[:start])
        if role is None:
            return None
        behind = text[stop:] + following
        if closing not in text or not behind:
            return role + text[start:], following
        plain_after = self._plain(after)
        if not behind.startswith(plain_after):
            return None
        return role + text[start:stop] + after, behind.removeprefix(plain_after)

    def _marked(self, text: str, form: _Form) -> str | None:
        before, after = self._plain(form.before), self._plain(form.after)
        end = text.rfind(after) if after else len(text)
        if not text.startswith(before) or end < len(before):
            return None
        body, prefill = text[len(before) : end], text[end + len(after) :]
        if form.between is not None:
            between = self._plain(form.between)
            system, found, user = body.partition(between) if between else ("", "", "")
            if not found:
                return None
            body = system + form.between + user
        return form.before + body + form.after + prefill

    def _readings(self, text: str, form: _Form) -> int:
        """In how many ways, or more, the text may have been made: 1 or 2."""
        if form.between is None:
            # Nothing but a special token may have stood between a system message and the question.
            with_system = [other for other in self._forms if other.between is not None]
            if any(other.between and not self._plain(other.between) for other in with_system):
                return 2
        # How often what stands around turns may be there in a single turn. Where that has no marker, all is one.
        expected = {form.after: 1}
        for between in [f.between for f in self._forms if f.between is not None]:
            expected[between] = int(form.between is not None)
        inner = text[max(len(self._plain(form.before)) - 1, 0) :]
        marks = {self._plain(piece): n for piece, n in expected.items() if self.has_markers(piece)}
        return 2 if any(_overlapping(mark, inner) > n for mark, n in marks.items() if mark.strip()) else 1

    def _form(self, *contents: str) -> _Form | None:
        roles = {SYSTEM: "system", USER: "user"}
        text = self._render([{"role": roles[content], "content": content} for content in contents])
        pieces = re.split("|".join(contents), text) if text is not None else []
        if len(pieces) != len(contents) + 1:
            return None
        between = self._short(pieces[1]) if len(contents) > 1 else None
        return _Form(self._short(pieces[0]), between, pieces[-1])

    def _short(self, piece: str) -> str:
        """`piece` up to the first line's end after its last special token.

        What the template writes below that, such as the date, is of the message's own stretch of text, and another
        day's date is no reason not to know the turn.
        """
        ends = [found.end() for found in self._special.finditer(piece)]
        line = _FIRST_LINE.search(piece, ends[-1]) if ends else None
        return piece[: line.end()] if line else piece

    def _turn_after_assistant(self) -> tuple[str, str] | None:
        chat = [("user", USER), ("assistant", ASSISTANT), ("user", SYSTEM)]
        text = self._render([{"role": role, "content": content} for role, content in chat])
        if text is None or text.count(ASSISTANT) != 1 or text.count(SYSTEM) != 1:
            return None
        between, _, after = text.partition(ASSISTANT)[2].partition(SYSTEM)
        return between, after

    def _without_newline(self, piece: str) -> str:
        found = self._special.match(piece)
        return piece[: found.end()] + piece[found.end() :].removeprefix("\n") if found else piece

    def _render(self, messages: list[dict[str, str]]) -> str | None:
        if not getattr(self._tokenizer, "chat_template", None):
            return None
        try:
            return str(
                self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            )
        except Exception:  # each template raises errors of its own
            return None

    def _plain(self, text: str) -> str:
        return self._special.sub("", text)

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))


def _overlapping(mark: str, text: str) -> int:
    return len(re.findall(f"(?={re.escape(mark)})", text))
