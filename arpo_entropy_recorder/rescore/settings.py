"""What a rescoring's entropies depend on, and the error for a setting that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rescore.segments import ARPO_TOOLS
from arpo_entropy_recorder.step_files.schema import RESULT_TAG


class SettingError(UserError):
    """A setting that cannot be used; `setting` is its name, `reason` begins with its value.

    They are kept apart so that a command can show its option in place of the setting's name.
    """

    def __init__(self, setting: str, reason: str) -> None:
        super().__init__(f"{setting} {reason}")
        self.setting, self.reason = setting, reason


@dataclass(frozen=True)
class RescoreSettings:
    """What the entropies depend on.

    `rollout_dir` may be one file of it; `dtype` is the model's precision, "auto" the checkpoint's own. `tags` are
    those of tool results, None for those that are certain; `keys` are the dump's, by part. With `several_turns` lines
    of a prompt that name a role start turns.
    """

    model: str
    rollout_dir: str
    temperature: float = 1.0
    window: int = 1
    dtype: str = "auto"
    tools: tuple[str, ...] = ARPO_TOOLS
    tags: tuple[str, ...] | None = None
    keys: tuple[tuple[str, str], ...] = ()
    several_turns: bool = False

    @property
    def model_path(self) -> str:
        """The model by a name that means the same from anywhere."""
        return str(Path(self.model).resolve()) if Path(self.model).is_dir() else self.model

    @property
    def of_all_steps(self) -> dict[str, Any]:
        """What has to be the same for all steps of a directory, as plain JSON types."""
        shared: dict[str, Any] = {"temperature": float(self.temperature), "window": self.window}
        shared |= {"dtype": self.dtype, "tools": list(self.tools)}
        # Left out where it is as it always was, so that directories of earlier versions go on.
        if self.tags not in (None, (RESULT_TAG,)):
            shared["tags"] = list(self.tags or ())
        if self.keys:
            shared["keys"] = dict(self.keys)
        if self.several_turns:
            shared["several_turns"] = True
        return shared
