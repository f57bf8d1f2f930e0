"""How the host reaches a tap in the worker: which tap a model runner takes, and the calls on it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import torch

from arpo_entropy_recorder.taps.resident import ATTRIBUTE
from arpo_entropy_recorder.taps.tap import Tap, Unsupported, kind_for


def tap_class(runner: Any) -> type[Tap]:
    """The tap for a model runner, by the vLLM class that it is or extends. Raises Unsupported.

    Every `runner_*.py` beside this file is looked at, so that a new one needs no entry.
    """
    for found in iter_modules([str(Path(__file__).parent)]):
        if found.name.startswith("runner_"):
            import_module(f"{__package__}.{found.name}")
    return kind_for(runner, Tap.__subclasses__())


def call_tap(worker: Any, method: str, *args: Any) -> Any:
    """Entry point of the host in a worker, as `LLM.collective_rpc(call_tap, args=(method, ...))`.

    `method` is `check` (make the tap; returns None, or why this engine cannot be tapped), `open`, `expect`,
    `close` or, in the same process, `buffer`.
    """
    runner = worker.model_runner
    if method == "check":
        try:
            kind = tap_class(runner)
            kind.check(runner)
        except Unsupported as error:
            return str(error)
        # One tap a runner: the recorder of this LLM takes the place of the one that waits for marked requests.
        if (resident := getattr(runner, ATTRIBUTE, None)) is not None:
            resident.detach()
        runner.entropy_tap = kind(runner)
        return None
    with torch.inference_mode(False):
        return getattr(runner.entropy_tap, method)(*args)


class EntropyWorkerExtension:
    """For engines in another process: the class that `LLM(worker_extension_cls=...)` names, by its full path.

    vLLM adds its methods to every worker, so the host reaches the tap by name and nothing is pickled.
    """

    def entropy_tap(self, method: str, *args: Any) -> Any:
        """See `call_tap`."""
        return call_tap(self, method, *args)
