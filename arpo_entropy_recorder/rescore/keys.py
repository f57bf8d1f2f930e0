"""Which keys of a dumped line are what: by the names that trainers use, or as the user says."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rescore.line import is_messages
from arpo_entropy_recorder.rescore.settings import SettingError

# In order of preference; token ids are exact where text has to be tokenized again.
PROMPT_IDS = ("prompt_token_ids", "prompt_ids", "prompts")
RESPONSE_IDS = (
    "response_token_ids", "output_ids", "response_ids", "responses", "output_token_ids", "completion_ids",
)  # fmt: skip
# The prompt in some dumps, prompt and response in others.
WHOLE_IDS = ("input_ids", "tokens")
# 1 for a token that the policy wrote, 0 for a tool's.
MASKS = (
    "response_mask", "loss_mask", "loss_masks", "completion_mask", "action_mask", "info_mask", "result_mask",
)  # fmt: skip
ATTENTION = "attention_mask"
LENGTH = "response_length"  # slime: how many of `tokens` are the response
CHATS = ("messages", "conversations", "conversation")  # prompt and response in one list, which is not read
TEXT_PAIRS = (
    ("input", "output"), ("prompt", "response"), ("input_prompt", "output_response"), ("prompt", "completion"),
)  # fmt: skip
PROMPT_TEXTS, RESPONSE_TEXTS = ([*dict.fromkeys(names)] for names in zip(*TEXT_PAIRS, strict=True))
STEPS = ("step", "global_step", "global_steps")
# As many digits as the name of a step file may have.
STEP_DIGITS = re.compile(r"\d{1,18}", re.ASCII)
SCORES = ("score", "reward")
# What a user may name.
PARTS = ("prompt", "response", "whole", "mask", "step")


class Names(NamedTuple):
    """The keys of one line: two of `prompt`, `response` and `whole`, or `whole` and LENGTH.

    What stands in `prompt` may turn out to be the whole sequence, and the other way round, unless the user has said
    it (`sure`). `masks` are those that may apply, `texts` the keys of the same as text.
    """

    prompt: str | None = None
    response: str | None = None
    whole: str | None = None
    masks: tuple[str, ...] = ()
    attention: str | None = None
    texts: tuple[str, str] | None = None
    sure: bool = False


def parse_keys(text: str) -> dict[str, str]:
    """`prompt=input_prompt,response=output_response` as a mapping; `mask=` means none. Raises SettingError."""
    given = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        part, equals, name = (piece.strip() for piece in item.partition("="))
        if part not in PARTS or not equals or (not name and part != "mask"):
            raise SettingError(
                "keys", f"{item}: write PART=KEY, as prompt=question; parts are {', '.join(PARTS)}"
            )
        if part in given:
            raise SettingError("keys", f"{item}: {part} is named twice; name it once")
        given[part] = name
    return given


def step_of(entry: Mapping[str, Any], given: Mapping[str, str], default: int | None, where: str) -> int:
    """The training step of a line: under its key, else `default`. Raises UserError."""
    names = [given["step"]] if "step" in given else STEPS
    name = next((name for name in names if entry.get(name) is not None), names[0])
    step = entry.get(name, default)
    if isinstance(step, str) and STEP_DIGITS.fullmatch(step):
        step = int(step)
    if isinstance(step, float) and step.is_integer():
        step = int(step)
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise UserError(f"{where} {name!r}: not a step number; add it, or name the file <step>.jsonl")
    return step


def score_of(entry: Mapping[str, Any]) -> float | None:
    """The trainer's score of a line; None where there is none that is a finite number."""
    score = next((entry[name] for name in SCORES if entry.get(name) is not None), None)
    # `json` reads whole numbers of any length, which no float may hold.
    if isinstance(score, int | float) and abs(score) <= sys.float_info.max:
        return float(score)
    return None


def names_of(entry: Mapping[str, Any], given: Mapping[str, str], where: str) -> Names:
    """The keys that hold a line's prompt and response. Raises UserError where they are not there, or not certain."""
    for part, name in given.items():
        if name and entry.get(name) is None:
            raise UserError(f"{where}: no key {name!r}, which is to be the {part}; name another one")
    masks = tuple(name for name in MASKS if isinstance(entry.get(name), list))
    if "mask" in given:
        masks = (given["mask"],) if given["mask"] else ()
    attention = ATTENTION if isinstance(entry.get(ATTENTION), list) else None
    said = [given[part] for part in ("response", "whole", "prompt") if part in given]
    if said:
        found = _completed(entry, given, is_ids=_is_ids(entry[said[0]]))
        return found._replace(masks=masks, attention=attention)
    texts = _texts(entry, where)
    prompt, response, whole = (_listed(entry, names) for names in (PROMPT_IDS, RESPONSE_IDS, WHOLE_IDS))
    known_length = whole and type(entry.get(LENGTH)) is int
    if (response and (prompt or whole)) or (whole and (prompt or known_length)):
        return Names(prompt, response, whole, masks, attention, texts)
    if texts:
        return Names(*texts)
    prompt, response = _first(entry, PROMPT_TEXTS), _first(entry, RESPONSE_TEXTS)
    if not (prompt and response):
        messages = next((n for n in (*RESPONSE_IDS, *CHATS) if is_messages(entry.get(n))), None)
        if messages and not response:
            raise UserError(
                f"{where} {messages!r}: messages do not tell which tokens were generated; dump the response as text "
                "or token ids"
            )
        lacking = RESPONSE_TEXTS[0] if prompt else PROMPT_TEXTS[0]
        raise UserError(
            f"{where}: no key {lacking!r}; verl dumps 'input' and 'output': say which keys hold prompt and response"
        )
    return Names(prompt, response)


def _completed(entry: Mapping[str, Any], given: Mapping[str, str], is_ids: bool) -> Names:
    """What the user has named, and the rest by the trainers' names."""

    def known(ids: tuple[str, ...], texts: Sequence[str]) -> str | None:
        names = [name for name in (ids if is_ids else texts) if name not in given.values()]
        return _listed(entry, names) if is_ids else _first(entry, names)

    prompt, whole = given.get("prompt"), given.get("whole")
    response = given.get("response") or known(RESPONSE_IDS, RESPONSE_TEXTS)
    if prompt is None and whole is None:
        prompt = known(PROMPT_IDS, PROMPT_TEXTS)
        whole = known(WHOLE_IDS, ())
    elif prompt is None and response is None:
        prompt = known(PROMPT_IDS, PROMPT_TEXTS)
    return Names(prompt, response, whole, sure="prompt" in given or "whole" in given)


def _texts(entry: Mapping[str, Any], where: str) -> tuple[str, str] | None:
    found = [pair for pair in TEXT_PAIRS if all(entry.get(name) is not None for name in pair)]
    if len({repr([entry[name] for name in pair]) for pair in found}) > 1:
        pairs = " and ".join("/".join(pair) for pair in found)
        raise UserError(
            f"{where}: {pairs} differ: say which are prompt and response (keys prompt=KEY,response=KEY)"
        )
    return found[0] if found else None


def _first(entry: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if entry.get(name) is not None), None)


def _listed(entry: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if _is_ids(entry.get(name))), None)


def _is_ids(value: Any) -> bool:
    """True for a list that is no list of messages or texts; whether it holds token ids is checked later."""
    return isinstance(value, list) and not (value and isinstance(value[0], dict | str))
