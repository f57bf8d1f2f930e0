"""From a dumped trajectory to the token ids that the policy most likely saw and wrote.

verl decodes with `skip_special_tokens=True`: a dump's text lacks the chat template's markers, padding and the
end-of-text token. The markers are put back (`chat_turns`) where that gives the dumped text again; what the template
cannot reproduce is used as it stands, and counted. Prompt, segments and results are tokenized one by one, as they
came into being, so that no token spans two of them.

Text need not retokenize to the tokens that were sampled (a policy may write a word in other pieces than its
tokenizer would): contexts, and hence entropies, of such a trajectory differ slightly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any, NamedTuple

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rescore.chat_turns import ChatTurns
from arpo_entropy_recorder.rescore.line import Line, Prompt, is_messages
from arpo_entropy_recorder.rescore.masks import runs
from arpo_entropy_recorder.rescore.padding import FOREIGN_PADDING, Padding
from arpo_entropy_recorder.rescore.segments import TURN_OPEN, Part, called_tool, split_response
from arpo_entropy_recorder.rescore.tokenized import Span, Tokenized
from arpo_entropy_recorder.rescore.whole import is_sure
from arpo_entropy_recorder.rollout.prompts import encode_prompts
from arpo_entropy_recorder.step_files.schema import NO_TOOLS, RESULT_TAG

STOP_TAG = re.compile(r"</([\w.-]+)>[^<]{0,8}$")


class PromptIds(NamedTuple):
    """A prompt's token ids and text, and how sure they are."""

    ids: list[int]
    text: str
    is_exact: bool
    is_ambiguous: bool = False


class Retokenizer:
    """Token ids and spans of dumped lines, by a tokenizer and by the tags of tools and of their results."""

    def __init__(
        self,
        tokenizer: Any,
        tools: Sequence[str],
        tags: Sequence[str] = (RESULT_TAG,),
        several_turns: bool = False,
    ) -> None:
        self.tokenizer, self.tools, self.tags = tokenizer, tuple(tools), tuple(tags)
        self.turns = ChatTurns(tokenizer, several_turns)
        self._padding = Padding.of(tokenizer)

    def read(self, line: Line) -> Tokenized:
        """A dumped line's tokens. Raises UserError for one with nothing to score, or one that is not certain."""
        chosen = self.as_read(line)
        if isinstance(chosen.response, str):
            found = self._from_text(chosen, chosen.response, ids_differ=chosen is not line)
        else:
            found = self._from_ids(chosen, chosen.response)
        if not found.segments or not found.segments[0].start:
            lacking = "prompt" if found.segments else "response"
            raise UserError(f"{line.where}: the {lacking} is empty; leave the line out")
        return found

    def with_tags(self, tags: Sequence[str]) -> Retokenizer:
        """The same for results with these tags, with what is known of the template and of prompts so far."""
        other = copy(self)
        other.tags = tuple(tags)
        return other

    def as_read(self, line: Line) -> Line:
        """The line itself; where its token ids do not read as its text, that text, without the ids' mask."""
        if isinstance(line.response, str) or line.texts is None:
            return line
        prompt, response = line.texts
        return line if self._are_text(line.response, response) else Line(line.where, prompt, response)

    def prompt_of(self, line: Line) -> PromptIds:
        """The prompt's token ids. Raises UserError."""
        return self._prompt(line.prompt, line.where)

    def _prompt(self, prompt: Prompt, where: str) -> PromptIds:
        if isinstance(prompt, str):
            restored = self.turns.restore_prompt(prompt)
            if restored is None:
                return PromptIds(list(self.tokenizer.encode(prompt)), prompt, False)
            return PromptIds(list(restored.ids), prompt, restored.is_certain, not restored.is_certain)
        if is_messages(prompt):
            try:
                ids = encode_prompts([prompt], self.tokenizer)[0]
            except UserError as error:
                raise UserError(f"{where}: {error}") from error
            return PromptIds(ids, self._decode(ids), bool(self.tokenizer.chat_template))
        ids = [token for token in prompt if isinstance(token, int)]
        return PromptIds(ids, self._decode(ids), True)

    def _from_text(self, line: Line, response: str, ids_differ: bool) -> Tokenized:
        # Without markers on one side alone, the two are not equal character by character.
        is_known = is_sure(text := str(line.prompt)) and self.turns.has_markers(response)
        if is_known and self.turns.begins_with(response, text):
            raise UserError(
                f"{line.where}: the response begins with the prompt, with other markers; name it as the whole "
                "sequence, with a prompt that has the same markers"
            )
        found = self.prompt_of(line)
        tokens, spans = list(found.ids), []
        parts, exact_rounds = self._parts(response)
        for part in parts:
            ids = self.tokenizer.encode(part.text, add_special_tokens=False)
            if ids:  # a tokenizer may drop characters
                spans.append(Span(part, len(tokens), len(tokens) + len(ids)))
            tokens += ids
        return Tokenized(
            line.where, found.text, tokens, spans, found.is_exact, len(found.ids), found.is_ambiguous, exact_rounds,
            ids_differ,
        )  # fmt: skip

    def _parts(self, response: str) -> tuple[list[Part], int | None]:
        """The parts of a response, with the markers of the turns that results are; the rounds that are exact."""
        parts, exact_rounds = split_response(response, self.tools, self.tags), None
        for at, part in enumerate(parts):
            if not part.is_result or not re.match(TURN_OPEN, part.text):
                continue
            following = parts[at + 1].text if at + 1 < len(parts) else ""
            opening = next(f"<{tag}>" for tag in self.tags if f"<{tag}>" in part.text)
            restored = self.turns.restore_result(part.text, opening, following)
            if restored is None:
                if exact_rounds is None:
                    exact_rounds = sum(earlier.is_result for earlier in parts[: at + 1])
                continue
            parts[at] = replace(part, text=restored[0])
            if at + 1 < len(parts):
                parts[at + 1] = replace(parts[at + 1], text=restored[1])
        return parts, exact_rounds

    def _from_ids(self, line: Line, response: list[int]) -> Tokenized:
        prompt = line.prompt
        if not line.is_unpadded and isinstance(prompt, list) and not is_messages(prompt):
            prompt = self._padding.unpadded([token for token in prompt if isinstance(token, int)], line.where)
        found = self._prompt(prompt, line.where)
        if line.mask is not None:
            response, parts = self._masked(line, response, line.mask)
        else:
            padded, response = response, response if line.is_unpadded else self._padding.trimmed(response)
            parts = self._tagged(response)
            self._check_end(line, parts, padded, response)
        spans, start = [], len(found.ids)
        for part, count in parts:
            if count:
                spans.append(Span(part, start, start + count))
            start += count
        tokens = found.ids + response[: start - len(found.ids)]
        return Tokenized(
            line.where, found.text, tokens, spans, found.is_exact, len(found.ids), found.is_ambiguous
        )

    def _check_end(
        self, line: Line, parts: list[tuple[Part, int]], padded: list[int], response: list[int]
    ) -> None:
        """Leave out an end that may be padding after a result. Raises UserError for padding by an unknown token."""
        if len(parts) < 2 or parts[-1][0].is_result or not parts[-2][0].is_result:
            return
        last = response[len(response) - parts[-1][1] :]
        if last == [self._padding.token] and padded[-2:] == [self._padding.token] * 2:
            parts.pop()
        elif len(last) >= FOREIGN_PADDING and len(set(last)) == 1:
            raise UserError(
                f"{line.where}: after the last result there is nothing but token {last[0]}, {len(last)} times: "
                "padding? add attention_mask, or leave the padding out"
            )

    def _masked(
        self, line: Line, response: list[int], mask: list[bool]
    ) -> tuple[list[int], list[tuple[Part, int]]]:
        """The response up to the policy's last token, and its parts with their numbers of tokens."""
        start = next(
            (i for i, token in enumerate(response) if token != self._padding.token or mask[i]), len(response)
        )
        stop = max((i + 1 for i, owned in enumerate(mask) if owned), default=start)
        response, mask = response[start:stop], mask[start:stop]
        if mask and not mask[0]:
            raise UserError(
                f"{line.where}: by the mask the policy did not write its first token; does 1 stand for the tool's?"
            )
        parts: list[tuple[Part, int]] = []
        tool = None
        for owned, begin, end in runs(mask):
            ids = response[begin:end]
            text = self._decode(ids)
            parts.append((Part(text) if owned else Part(text, tool, True), len(ids)))
            if owned:
                said = STOP_TAG.search(self.tokenizer.decode(ids, skip_special_tokens=True))
                tool = called_tool(said[1], text) if said and said[1] not in NO_TOOLS else None
        return response, parts

    def _tagged(self, response: list[int]) -> list[tuple[Part, int]]:
        text = self._decode(response)
        parts, _ = self._parts(text)
        if "".join(part.text for part in parts) != text:
            parts = split_response(text, self.tools, self.tags)
        counted, start, offset = [], 0, 0
        for part in parts:
            offset += len(part.text)
            stop = self._tokens_up_to(offset, response, start)
            counted.append((part, stop - start))
            start = stop
        return counted

    def text_of(self, line: Line) -> str:
        """The response as text."""
        return line.response if isinstance(line.response, str) else self._decode(line.response)

    def _are_text(self, ids: list[int], text: str) -> bool:
        """False if token ids do not read as the text, white space and special tokens aside."""
        wanted = "".join(text.split())
        for skip in (True, False):
            found = self.tokenizer.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
            if "".join(found.split()) == wanted:
                return True
        return False

    def _tokens_up_to(self, offset: int, ids: list[int], low: int) -> int:
        """The least number of tokens, from `low` on, whose text has `offset` characters."""
        high = len(ids)
        while low < high:
            middle = (low + high) // 2
            if len(self._decode(ids[:middle])) < offset:
                low = middle + 1
            else:
                high = middle
        # A token that ends within a character decodes to a replacement character, which was counted as one.
        while low < len(ids) and self._decode(ids[:low]).endswith("\ufffd"):
            low += 1
        return low

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
