"""Ctrl-C around libraries that swallow it, or turn it into other errors."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def held_interrupt() -> Iterator[None]:
    """Defer the first Ctrl-C until the block (a slow import) has finished; a second one ends it at once.

    An extension module that is interrupted while it loads raises ImportError, or ends the process.
    """
    seen: list[bool] = []

    def note(*_: Any) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(True)

    with _handler(note):
        yield
    if seen:
        raise KeyboardInterrupt


@contextmanager
def remembered_interrupt() -> Iterator[Callable[[], None]]:
    """A Ctrl-C in the block raises KeyboardInterrupt, even if a library caught it or raised another error for it.

    Yields a function to call now and then, which raises KeyboardInterrupt if there was a Ctrl-C.
    """
    seen: list[bool] = []

    def raise_it(*_: Any) -> None:
        seen.append(True)
        raise KeyboardInterrupt

    def check() -> None:
        if seen:
            raise KeyboardInterrupt

    with _handler(raise_it):
        try:
            yield check
        except Exception:
            check()
            raise
    check()


@contextmanager
def _handler(handler: Callable[..., None]) -> Iterator[None]:
    """Handle SIGINT by `handler`, unless it is ignored (as under nohup) or this is not the main thread."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
