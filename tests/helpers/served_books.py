"""A server of a few lines and its client's books: turns as an API server would tell them, and where they belong."""

import itertools
import json
import random

import numpy as np

from arpo_entropy_recorder.live.serve.conversation import read_conversation, read_reply
from arpo_entropy_recorder.live.serve.digests import Digests
from arpo_entropy_recorder.live.serve.turns import Completion, Turn


def words(message):
    """A message's text with its calls, as the model has written it."""
    calls = "".join(
        f"<{c['function']['name']}>{c['function']['arguments']}" for c in message.get("tool_calls", ())
    )
    content = message.get("content") or ""
    return (content if isinstance(content, str) else "".join(part["text"] for part in content)) + calls


def faithful(messages):
    """A template that keeps each token of the history."""
    return "".join(
        words(m) + "\n" if m["role"] == "assistant" else f"[{m['role']}] {m['content']}\n>" for m in messages
    )


def stripping(messages):
    """A template that drops thoughts, and writes calls anew, with a space."""
    kept = [
        m | {"content": words(m).rpartition("</think>")[2], "tool_calls": []}
        if m["role"] == "assistant"
        else m
        for m in messages
    ]
    return faithful(kept).replace("{", "{ ")


def tokens(text):
    return np.frombuffer(text.encode("utf-32-le"), "<i4").tobytes()


def assistant(text, *calls, number=itertools.count()):  # noqa: B008
    """A reply: `calls` are (name, argument) and get identifiers as vLLM makes them."""
    made = [
        {"id": f"chatcmpl-tool-{next(number):016x}", "type": "function",
         "function": {"name": name, "arguments": json.dumps({"q": argument})}}
        for name, argument in calls
    ]  # fmt: skip
    return {"role": "assistant", "content": text} | ({"tool_calls": made} if made else {})


def results(reply, *texts):
    """Messages with the results of a reply's calls."""
    return [
        {"role": "tool", "tool_call_id": call["id"], "content": text}
        for call, text in zip(reply["tool_calls"], texts, strict=True)
    ]


class Server:
    """Answers what it is told to, and makes the turns."""

    def __init__(self, template=faithful, text_results=False):
        self.digests = Digests(b"k" * 32)
        self.template, self.text_results = template, text_results
        self.clock = 0.0

    def turn(self, messages, *replies, session=None, finish="stop", raw=None):
        """The turn of a chat request, or with `raw` of one of text; `replies` are its completions."""
        self.clock += 1.0
        conversation = None
        # As they come from a client, by JSON.
        messages = json.loads(json.dumps(messages))
        if raw is None:
            conversation = read_conversation(messages, self.digests, self.text_results)
        completions = [
            Completion(
                key=f"{random.getrandbits(128):032x}",
                token_ids=tokens(reply if isinstance(reply, str) else words(reply)),
                finish=finish,
                reply=None if raw is not None else read_reply(conversation, reply, self.digests),
            )
            for reply in replies
        ]
        return Turn(
            asked=self.clock,
            ended=self.clock + 0.5,
            prompt=tokens(self.template(messages) if raw is None else raw),
            completions=completions,
            conversation=conversation,
            session=self.digests.of("session", session) if session else None,
        )
