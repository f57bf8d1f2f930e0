"""Rescoring with a progress bar, for `rescore` and for `plot --rollout-dir`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from arpo_entropy_recorder.commands.arguments import require
from arpo_entropy_recorder.errors import UserError

if TYPE_CHECKING:
    from arpo_entropy_recorder.rescore.run import Summary
    from arpo_entropy_recorder.rescore.settings import RescoreSettings


@contextmanager
def naming_options() -> Iterator[None]:
    """Show the option in place of the setting's name."""
    from arpo_entropy_recorder.rescore.settings import SettingError

    try:
        yield
    except SettingError as error:
        raise UserError(f"--{error.setting.replace('_', '-')} {error.reason}") from error


def watched_look(settings: RescoreSettings, skip_bad: bool = False) -> list[str]:
    """What is understood of the dumps, a sentence for each, without a model. Raises UserError."""
    require("rescore", "transformers")
    from arpo_entropy_recorder.rescore.run import look

    with naming_options():
        return look(settings, skip_bad).sentences()


def watched_rescore(
    output: Path, settings: RescoreSettings, max_batch_tokens: int = 16384, skip_bad: bool = False
) -> Summary:
    """`rescore` with a progress bar; prints what a reader of the result should know. Raises UserError."""
    require("rescore", "torch", "transformers")
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from arpo_entropy_recorder.commands.progress import say, say_skipped
    from arpo_entropy_recorder.rescore.run import rescore

    bad = []

    def skip(error: UserError) -> None:
        bad.append(error)
        say_skipped(error)

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("rescore", total=1.0)
        with naming_options():
            summary = rescore(
                output,
                settings,
                max_batch_tokens,
                skip if skip_bad else None,
                lambda what, share: bar.update(task, description=what, advance=share),
                lambda found: say("; ".join(found.sentences())),
            )
    if bad:
        say(f"{len(bad)} lines were left out")
    if summary.nulls:
        say(f"{summary.nulls} entropies are null: the model's logits are no numbers there")
    return summary
