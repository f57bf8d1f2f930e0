"""From a dumped trajectory to the token ids that the policy most likely saw and wrote.

verl decodes with `skip_special_tokens=True`: a dump's text lacks the chat template's markers, padding and the
end-of-text token. The markers are put back by applying the template to the messages found in the prompt, where
that gives the dumped text again; what the template cannot reproduce is used as it stands. Prompt, segments and
results are tokenized one by one, as they came into being, so that no token spans two of them.

Text need not retokenize to the tokens that were sampled (a policy may write a word in other pieces than its
tokenizer would): contexts, and hence entropies, of such a trajectory differ slightly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rescore.dumps import Line
from arpo_entropy_recorder.rescore.segments import Part, split_response
from arpo_entropy_recorder.step_files.values import unpadded

ROLE_LINE = re.compile(r"(?:^|(?<=\n))(system|user|assistant)\n")


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


@dataclass(frozen=True)
class Tokenized:
    """A trajectory's token ids, the first `prompt_len` of them the prompt, and its response's spans in order.

    `is_prompt_exact`: the prompt's tokens are those that the policy saw, special ones included.
    """

    where: str
    prompt: str
    tokens: list[int]
    spans: list[Span]
    is_prompt_exact: bool
    prompt_len: int

    @property
    def segments(self) -> list[Segment]:
        found, tool, rounds = [], None, 0
        for span in self.spans:
            if span.part.is_result:
                tool, rounds = span.part.tool, rounds + 1
            else:
                found.append(Segment(span.start, self.tokens[span.start : span.stop], rounds, tool))
                tool = None
        return found


def load_tokenizer(path: str) -> Any:
    """The tokenizer at `path`, or of that name in the Hugging Face cache: nothing is downloaded. Raises UserError."""
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise UserError("this needs transformers: pip install transformers") from None
    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True)
    except Exception as error:
        # transformers' own messages are about its hub, or many lines long.
        if not Path(path).exists():
            reason = "no such directory, nor a model of that name in the Hugging Face cache"
        elif not (Path(path) / "config.json").is_file():
            reason = "not a directory with a config.json; give a Hugging Face checkpoint"
        else:
            reason = f"its tokenizer cannot be loaded: {str(error).strip().partition(chr(10))[0]}"
        raise UserError(f"{path}: {reason}") from error


def tokenize(line: Line, tokenizer: Any, tools: Sequence[str]) -> Tokenized:
    """Token ids and spans of a dumped line. Raises UserError for one with nothing to score."""
    if isinstance(line.prompt, list) and isinstance(line.response, list):
        found = _from_ids(line, line.prompt, line.response, tokenizer, tools)
    else:
        found = _from_text(line, str(line.prompt), str(line.response), tokenizer, tools)
    if not found.segments or not found.segments[0].start:
        lacking = "prompt" if found.segments else "response"
        raise UserError(f"{line.where}: the {lacking} is empty; leave the line out")
    return found


def restore_prompt(text: str, tokenizer: Any) -> list[int] | None:
    """Token ids of the prompt with the chat template's markers back in place; None where it cannot be told."""
    pieces = ROLE_LINE.split(text)
    if not getattr(tokenizer, "chat_template", None) or pieces[0].strip() or len(pieces) < 5:
        return None
    turns = list(zip(pieces[1::2], pieces[2::2], strict=True))
    if turns[-1][0] != "assistant":
        return None
    # A role's text ends with the newline that follows the (skipped) end-of-turn marker.
    messages = [{"role": role, "content": content.removesuffix("\n")} for role, content in turns[:-1]]
    try:
        marked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except Exception:  # each template raises errors of its own
        return None
    ids = tokenizer.encode(marked + turns[-1][1], add_special_tokens=False)
    return ids if tokenizer.decode(ids, skip_special_tokens=True) == text else None


def _from_text(line: Line, prompt: str, response: str, tokenizer: Any, tools: Sequence[str]) -> Tokenized:
    restored = restore_prompt(prompt, tokenizer)
    tokens = list(restored if restored is not None else tokenizer.encode(prompt))
    spans, prompt_len = [], len(tokens)
    for part in split_response(response, tools):
        ids = tokenizer.encode(part.text, add_special_tokens=False)
        if ids:  # a tokenizer may drop characters
            spans.append(Span(part, len(tokens), len(tokens) + len(ids)))
        tokens += ids
    return Tokenized(line.where, prompt, tokens, spans, restored is not None, prompt_len)


def _from_ids(
    line: Line, prompt: list[int], response: list[int], tokenizer: Any, tools: Sequence[str]
) -> Tokenized:
    padding = tokenizer.pad_token_id
    prompt = unpadded(prompt, padding).tolist()
    last = next((i for i in range(len(response), 0, -1) if response[i - 1] != padding), 0)
    # The padding token may also be the end-of-text token: then the first of a run of them was sampled.
    if padding is not None and padding == tokenizer.eos_token_id and last < len(response):
        last += 1
    response = response[:last]
    spans, start, offset = [], 0, 0
    for part in split_response(_decode(tokenizer, response), tools):
        offset += len(part.text)
        stop = _tokens_up_to(offset, response, start, tokenizer)
        if start < stop:
            spans.append(Span(part, len(prompt) + start, len(prompt) + stop))
        start = stop
    return Tokenized(line.where, _decode(tokenizer, prompt), prompt + response, spans, True, len(prompt))


def _tokens_up_to(offset: int, ids: list[int], low: int, tokenizer: Any) -> int:
    """The least number of tokens, from `low` on, whose text has `offset` characters."""
    high = len(ids)
    while low < high:
        middle = (low + high) // 2
        if len(_decode(tokenizer, ids[:middle])) < offset:
            low = middle + 1
        else:
            high = middle
    # A token that ends within a character decodes to a replacement character, which was counted as one.
    while low < len(ids) and _decode(tokenizer, ids[:low]).endswith("\ufffd"):
        low += 1
    return low


def _decode(tokenizer: Any, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
