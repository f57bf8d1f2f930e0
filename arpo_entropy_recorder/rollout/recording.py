"""Steps of a tool rollout, recorded, with a progress bar: what `arpo-entropy record` runs on its engine."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from arpo_entropy_recorder.mixin import record_entropy
from arpo_entropy_recorder.recorder.settings import Settings
from arpo_entropy_recorder.rollout.loop import Prompts, ToolRollout
from arpo_entropy_recorder.rollout.prompts import pad_left, require_room
from arpo_entropy_recorder.step_files.names import StepKey

FileVersions = dict[Path, tuple[int, ...] | None]


def record_steps(
    engine: Any,
    tokenizer: Any,
    config: Mapping[str, Any],
    settings: Settings,
    tools: Mapping[str, Any],
    prompts: Sequence[list[int]],
    steps: int,
    batch_size: int,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Steps 1 to `steps`, each of the next `batch_size` of `prompts` (token ids), in turn.

    `config` is the rollout's, `settings` the recorder's. `check` is called after each round, and may raise. What
    could be written is in files when this returns, and the directory is given up. Raises UserError.
    """
    most = engine.llm_engine.model_config.max_model_len
    for number, tokens in enumerate(prompts[: steps * batch_size], start=1):
        require_room(number, tokens, most)
    columns = (
        TextColumn("step {task.fields[step]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("prompts, {task.fields[calls]} tool calls, {task.fields[rounds]} rounds"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("record", total=steps * batch_size, step=1, calls=0, rounds=0)
        before = {"done": 0, "calls": 0, "rounds": 0}

        def progress(done: int, calls: int, rounds: int) -> None:
            check()
            bar.update(
                task,
                completed=before["done"] + done,
                calls=before["calls"] + calls,
                rounds=before["rounds"] + rounds,
            )

        rollout = record_entropy(ToolRollout, settings)(engine, tokenizer, config, tools, progress)
        try:
            stream = itertools.cycle(prompts)
            for step in range(1, steps + 1):
                bar.update(task, step=step)
                rows = pad_left(list(itertools.islice(stream, batch_size)), tokenizer.pad_token_id)
                rollout.generate_sequences(Prompts({"input_ids": rows}, {"global_steps": step}))
                before["done"] += batch_size
                before["calls"] += rollout.metrics["tools/total_calls"]
                before["rounds"] += rollout.metrics["tools/rounds"]
        finally:
            rollout.arpo_entropy_recorder.close()


def file_versions(directory: Path, steps: int) -> FileVersions:
    """What tells one version of a file from the next, for each of the steps 1 to `steps`; None without a file."""
    versions: FileVersions = {}
    for step in range(1, steps + 1):
        path = directory / StepKey(step, validate=False).file_name
        try:
            status = path.stat()
        except OSError:
            versions[path] = None
        else:
            versions[path] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return versions
