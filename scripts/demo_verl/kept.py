"""What verl's agent loop gives back, as a test reads it: the recorder's records are held against this."""

from __future__ import annotations

from typing import Any


def rows_of(output: Any, step: int, validate: bool) -> list[dict[str, Any]]:
    """For each row of a DataProto its prompt, its response, and which of the response's tokens the policy wrote."""
    rows = []
    for i in range(len(output)):
        attention = output.batch["attention_mask"][i].bool()
        width = output.batch["prompts"].shape[1]
        answered = attention[width:]
        rows.append(
            {
                "step": step,
                "validate": validate,
                "prompt": output.batch["prompts"][i][attention[:width]].tolist(),
                "response": output.batch["responses"][i][answered].tolist(),
                "mask": output.batch["response_mask"][i][answered].tolist(),
            }
        )
    return rows
