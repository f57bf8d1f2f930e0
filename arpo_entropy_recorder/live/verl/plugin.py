"""What verl imports in every process (entry point `verl.plugins`, or VERL_USE_EXTERNAL_MODULES).

It is imported in the middle of `import verl`, so it only arranges for hooks, which are put on when verl's own modules
have run. Without a directory to record to it imports nothing else.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress

logger = logging.getLogger(__name__)


def install() -> bool:
    """Arrange for the hooks, once a process; returns whether this process records. Never raises."""
    if not os.environ.get("ARPO_ENTROPY_DIR") or os.environ.get("ARPO_ENTROPY_DISABLE") == "1":
        return False
    try:
        from arpo_entropy_recorder.live.imports import after_imports
        from arpo_entropy_recorder.live.verl.hooks import HOOKS
        from arpo_entropy_recorder.recorder.settings import Settings

        if not Settings.read({}).enabled:
            return False
        after_imports(HOOKS)
        return True
    except Exception as error:
        # A logging handler may itself raise.
        with suppress(Exception):
            is_traceback = type(error).__name__ != "UserError"
            logger.warning("entropy recorder: not recording: %s", error, exc_info=is_traceback)
        return False


install()
