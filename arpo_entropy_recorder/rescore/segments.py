"""Split a response by its tags into what the policy wrote and what tools answered."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from arpo_entropy_recorder.step_files.schema import RESULT_TAG
from arpo_entropy_recorder.step_files.values import tool_name

ARPO_TOOLS = ("search", "python")
# vLLM stops at the token that completes `</search>`, which may hold a few more characters (`>\n`, `>.`).
OVERFLOW = 8
# A block that opens with ```output and closes with ```, after one of code.
FENCE = "```output"
# The tag that a chat template's tool calls have (Qwen, Hermes), and the one that their results have.
CALL_TAG, ANSWER_TAG = "tool_call", "tool_response"

_CALL = re.compile(rf"<{CALL_TAG}>(.*?)</{CALL_TAG}>", re.DOTALL)

_SPECIAL = r"(?:<[|\uff5c][^<>|\n]{1,40}[|\uff5c]>)*"  # DeepSeek's bars are the wide ones
# A chat turn that a result may be, as templates open and close it, special tokens there or left out.
TURN_OPEN = rf"{_SPECIAL}\n?{_SPECIAL}(?:user|tool|ipython|observation){_SPECIAL}\n+"
TURN_CLOSE = rf"{_SPECIAL}\n?{_SPECIAL}assistant{_SPECIAL}\n+"


@dataclass(frozen=True)
class Part:
    """A stretch of a response. Parts joined are the response; `tool` names a result's tool, where it is known."""

    text: str
    tool: str | None = None
    is_result: bool = False


def split_response(
    text: str, tools: Sequence[str] = ARPO_TOOLS, tags: Sequence[str] = (RESULT_TAG,)
) -> list[Part]:
    """The parts of a response in order; a part is never empty.

    A result stands between one of `tags` right after the closing tag of one of `tools`, as ARPO's
    ` <result>\\n...\\n</result>`, or is a chat turn of such results; one that is cut short runs to the end. With a
    blank line before it, the one behind it is the environment's, too, as in Search-R1
    (search_r1/llm_agent/generation.py, execute_predictions). A tag anywhere else is the policy's own writing.
    `tool_call` is a tool to `tool_response` whatever `tools` are, and code in ``` to ```output.
    """
    parts, start = [], 0
    for match in pattern(tuple(tools), tuple(tags)).finditer(text):
        result = next(name for name in match.groupdict() if name.startswith("result") and match[name])
        written = text[start : match.start(result)]
        parts += [Part(written)] if written else []
        tool = match["tool" + result.removeprefix("result")] or "python"
        parts.append(Part(match[result], called_tool(tool, written), True))
        start = match.end()
    return [*parts, Part(text[start:])] if text[start:] else parts


def called_tool(tag: str, written: str) -> str | None:
    """The tool that the policy's text `written`, which ends with `</tag>`, has called: the tag.

    `<tool_call>` holds JSON that names the function: that name, if all calls of the text have it, and None if they
    have several or what is no name, as the live recorder of agent loops has it. Where no call is such JSON, the tag.
    """
    if tag != CALL_TAG:
        return tag
    names = set()
    for call in _CALL.findall(written):
        try:
            value = json.loads(call)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and "name" in value:
            names.add(tool_name(value["name"]))
    if not names:
        return tag
    return names.pop() if len(names) == 1 else None


@lru_cache
def pattern(tools: tuple[str, ...], tags: tuple[str, ...]) -> re.Pattern[str]:
    """Matches a call's end and its result; each tag's groups are `toolN` and `resultN`."""
    return re.compile("|".join(_of_tag(tag, number, tools) for number, tag in enumerate(tags)), re.DOTALL)


def _of_tag(tag: str, number: int, tools: tuple[str, ...]) -> str:
    if tag == FENCE:
        # The policy stops at or behind the line ```output; what it is given is the rest of the block.
        return rf"```(?P<tool{number}>)\s{{0,{OVERFLOW}}}```output(?P<result{number}>\n.*?(?:\n```\n?|\Z))"
    names = "|".join(map(re.escape, (*tools, CALL_TAG) if tag == ANSWER_TAG else tools))
    call = rf"</(?P<tool{number}>{names})>[^<]{{0,{OVERFLOW}}}?"
    name = re.escape(tag)
    # Where the result opens with a line of its own it closes with one, too: its text may mention the tag.
    block = rf"<{name}>(?:\n.*?(?:\n</{name}>|\Z)|(?!\n).*?(?:</{name}>|\Z))"
    turn, gap = rf"(?P<turn{number}>{TURN_OPEN})", rf"(?P<gap{number}>\n\n)"
    more = rf"(?:\s*{block})*" if tag == ANSWER_TAG else ""
    end = rf"(?(turn{number})(?:{TURN_CLOSE})?|(?(gap{number})(?:\n\n)?))"
    result = rf"(?:{turn}|{gap}|[ \n]?){block}{more}{end}"
    return rf"{call}(?P<result{number}>{result})"
