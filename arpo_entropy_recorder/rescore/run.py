"""Entropies of a run that recorded none: the model runs once more over the trajectories that were dumped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from arpo_entropy_recorder.errors import UserError, printable
from arpo_entropy_recorder.rescore.dumps import find_dumps, read_dumps
from arpo_entropy_recorder.rescore.manifest import Manifest, step_name
from arpo_entropy_recorder.rescore.scorer import Scorer
from arpo_entropy_recorder.rescore.settings import RescoreSettings, SettingError
from arpo_entropy_recorder.rescore.skipping import Skip
from arpo_entropy_recorder.rescore.survey import Survey, survey
from arpo_entropy_recorder.rescore.tokenized import Tokenized
from arpo_entropy_recorder.rescore.tokenizer import load_tokenizer

Progress = Callable[[str, float], object]


@dataclass
class Summary:
    """What a rescoring did: steps written, steps found done, and of those written what the person should know.

    `lines` counts trajectories as `line_counts` does.
    """

    steps: int = 0
    done_before: int = 0
    records: int = 0
    nulls: int = 0
    lines: Counter[str] = field(default_factory=Counter)

    def add(self, lines: Counter[str], entropies: np.ndarray) -> None:
        self.steps += 1
        self.lines += lines
        self.records += len(entropies)
        self.nulls += int(np.isnan(entropies).sum())


def line_counts(trajectories: Sequence[Tokenized]) -> Counter[str]:
    """Trajectories, and those that could not be put back as they were, by reason; as the manifest has it."""
    counts = Counter({"all": len(trajectories)})
    for trajectory in trajectories:
        if trajectory.is_ambiguous:
            counts["ambiguous turns"] += 1
        elif not trajectory.is_prompt_exact:
            counts["without turn markers"] += 1
        counts["results without turn markers"] += trajectory.exact_rounds is not None
        counts["text in place of token ids"] += trajectory.ids_differ
    return +counts


def default_output(rollout_dir: str) -> Path:
    """Where a dump's step files go unless it is said."""
    path = Path(rollout_dir)
    return (path.parent if path.is_file() else path) / "entropies"


def look(settings: RescoreSettings, skip_bad: bool = False) -> Survey:
    """What is understood of the dumps, without a model. Raises UserError."""
    return survey(find_dumps(Path(settings.rollout_dir)), settings, _tokenizer, skip_bad)[0]


def _tokenizer(model: str) -> Any:
    try:
        return load_tokenizer(model)
    except UserError as error:
        raise SettingError("model", str(error)) from error


def rescore(
    output: Path,
    settings: RescoreSettings,
    max_batch_tokens: int = 16384,
    skip: Skip | None = None,
    progress: Progress = lambda what, share: None,
    understood: Callable[[Survey], object] = lambda survey: None,
) -> Summary:
    """Write `entropy_step_<step>.json` to `output` for each step that `settings.rollout_dir` has and `output` lacks.

    `skip` is called with the error of each line left out; without it the first such error is raised.
    `progress(what, share)` is called with what is being done and the share of all the work that is now settled,
    `understood` with what is known of the dumps before the model is loaded.
    Raises UserError.
    """
    files = find_dumps(Path(settings.rollout_dir))
    sizes = [max(file.stat().st_size, 1) for file in files]
    found, retokenizer = survey(files, settings, _tokenizer, skip is not None)
    understood(found)
    settings = replace(settings, tags=found.tags)
    summary = Summary()
    seen: dict[str, Path] = {}
    scorer: Scorer | None = None
    manifest = Manifest(output, settings.model_path, settings.of_all_steps)
    try:
        for file, size in zip(files, sizes, strict=True):
            dumps = read_dumps(file, skip, dict(settings.keys))
            for dump in dumps:
                if (file, dump.global_step) in found.validations:
                    dump = replace(dump, validate=True)
                key = step_name(dump.global_step, dump.validate)
                name, weight = f"step {dump.global_step}", size / len(dumps) / sum(sizes)
                if (other := seen.setdefault(key, file)) != file:
                    where = f"{printable(file)}: {name} is in {printable(other.name)}, too"
                    raise UserError(f"{where}; leave one of them out")
                if manifest.has(dump):
                    summary.done_before += 1
                    progress(f"{name} is done", weight)
                    continue
                scorer = scorer or Scorer(settings, retokenizer, max_batch_tokens)
                trajectories = dict(scorer.read(dump, skip))
                if not trajectories:
                    raise UserError(f"{printable(file)}: no trajectory of {name} can be used; leave it out")
                columns = scorer.columns(trajectories, _part(progress, name, weight))
                lines = line_counts(list(trajectories.values()))
                manifest.write(dump, columns, lines)
                summary.add(lines, columns["entropy"])
    finally:
        manifest.close()
    return summary


def _part(progress: Progress, what: str, weight: float) -> Callable[[float], object]:
    return lambda share: progress(what, share * weight)
