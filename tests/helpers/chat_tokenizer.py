"""A byte-level tokenizer with a chat template, as transformers' are called, without transformers."""

import re
from types import SimpleNamespace

NO_SYSTEM = "you are a model"


def chatml(messages, think=""):
    turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return f"{turns}<|im_start|>assistant\n{think}"


def thinking(messages):
    """ChatML whose generation prompt opens the thought."""
    return chatml(messages, "<think>\n")


def default_system(messages):
    """Qwen 2.5: a system message of its own where there is none."""
    own = [] if messages[0]["role"] == "system" else [{"role": "system", "content": NO_SYSTEM}]
    return chatml([*own, *messages])


def llama(messages, date="26 Jul 2024"):
    """Llama 3.1: markers around the role, and the day's date in the system message."""
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    rest = messages[1:] if messages[0]["role"] == "system" else messages
    head = f"Today Date: {date}\n\n{system}"
    turns = [("system", head), *((m["role"], m["content"].strip()) for m in rest)]
    text = "".join(
        f"<|start_header_id|>{role}<|end_header_id|>\n\n{content}<|eot_id|>" for role, content in turns
    )
    return f"<|begin_of_text|>{text}<|start_header_id|>assistant<|end_header_id|>\n\n"


def deepseek(messages):
    """DeepSeek R1: the markers are special tokens and nothing else, and the thought is opened."""
    marks = {"system": "", "user": "<\uff5cUser\uff5c>", "assistant": "<\uff5cAssistant\uff5c>"}
    ends = {"assistant": "<|eot_id|>"}
    turns = "".join(marks[m["role"]] + m["content"] + ends.get(m["role"], "") for m in messages)
    return f"<|begin_of_text|>{turns}<\uff5cAssistant\uff5c><think>\n"


def gemma(messages):
    """Gemma: no system message."""
    if messages[0]["role"] == "system":
        raise ValueError("System role not supported")
    roles = {"assistant": "model"}
    turns = "".join(
        f"<|im_start|>{roles.get(m['role'], m['role'])}\n{m['content'].strip()}<|im_end|>\n" for m in messages
    )
    return f"<|begin_of_text|>{turns}<|im_start|>model\n"


TEMPLATES = (chatml, thinking, default_system, llama, deepseek, gemma)
SPECIAL = (
    "<|pad|>", "<|im_end|>", "<|im_start|>", "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>",
    "<|end_header_id|>", "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>",
)  # fmt: skip


class ChatTokenizer:
    """Bytes are tokens; `template` renders messages. The padding token is the end-of-text token if `shared_pad`."""

    def __init__(self, template=chatml, shared_pad=False):
        self.template, self.chat_template = template, "a template"
        self._ids = {token: 256 + index for index, token in enumerate(SPECIAL)}
        self.added_tokens_decoder = {
            i: SimpleNamespace(content=token, special=True) for token, i in self._ids.items()
        }
        self.all_special_tokens = list(SPECIAL)
        self.eos_token, self.eos_token_id = "<|im_end|>", self._ids["<|im_end|>"]
        self.pad_token = self.eos_token if shared_pad else "<|pad|>"
        self.pad_token_id = self._ids[self.pad_token]

    def encode(self, text, add_special_tokens=True):
        pieces = re.split(f"({'|'.join(map(re.escape, SPECIAL))})", text)
        return [
            i
            for piece in pieces
            for i in ([self._ids[piece]] if piece in self._ids else piece.encode("utf-8", "replace"))
        ]

    def decode(self, ids, skip_special_tokens=False, clean_up_tokenization_spaces=False):
        named = {i: token for token, i in self._ids.items()}
        data = b"".join(
            (b"" if skip_special_tokens else named[i].encode()) if i in named else bytes([i]) for i in ids
        )
        return data.decode("utf-8", "replace")

    def apply_chat_template(self, messages, add_generation_prompt=True, tokenize=False):
        return self.template(messages)
