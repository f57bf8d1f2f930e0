"""Write the prompts of `make demo-real`: each question after four worked examples, as turns of a chat.

python scripts/demo_real/write_prompts.py FILE.jsonl

A model of 135 M parameters calls no tool unless it is shown how. As turns of the chat, rather than as one text,
it also learns to end its turn.
"""

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def prompts() -> list[list[dict[str, str]]]:
    """Chat messages of each question, in the order of questions.json."""
    examples = json.loads((FOLDER / "examples.json").read_text())
    questions = json.loads((FOLDER / "questions.json").read_text())
    return [[*examples, {"role": "user", "content": entry["question"]}] for entry in questions]


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"prompt": messages}) + "\n" for messages in prompts()))
