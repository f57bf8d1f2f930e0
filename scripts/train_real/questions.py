"""The questions of scripts/demo_real as verl's data sets hold them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

DEMO = Path(__file__).resolve().parent.parent / "demo_real"


def rows(examples: int) -> list[dict[str, Any]]:
    """The questions as verl's data sets hold them, each after worked examples as turns of a chat.

    ARPO's reward wants the answer in a box, and compares it with `ground_truth` word by word.
    """
    sys.path.insert(0, str(DEMO))
    from write_prompts import prompts

    answers = [entry["answer"] for entry in json.loads((DEMO / "questions.json").read_text())]
    return [
        {
            "data_source": "questions",
            "prompt": [
                message | {"content": boxed(message["content"])}
                for message in (*chat[: 1 + 2 * examples], chat[-1])
            ],
            "reward_model": {"style": "rule", "ground_truth": answer},
            "extra_info": {"index": index},
        }
        for index, (chat, answer) in enumerate(zip(prompts(), answers, strict=True))
    ]


def boxed(text: str) -> str:
    """A message of the demo as ARPO's reward wants it."""
    text = text.replace("between <answer> and </answer>", "as <answer> answer </answer>")
    return re.sub(r"<answer> (.*?) </answer>", r"<answer> \\boxed{\1} </answer>", text)
