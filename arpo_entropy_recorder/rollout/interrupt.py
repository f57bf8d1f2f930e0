"""Ctrl-C while libraries run that make something else of it, or nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def held_interrupt() -> Iterator[None]:
    """A first Ctrl-C waits for the end of the block, which is not long: an import.

    An extension module that is being loaded turns it into an ImportError, or ends the process.
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
    """A Ctrl-C in the block ends it, also where a library caught it or raised an error of its own for it.

    Yields what raises KeyboardInterrupt if there was one; to be called now and then.
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
    """In place of a handler of Python's: where Ctrl-C is ignored, as under nohup, and in threads nothing is done."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
