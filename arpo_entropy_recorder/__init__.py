"""Exact first-token entropies of tool-calling vLLM rollouts: recorder, step files and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arpo_entropy_recorder.mixin import EntropyRecorderMixin as EntropyRecorderMixin
    from arpo_entropy_recorder.mixin import record_entropy as record_entropy

__version__ = "0.1.0"
__all__ = ["EntropyRecorderMixin", "record_entropy"]


def __getattr__(name: str) -> Any:
    # Imported when asked for, so that reading and plotting do not load the recorder.
    if name in __all__:
        from arpo_entropy_recorder import mixin

        return getattr(mixin, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
