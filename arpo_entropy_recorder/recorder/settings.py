"""What a user may set: keys of the rollout config, overridden by environment variables (Ray workers inherit
them).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.step_files.schema import RESULT_TAG

# A window of this size is wider than a segment; one that is far wider asks for more memory than there is.
MAX_WINDOW = 10_000
TRUE, FALSE = {"1", "true", "on", "yes"}, {"0", "false", "off", "no", ""}


@dataclass(frozen=True)
class Settings:
    """Settings of a recorder.

    enabled: `entropy_recorder` (on/off), `ARPO_ENTROPY_DISABLE=1`.
    save_dir: `entropy_save_dir`, `ARPO_ENTROPY_DIR`; `.` by default, as in the guide.
    window: `entropy_window`, `ARPO_ENTROPY_WINDOW`: entropies of the first k tokens of a segment,
        up to 10,000.
    record_tokens: `record_tokens`, `ARPO_ENTROPY_TOKENS`: keep each segment's token ids.
    fast_logprobs: `fast_logprobs`, `ARPO_ENTROPY_FAST_LOGPROBS`: spare the engine log-probabilities that ARPO does
        not read.
    pending_steps: `entropy_pending_steps`, `ARPO_ENTROPY_PENDING_STEPS`: how many steps may wait in memory for a
        directory that cannot be written.
    result_end: `entropy_result_end`, `ARPO_ENTROPY_RESULT_END`: what a tool's result ends with, where no stop string
        like `</search>` says that a tool was called; `</result>` by default.
    strict: `entropy_strict`, `ARPO_ENTROPY_STRICT`: raise the recorder's own errors instead of logging them.
    """

    enabled: bool = True
    save_dir: Path = Path(".")
    window: int = 1
    record_tokens: bool = False
    fast_logprobs: bool = False
    pending_steps: int = 100
    result_end: str = f"</{RESULT_TAG}>"
    strict: bool = False

    @classmethod
    def read(cls, config: Any, environ: Mapping[str, str] = os.environ) -> Settings:
        """From anything with `.get(key, default)`. Raises UserError in one line for a value that is none."""

        def value(key: str, variable: str, default: Any) -> tuple[str, Any]:
            if environ.get(variable):
                return variable, environ[variable]
            found = config.get(key, default)
            return key, default if found is None else found

        disabled = _switch("ARPO_ENTROPY_DISABLE", environ.get("ARPO_ENTROPY_DISABLE", "0"))
        if disabled or not _switch(*value("entropy_recorder", "", True)):
            return cls(enabled=False)
        return cls(
            save_dir=_directory(*value("entropy_save_dir", "ARPO_ENTROPY_DIR", ".")),
            window=_count("tokens", *value("entropy_window", "ARPO_ENTROPY_WINDOW", 1), most=MAX_WINDOW),
            record_tokens=_switch(*value("record_tokens", "ARPO_ENTROPY_TOKENS", False)),
            fast_logprobs=_switch(*value("fast_logprobs", "ARPO_ENTROPY_FAST_LOGPROBS", False)),
            pending_steps=_count("steps", *value("entropy_pending_steps", "ARPO_ENTROPY_PENDING_STEPS", 100)),
            result_end=str(value("entropy_result_end", "ARPO_ENTROPY_RESULT_END", cls.result_end)[1]).strip(),
            strict=_switch(*value("entropy_strict", "ARPO_ENTROPY_STRICT", False)),
        )


def without_tilde(text: str) -> Path:
    """The path `text` with the home directory that `~` or `~user` stands for. Raises UserError where it has none."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        name = text.partition("/")[0]
        raise UserError(f"{text}: there is no home directory {name}; write the path out") from error


def _directory(name: str, value: Any) -> Path:
    try:
        return without_tilde(str(value))
    except UserError as error:
        raise UserError(f"{name}={error}") from error


def _switch(name: str, value: Any) -> bool:
    text = str(value).strip().lower()
    if text in TRUE | FALSE:
        return text in TRUE
    raise UserError(f"{name}={value!r} is neither on nor off; write on or off")


def _count(of: str, name: str, value: Any, most: int | None = None) -> int:
    try:
        count = int(str(value))
    except ValueError:
        count = 0
    if count < 1 or (most and count > most):
        wanted = f"from 1 to {most:,}" if most else "from 1 on"
        raise UserError(f"{name}={value!r} is not a number of {of}; write a whole number {wanted}")
    return count
