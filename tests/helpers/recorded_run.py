"""A run that is kept in tests/data, as Python's own json reads it."""

import json


def records_by_step(entropies, steps):
    """{step: its records} of a directory of step files."""
    return {step: json.loads((entropies / f"entropy_step_{step}.json").read_text()) for step in steps}


def lines_by_step(dump, steps):
    """{step: its lines} of a directory that a trainer dumped its trajectories to."""
    return {step: list(map(json.loads, (dump / f"{step}.jsonl").read_text().splitlines())) for step in steps}
