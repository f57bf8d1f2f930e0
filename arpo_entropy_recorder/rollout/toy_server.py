"""The toy agent as a server's model: a chat template with tools, and replies that end behind a call."""

from __future__ import annotations

import json
import math
from pathlib import Path

from arpo_entropy_recorder.rollout.toy_agent import END, LEAK, TOKENS, build_toy_agent, token_ids

PARSER = Path(__file__).with_name("toy_parser.py")
"""The file that teaches vLLM to read the toy's calls."""

TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'tool' %}<result>{{ message.content }}</result>"
    "{% elif message.role == 'assistant' %}{{ message.content or '' }}"
    "{% for call in message.tool_calls or [] %}"
    "<{{ call.function.name }}>{{ call.function.arguments.q }}</{{ call.function.name }}>"
    "{% endfor %}"
    "{% if not message.tool_calls %}<|im_end|>\n{% endif %}"
    "{% else %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% if loop.last or loop.nextitem.role == 'assistant' %}<|im_start|>assistant\n{% endif %}"
    "{% endif %}"
    "{% endfor %}"
)
"""Keeps each token of the history, so that a prompt starts with the turns before it."""


def build_toy_server(directory: str | Path, template: str = TEMPLATE) -> Path:
    """Write the toy agent for `vllm serve`; its calls are (search or python) with one argument `q`."""
    from safetensors.numpy import load_file, save_file

    # An even number of attention heads, for two ranks.
    directory = build_toy_agent(directory, vocab_multiple=128)
    _change(directory / "tokenizer_config.json", chat_template=template)
    ids = token_ids()
    stops = [ids[END], ids["</search>"], ids["</python>"]]
    _change(directory / "generation_config.json", eos_token_id=stops)
    # A server masks nothing, so the padded part of the vocabulary gets as good as no probability.
    path = directory / "model.safetensors"
    weights = load_file(path)
    weights["lm_head.weight"][TOKENS:] = math.log(LEAK / TOKENS) - 40.0
    save_file(weights, path, metadata={"format": "pt"})
    return directory


def _change(path: Path, **entries: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | entries), encoding="utf-8")
