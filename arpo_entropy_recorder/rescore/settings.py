"""What a rescoring's entropies depend on, and the error for a setting that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rescore.segments import ARPO_TOOLS


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

    `rollout_dir` may be one file of it; `dtype` is the model's precision, "auto" the checkpoint's own.
    """

    model: str
    rollout_dir: str
    temperature: float = 1.0
    window: int = 1
    dtype: str = "auto"
    tools: tuple[str, ...] = ARPO_TOOLS

    @property
    def model_path(self) -> str:
        """The model by a name that means the same from anywhere."""
        return str(Path(self.model).resolve()) if Path(self.model).is_dir() else self.model

    @property
    def of_all_steps(self) -> dict[str, Any]:
        """What has to be the same for all steps of a directory, as plain JSON types."""
        shared = {"temperature": float(self.temperature), "window": self.window, "dtype": self.dtype}
        return {**shared, "tools": list(self.tools)}
