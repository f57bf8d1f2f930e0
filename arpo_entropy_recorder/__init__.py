"""Exact first-token entropies of tool-calling vLLM rollouts: recorder, step files and figures."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arpo_entropy_recorder.api import Comparison as Comparison
    from arpo_entropy_recorder.api import Run as Run
    from arpo_entropy_recorder.api import compare as compare
    from arpo_entropy_recorder.api import load as load
    from arpo_entropy_recorder.mixin import EntropyRecorderMixin as EntropyRecorderMixin
    from arpo_entropy_recorder.mixin import record_entropy as record_entropy

__version__ = "0.2.0"
# Where a public name is; the module is imported when it is asked for, so that reading does not load the recorder.
_MODULES = {
    **dict.fromkeys(("EntropyRecorderMixin", "record_entropy"), ".mixin"),
    **dict.fromkeys(("load", "compare", "Run", "Comparison"), ".api"),
}
__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
