"""Recording without a patch: `actor_rollout_ref.model.external_lib=arpo_entropy_recorder.verl`.

verl's workers import that module before they build their rollout; on import it puts the recording class where
`fsdp_workers.py` will look for ARPO's. A fork that has its rollout elsewhere names it in the environment, as
`ARPO_ENTROPY_ROLLOUT=module:Class` (several with commas between them).

The trainer is untouched, so the step is not passed: the recorder counts its own training calls.

In verl 0.6 to 0.9 rollouts run in servers, and there is no such class. There the module, which
VERL_USE_EXTERNAL_MODULES has every process import, puts hooks on verl's agent loop (`live/verl`) and never raises.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import re
import sys
from pathlib import Path

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.mixin import record_entropy

logger = logging.getLogger(__name__)
ROLLOUT = "verl.workers.rollout.vllm_rollout.vllm_rollout_with_tools:vLLMRolloutWithTools"


def swap_in(places: str) -> list[type]:
    """Replace every class named in `places` ("module:Class,...") by its recording subclass, and return those.

    Also in the module's package, which re-exports verl's rollout classes. A class that already records stays as
    it is. Raises UserError if a module or a class is missing, or if the class looks itself up by its name.
    """
    recording = []
    for place in places.split(","):
        module_name, _, class_name = place.strip().partition(":")
        try:
            module = importlib.import_module(module_name)
            original = getattr(module, class_name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(
                f"arpo_entropy_recorder.verl: no rollout class {place.strip()!r} ({error}); "
                "name yours as ARPO_ENTROPY_ROLLOUT=module:Class"
            ) from error
        if _names_itself(original):
            raise UserError(
                f"arpo_entropy_recorder.verl: {place.strip()} calls super({class_name}, self), which would find the "
                "recording class under that name and recurse forever; use scripts/apply_patch.sh instead"
            )
        cls = record_entropy(original)
        package = sys.modules.get(module_name.rpartition(".")[0])
        for holder in (module, package):
            if getattr(holder, class_name, None) is original:
                setattr(holder, class_name, cls)
        recording.append(cls)
    return recording


def _names_itself(cls: type) -> bool:
    """Whether its methods look it up by its name in the module, as `super(Name, self)` does."""
    try:
        source = inspect.getsource(cls)
    except (OSError, TypeError):
        return False
    return re.search(rf"\bsuper\(\s*{cls.__name__}\s*,", source) is not None


def agent_loop_version() -> tuple[int, int] | None:
    """The version of the verl that is imported if its rollouts are an agent loop's; None for ARPO's and older."""
    verl = sys.modules.get("verl")
    found = re.match(r"(\d+)\.(\d+)", str(getattr(verl, "__version__", "")))
    if verl is None or found is None or os.environ.get("ARPO_ENTROPY_ROLLOUT"):
        return None
    own_class = ROLLOUT.partition(":")[0].partition(".")[2].replace(".", "/") + ".py"
    if any((Path(folder) / own_class).exists() for folder in verl.__path__):
        return None
    version = int(found[1]), int(found[2])
    return version if version >= (0, 5) else None


def start() -> None:
    """Record in the way that this process's verl asks for."""
    version = agent_loop_version()
    if version is None:
        swap_in(os.environ.get("ARPO_ENTROPY_ROLLOUT", ROLLOUT))
    elif version < (0, 6):
        logger.warning(
            "entropy recorder: not recording: verl %d.%d's agent loop has no place for it; use verl 0.6.1 or later",
            *version,
        )
    else:
        importlib.import_module("arpo_entropy_recorder.live.verl.plugin")


start()
