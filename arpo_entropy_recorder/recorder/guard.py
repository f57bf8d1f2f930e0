"""Where the recorder's own errors end, so that training never sees them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

logger = logging.getLogger(__name__)


def is_failure(error: BaseException) -> bool:
    """True for an error that is handled here; KeyboardInterrupt and the like pass.

    A panic in Rust (orjson, tokenizers) is a BaseException, but must not stop training either.
    """
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


@contextmanager
def swallow_errors() -> Iterator[None]:
    """Swallow errors of an optional speed-up; the engine then runs unmodified. KeyboardInterrupt passes."""
    try:
        yield
    except BaseException as error:
        if not is_failure(error):
            raise


def warn(logger: logging.Logger, message: str, *args: Any, exc_info: bool = False) -> None:
    """Log a warning of the recorder. Never raises: a logging handler may itself do so."""
    with suppress(Exception):
        logger.warning("entropy recorder: " + message, *args, exc_info=exc_info)


class ErrorBoundary:
    """Runs what may fail. The first failure is logged with its traceback, all are counted in `failures`.

    With `strict` failures are raised instead, for tests.
    """

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.failures = 0

    def run(self, action: Callable[..., Any], *args: Any) -> tuple[bool, Any]:
        """(True, result) of `action(*args)`, or (False, None) if it raised. KeyboardInterrupt passes."""
        try:
            return True, action(*args)
        except BaseException as error:
            if self.strict or not is_failure(error):
                raise
            self.report(f"{action.__qualname__} failed", exc_info=True)
            return False, None

    def report(self, what: str, exc_info: bool = False) -> None:
        """Count a failure, and log the first one."""
        self.failures += 1
        if self.failures == 1:
            warn(
                logger,
                "%s. The rollout goes on; records of this call may be missing. Further failures are counted, not "
                "logged.",
                what,
                exc_info=exc_info,
            )
