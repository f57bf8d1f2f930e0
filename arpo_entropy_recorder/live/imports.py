"""Hooks that run when a module of another package has been imported."""

from __future__ import annotations

import importlib.abc
import importlib.util
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from arpo_entropy_recorder.recorder.guard import warn

logger = logging.getLogger(__name__)
Hook = Callable[[ModuleType], None]


def after_imports(hooks: Mapping[str, Hook]) -> None:
    """Run each hook when the module of its name has run, or now if it has already. A second call does nothing.

    An error of a hook is logged, and the import goes on.
    """
    if any(isinstance(finder, _Finder) and finder.hooks == hooks for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder(hooks))
    for name, hook in hooks.items():
        if (module := sys.modules.get(name)) is not None:
            _run(hook, module)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds nothing itself: has the loader that others find run the hook behind the module."""

    def __init__(self, hooks: Mapping[str, Hook]) -> None:
        self.hooks = hooks
        self._thread = threading.local()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in self.hooks or getattr(self._thread, "is_looking", False):
            return None
        self._thread.is_looking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._thread.is_looking = False
        if spec is not None and spec.loader is not None:
            original, hook = spec.loader.exec_module, self.hooks[name]

            def exec_module(module: ModuleType) -> None:
                original(module)
                _run(hook, module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _run(hook: Hook, module: ModuleType) -> None:
    try:
        hook(module)
    except Exception:
        warn(logger, "no hook on %s", module.__name__, exc_info=True)
