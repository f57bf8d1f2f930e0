"""Prompts from text or chat messages to a batch of token ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from arpo_entropy_recorder.errors import UserError

Prompt = str | list[dict[str, str]]
"""A question, or chat messages with `role` and `content`."""

SYSTEM = (
    "Answer the question. Think between <think> and </think>. You may call a tool, as often as you need, by "
    "writing {calls}; its result follows between <result> and </result>. "
    "Write the final answer between <answer> and </answer>."
)
CALLS = {"search": "a query between <search> and </search>", "python": "code between <python> and </python>"}


def system_message(tags: Iterable[str]) -> str:
    """A system message that says how tools with these tags are called; empty without tools."""
    calls = " or ".join(CALLS[tag] for tag in tags)
    return SYSTEM.format(calls=calls) if calls else ""


def encode_prompts(prompts: Iterable[Prompt], tokenizer: Any, system: str = "") -> list[list[int]]:
    """Token ids of each prompt, through the tokenizer's chat template where it has one.

    `system` goes before a prompt that is a string. Without a chat template a prompt's texts are joined by
    newlines. Raises UserError for messages that the template refuses.
    """
    encoded = []
    for number, prompt in enumerate(prompts, start=1):
        messages = prompt
        if isinstance(messages, str):
            messages = [{"role": "system", "content": system}] if system else []
            messages = [*messages, {"role": "user", "content": str(prompt)}]
        if tokenizer.chat_template:
            try:
                text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            except Exception as error:  # each template raises errors of its own
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                remedy = (
                    "pass system='', or a template that takes a system message"
                    if isinstance(prompt, str) and system
                    else "write messages with roles that it takes"
                )
                raise UserError(
                    f"prompt {number}: the chat template refuses it ({reason}); {remedy}"
                ) from error
            encoded.append(tokenizer.encode(text, add_special_tokens=False))
        else:
            encoded.append(tokenizer.encode("\n".join(message["content"] for message in messages)))
    return encoded


def pad_left(token_lists: Sequence[Sequence[int]], pad_token_id: int) -> np.ndarray:
    """int64 [rows, longest], filled up on the left."""
    longest = max(map(len, token_lists))
    return np.array(
        [[pad_token_id] * (longest - len(tokens)) + list(tokens) for tokens in token_lists], np.int64
    )


def require_room(number: int, tokens: Sequence[int], most: int) -> None:
    """Raise UserError for a prompt that leaves an engine of `most` tokens (max_model_len) no room for a response."""
    if len(tokens) >= most:
        raise UserError(
            f"prompt {number} has {len(tokens)} tokens and the engine takes {most} with the response; shorten it "
            "or raise max_model_len"
        )
