"""Made-up runs with the shape of real ones, text included. They measure nothing.

    python tests/helpers/real_like_runs.py DIR [STEPS]

writes DIR/<story>/entropies and DIR/<story>/rollouts for three stories of a training:

- `collapse`: the policy becomes certain, and what tool results add fades away with it;
- `hold`: both stay nearly as they were;
- `one_tool`: results of `python` stop raising the entropy, those of `search` go on doing so.

Token ids are the bytes of the text, so `bytes(record["tokens"]).decode()` is the segment, and a dump's `output`
is the segments of a trajectory with the tool results between them.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from arpo_entropy_recorder.step_files.values import prompt_digest

STORIES = ("collapse", "hold", "one_tool")
TOOLS = ("search", "python")
PROMPTS = [f"Question {i}: which of the {i + 2} is it?" for i in range(24)]
WINDOW = 20
# After / before a tool result at the start of a training.
RISE = 1.9


@dataclass
class Trajectory:
    sample: int
    prompt: int
    parent: int | None = None
    rounds: int = 0
    tool: str | None = None
    text: str = ""
    """The response so far, tool results included."""
    records: list[dict[str, Any]] = field(default_factory=list)


def asked(number: int) -> str:
    """The whole text of a prompt."""
    return f"user\n{PROMPTS[number]}\nassistant\n"


def entropy_level(story: str, share: float, tool: str | None) -> float:
    """Mean normalised entropy of a first token, `share` of the way through the training."""
    start = 0.06 * (np.exp(-3.5 * share) if story == "collapse" else 1 - 0.2 * share)
    if tool is None:
        return start
    fades = story == "collapse" or (story == "one_tool" and tool == "python")
    return start * RISE ** (1 - 1.4 * share if fades else 1.0)


def write_run(
    out: Path, story: str, steps: int = 40, prompts: int = 8, n: int = 6, seed: int = 0, run: int = 0
) -> None:
    """One run; every prompt comes again each `24 / prompts` steps, with the same `prompt` key."""
    if story not in STORIES:
        raise ValueError(f"{story}: not one of {', '.join(STORIES)}")
    encode = json.JSONEncoder(separators=(",", ":")).encode
    random = np.random.default_rng([seed, STORIES.index(story)])
    difficulty = np.exp(random.normal(0, 0.4, len(PROMPTS)))
    for folder in ("entropies", "rollouts"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for step in range(1, steps + 1):
        share = (step - 1) / max(steps - 1, 1)
        chosen = [(i + (step - 1) * prompts) % len(PROMPTS) for i in range(prompts)]
        trajectories, rounds = _rollout(random, story, share, [difficulty[i] for i in chosen], n)
        keys = [prompt_digest(list(asked(number).encode())) for number in chosen]
        lines = [
            encode(
                {"global_step": step} | entry | {"prompt": keys[entry["prompt_idx"]], "call": 0, "run": run}
            )
            for entry in rounds
        ]
        (out / "entropies" / f"entropy_step_{step}.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
        with open(out / "rollouts" / f"{step}.jsonl", "w") as file:
            for t in sorted(trajectories, key=lambda t: t.prompt):  # a dump's order is not that of sample_idx
                score = float(random.random() < 0.3 + 0.4 * share)
                line = {"input": asked(chosen[t.prompt]), "output": t.text, "score": score, "step": step}
                file.write(json.dumps(line) + "\n")


def whole_texts(entries: list[dict[str, Any]]) -> dict[int, dict[int, str]]:
    """What each trajectory of a step wrote by round, its parents' rounds included."""
    own: dict[int, list[dict[str, Any]]] = {}
    for entry in entries:
        own.setdefault(entry["sample_idx"], []).append(entry)

    def text(sample: int) -> dict[int, str]:
        records = own[sample]
        before = {} if records[0]["parent_idx"] is None else text(records[0]["parent_idx"])
        before = {r: t for r, t in before.items() if r < records[0]["round"]}
        return before | {entry["round"]: bytes(entry["tokens"]).decode() for entry in records}

    return {sample: text(sample) for sample in own}


def _rollout(
    random: np.random.Generator, story: str, share: float, difficulty: list[float], n: int
) -> tuple[list[Trajectory], list[dict[str, Any]]]:
    """Trajectories, half of them branches where a tool result came, and their records, round by round."""
    all_of_them = [Trajectory(i, i // (n // 2)) for i in range(len(difficulty) * (n // 2))]
    live, records = list(all_of_them), []
    started = Counter(t.prompt for t in all_of_them)
    while live:
        going_on = []
        for t in live:
            tool = str(random.choice(TOOLS)) if t.rounds < 4 and random.random() < 0.6 else None
            call = f"<{tool}>{random.integers(1000)}</{tool}>" if tool else "<answer> this one </answer>"
            start = " <think> " if t.tool else "<think> "
            text = start + "and so " * int(random.integers(1, 9)) + "</think> " + call
            level = entropy_level(story, share, t.tool) * difficulty[t.prompt]
            records.append(_record(random, t, text, level))
            t.text += text
            if tool:
                t.text += f" <result>\n{random.integers(10**6)}\n</result>"
                t.tool, t.rounds = tool, t.rounds + 1
                going_on.append(t)
        live = going_on
        for source in going_on:
            if started[source.prompt] < n and random.random() < 0.5:
                started[source.prompt] += 1
                branch = Trajectory(
                    len(all_of_them), source.prompt, source.sample, source.rounds, source.tool, source.text
                )
                all_of_them.append(branch)
                live = [*live, branch]
    return all_of_them, records


def _record(random: np.random.Generator, t: Trajectory, text: str, level: float) -> dict[str, Any]:
    tokens = list(text.encode())
    length = min(WINDOW, len(tokens))
    window = random.lognormal(np.log(0.4 * level), 1.2, length)
    window[0] = random.lognormal(np.log(level) - 0.5, 1.0)
    if random.random() < 0.2:
        window[0] *= random.random() ** 6  # many are near 0
    values: list[float | None] = [float(f"{value:.7g}") for value in np.minimum(window, 0.9).tolist()]
    if random.random() < 0.002:
        values[0] = None
    return {
        "sample_idx": t.sample,
        "prompt_idx": t.prompt,
        "parent_idx": t.parent,
        "round": t.rounds,
        "tool": t.tool,
        "is_after_tool_call": t.tool is not None,
        "token_id": tokens[0],
        "entropy": values[0],
        "window": values,
        "tokens": tokens,
    }


if __name__ == "__main__":
    for name in STORIES:
        write_run(Path(sys.argv[1]) / name, name, *map(int, sys.argv[2:3]))
