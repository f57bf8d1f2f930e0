"""Entropies of a run that recorded none: the model runs once more over the trajectories that were dumped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.rescore.dumps import find_dumps, read_dumps
from arpo_entropy_recorder.rescore.manifest import Manifest
from arpo_entropy_recorder.rescore.retokenize import Tokenized
from arpo_entropy_recorder.rescore.scorer import Scorer, Skip
from arpo_entropy_recorder.rescore.segments import has_result
from arpo_entropy_recorder.rescore.settings import RescoreSettings, SettingError
from arpo_entropy_recorder.step_files.schema import RESULT_TAG

Progress = Callable[[str, float], object]


@dataclass
class Summary:
    """What a rescoring did: steps written, steps found done, and of those written what the person should know."""

    steps: int = 0
    done_before: int = 0
    trajectories: int = 0
    exact_prompts: int = 0
    records: int = 0
    nulls: int = 0

    def add(self, trajectories: Sequence[Tokenized], entropies: np.ndarray) -> None:
        self.steps += 1
        self.trajectories += len(trajectories)
        self.exact_prompts += sum(trajectory.is_prompt_exact for trajectory in trajectories)
        self.records += len(entropies)
        self.nulls += int(np.isnan(entropies).sum())


def default_output(rollout_dir: str) -> Path:
    """Where a dump's step files go unless it is said."""
    path = Path(rollout_dir)
    return (path.parent if path.is_file() else path) / "entropies"


def rescore(
    output: Path,
    settings: RescoreSettings,
    max_batch_tokens: int = 16384,
    skip: Skip | None = None,
    progress: Progress = lambda what, share: None,
) -> Summary:
    """Write `entropy_step_<step>.json` to `output` for each step that `settings.rollout_dir` has and `output` lacks.

    `skip` is called with the error of each line left out; without it the first such error is raised.
    `progress(what, share)` is called with what is being done and the share of all the work that is now settled.
    Raises UserError.
    """
    files = find_dumps(Path(settings.rollout_dir))
    _require_results(files, settings, skip)
    sizes = [max(file.stat().st_size, 1) for file in files]
    summary = Summary()
    seen: dict[int, Path] = {}
    scorer: Scorer | None = None
    manifest = Manifest(output, settings.model_path, settings.of_all_steps)
    try:
        for file, size in zip(files, sizes, strict=True):
            dumps = read_dumps(file, skip)
            for dump in dumps:
                name, weight = f"step {dump.global_step}", size / len(dumps) / sum(sizes)
                if (other := seen.setdefault(dump.global_step, file)) != file:
                    where = f"{printable(file)}: {name} is in {printable(other.name)}, too"
                    raise UserError(f"{where}; leave one of them out")
                if manifest.has(dump):
                    summary.done_before += 1
                    progress(f"{name} is done", weight)
                    continue
                scorer = scorer or Scorer(settings, max_batch_tokens)
                trajectories = dict(scorer.read(dump, skip))
                if not trajectories:
                    raise UserError(f"{printable(file)}: no trajectory of {name} can be used; leave it out")
                columns = scorer.columns(trajectories, _part(progress, name, weight))
                manifest.write(dump, columns)
                summary.add(list(trajectories.values()), columns["entropy"])
    finally:
        manifest.close()
    return summary


def _part(progress: Progress, what: str, weight: float) -> Callable[[float], object]:
    return lambda share: progress(what, share * weight)


def _require_results(files: Sequence[Path], settings: RescoreSettings, skip: Skip | None) -> None:
    """Raise UserError, before a model is loaded, where no dump has a result after one of the tools' calls.

    If no line can be used, the first line's error is raised instead: a file that is no dump has no tags either.
    """
    bad: list[UserError] = []
    usable = 0
    for file in files:
        for dump in read_dumps(file, bad.append if skip else None):
            usable += len(dump.lines)
            # Token ids cannot be searched before a tokenizer is loaded.
            if any(
                isinstance(line.response, list) or has_result(line.response, settings.tools)
                for line in dump.lines
            ):
                return
    if not usable and bad:
        raise bad[0]
    where = f"{printable(settings.rollout_dir)}: "
    if not usable:
        raise UserError(f"{where}empty: no trajectory in it; give what trainer.rollout_data_dir named")
    calls = " or ".join(f"</{tool}>" for tool in settings.tools)
    raise SettingError(
        "tools",
        f"{','.join(settings.tools)}: no tool result (<{RESULT_TAG}> after {calls}) in {usable:,} trajectories "
        f"of {printable(settings.rollout_dir)}; name the policy's tools",
    )
