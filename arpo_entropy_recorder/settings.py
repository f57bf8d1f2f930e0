"""What a user may set: keys of the rollout config, overridden by environment variables (Ray workers inherit
them).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arpo_entropy_recorder.schema import UserError

TRUE, FALSE = {"1", "true", "on", "yes"}, {"0", "false", "off", "no", ""}


@dataclass(frozen=True)
class Settings:
    """Settings of a recorder.

    enabled: `entropy_recorder` (on/off), `ARPO_ENTROPY_DISABLE=1`.
    save_dir: `entropy_save_dir`, `ARPO_ENTROPY_DIR`; `.` by default, as in the guide.
    window: `entropy_window`, `ARPO_ENTROPY_WINDOW`: entropies of the first k tokens of a segment.
    record_tokens: `record_tokens`, `ARPO_ENTROPY_TOKENS`: keep each segment's token ids.
    strict: `entropy_strict`, `ARPO_ENTROPY_STRICT`: raise the recorder's own errors instead of logging them.
    """

    enabled: bool = True
    save_dir: Path = Path(".")
    window: int = 1
    record_tokens: bool = False
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
        return cls(
            enabled=not disabled and _switch("entropy_recorder", config.get("entropy_recorder", True)),
            save_dir=Path(str(value("entropy_save_dir", "ARPO_ENTROPY_DIR", ".")[1])).expanduser(),
            window=_window(*value("entropy_window", "ARPO_ENTROPY_WINDOW", 1)),
            record_tokens=_switch(*value("record_tokens", "ARPO_ENTROPY_TOKENS", False)),
            strict=_switch(*value("entropy_strict", "ARPO_ENTROPY_STRICT", False)),
        )


def _switch(name: str, value: Any) -> bool:
    text = str(value).strip().lower()
    if text in TRUE | FALSE:
        return text in TRUE
    raise UserError(f"{name}={value!r} is neither on nor off; write on or off")


def _window(name: str, value: Any) -> int:
    try:
        window = int(str(value))
    except ValueError:
        window = 0
    if window < 1:
        raise UserError(f"{name}={value!r} is not a number of tokens; write a whole number from 1 on")
    return window
