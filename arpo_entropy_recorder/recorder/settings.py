"""What a user may set: keys of the rollout config, overridden by environment variables (Ray workers inherit them).

The fields of `Settings` are the one table of them; docs/arpo.md is checked against it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.step_files.schema import RESULT_TAG

# A window of this size is wider than a segment; one that is far wider asks for more memory than there is.
MAX_WINDOW = 10_000
TRUE, FALSE = {"1", "true", "on", "yes"}, {"0", "false", "off", "no", ""}
DISABLE = "ARPO_ENTROPY_DISABLE"


class Setting(NamedTuple):
    """One row of the table. `parse(name, value)` raises UserError, in one line that starts with `name`."""

    key: str
    variable: str
    default: Any
    parse: Callable[[str, Any], Any]
    meaning: str


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


def _count(name: str, value: Any, of: str, maximum: int | None = None) -> int:
    try:
        count = int(str(value))
    except ValueError:
        count = 0
    if count < 1 or (maximum and count > maximum):
        wanted = f"from 1 to {maximum:,}" if maximum else "from 1 on"
        raise UserError(f"{name}={value!r} is not a number of {of}; write a whole number {wanted}")
    return count


def _text(name: str, value: Any) -> str:
    return str(value).strip()


def _row(key: str, variable: str, default: Any, parse: Callable[[str, Any], Any], meaning: str) -> Any:
    return field(default=default, metadata={"setting": Setting(key, variable, default, parse, meaning)})


@dataclass(frozen=True)
class Settings:
    """Settings of a recorder, by key, environment variable, default, parser and meaning."""

    enabled: bool = _row("entropy_recorder", f"{DISABLE}=1", True, _switch, "`off` runs without")
    save_dir: Path = _row(  # noqa: RUF009, it is a dataclass field
        "entropy_save_dir",
        "ARPO_ENTROPY_DIR",
        Path("."),
        _directory,
        "where the files go: a directory that all nodes see",
    )
    window: int = _row(
        "entropy_window",
        "ARPO_ENTROPY_WINDOW",
        1,
        partial(_count, of="tokens", maximum=MAX_WINDOW),
        f"entropies of the first k tokens of a segment, up to {MAX_WINDOW:,}",
    )
    record_tokens: bool = _row(
        "record_tokens", "ARPO_ENTROPY_TOKENS", False, _switch, "keep each segment's token ids"
    )
    prompt_id: bool = _row(
        "entropy_prompt_id",
        "ARPO_ENTROPY_PROMPT_ID",
        True,
        _switch,
        "the key `prompt`, by which prompts are found again in other steps and runs",
    )
    fast_logprobs: bool = _row(
        "fast_logprobs",
        "ARPO_ENTROPY_FAST_LOGPROBS",
        False,
        _switch,
        "V0, the older engine that ARPO's pins run: spare it the log-probabilities that ARPO's loop never reads",
    )
    pending_steps: int = _row(
        "entropy_pending_steps",
        "ARPO_ENTROPY_PENDING_STEPS",
        100,
        partial(_count, of="steps"),
        "steps that may wait in memory for a directory that cannot be written",
    )
    result_end: str = _row(
        "entropy_result_end",
        "ARPO_ENTROPY_RESULT_END",
        f"</{RESULT_TAG}>",
        _text,
        "what a tool's result ends with, in a loop whose stop strings are no tags",
    )
    result_start: str = _row(
        "entropy_result_start",
        "ARPO_ENTROPY_RESULT_START",
        "",
        _text,
        "what a tool's result begins with; without it, the opening tag of `entropy_result_end`",
    )
    tools: str = _row(
        "entropy_tools",
        "ARPO_ENTROPY_TOOLS",
        "",
        _text,
        "the tools' tags, by commas; without it, each tag that a segment stops at, but `think` and `answer`",
    )
    strict: bool = _row(
        "entropy_strict", "ARPO_ENTROPY_STRICT", False, _switch, "raise the recorder's own errors, for tests"
    )

    @classmethod
    def table(cls) -> dict[str, Setting]:
        """The settings by the name of their field."""
        return {item.name: item.metadata["setting"] for item in fields(cls)}

    @classmethod
    def read(cls, config: Any, environ: Mapping[str, str] = os.environ) -> Settings:
        """From anything with `.get(key, default)`. Raises UserError, in one line, for an invalid value."""
        rows = cls.table()
        enabled = rows.pop("enabled")
        disabled = _switch(DISABLE, environ.get(DISABLE, "0"))
        if disabled or not _value(enabled, config, {}):
            # Whatever else is set does not matter then.
            return cls(enabled=False)
        return cls(**{name: _value(setting, config, environ) for name, setting in rows.items()})


def _value(setting: Setting, config: Any, environ: Mapping[str, str]) -> Any:
    """From the environment, else from the config, else the default; an empty variable and None are not set."""
    if text := environ.get(setting.variable):
        return setting.parse(setting.variable, text)
    value = config.get(setting.key)
    return setting.default if value is None else setting.parse(setting.key, value)
