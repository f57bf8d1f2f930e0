"""ARPO's own launch scripts, filled in as a user does and made fit for a CPU, and what they print.

For train.py and for the tests of the trainer (tests/helpers/arpo_training.py). What verl takes for granted of a GPU
is patched in trainer_on_cpu. None of ARPO's code is here: it is copied from a clone.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
GPUS = 2  # data-parallel workers

WITHOUT_GPU = (
    "++actor_rollout_ref.rollout.tools.fail_on_error=True",
    # No flash-attention, and with it no padding removed.
    "actor_rollout_ref.model.use_remove_padding=False",
    "actor_rollout_ref.actor.use_dynamic_bsz=False",
    "++actor_rollout_ref.rollout.dtype=float32",
    "++actor_rollout_ref.actor.fsdp_config.mixed_precision={param_dtype:fp32,reduce_dtype:fp32,buffer_dtype:fp32}",
    "trainer.logger=[console]",
    "++ray_init.num_cpus=8",
)
"""Settings that a training on a CPU needs, whatever its size."""


def fill_in(script: str, home: Path, values: Mapping[str, object], overrides: Sequence[str]) -> str:
    """The text of a launch script with `values` for its variables and Hydra's `overrides` as its last options.

    `home` is the directory of the clone that holds the script. TRAINER_OPTIONS in the environment adds further ones.
    Raises ValueError where a line is not as expected.
    """
    values = {"N_GPUS_PER_NODE": GPUS, "WANDB_API_KEY": ""} | dict(values)
    for name, value in values.items():
        quoted = shlex.quote(str(value)) if value != "" else ""
        script, found = re.subn(
            rf"(?m)^((?:export )?{name}=)\S*", lambda match, text=quoted: match[1] + text, script
        )
        if found != 1:
            raise ValueError(f"the launch script sets {name} {found} times, not once")
    # Some lead to where their authors train.
    script, found = re.subn(r"(?m)^(export PYTHONPATH=)\S*(/verl_\w+)", rf"\g<1>{home}\g<2>", script)
    if found != 1:
        raise ValueError(f"the launch script sets PYTHONPATH {found} times, not once")
    script = script.replace("<your_path_to_ARPO>", str(home))
    # As docs/arpo.md says of configurations that lack the key.
    name = re.search(r'(?m)^CONFIG_NAME="(.*)"', script)
    if name and "entropy_weight" not in (home / "scripts" / "config" / name[1]).read_text():
        script = script.replace(
            " actor_rollout_ref.rollout.entropy_w", " ++actor_rollout_ref.rollout.entropy_w"
        )
    after = "    trainer.rollout_data_dir=${ROLLOUT_SAVE_PATH} \\\n"  # where the README says to add lines
    if script.count(after) != 1:
        raise ValueError("the launch script has no line trainer.rollout_data_dir=${ROLLOUT_SAVE_PATH} \\")
    added = [*map(shlex.quote, overrides), "${TRAINER_OPTIONS}"]
    return script.replace(after, after + "".join(f"    {option} \\\n" for option in added))


def lay_out(
    clone: Path, variant: str, script: str, work: Path, values: Mapping[str, object], overrides: Sequence[str]
) -> None:
    """Copy ARPO or AEPO, the clone's `variant`, to work/clone with its launch script filled in: work/launch.sh."""
    home = work / "clone" / variant
    shutil.copytree(clone / variant, home, ignore=shutil.ignore_patterns(".git", "__pycache__"))
    path = home / "scripts" / script
    path.write_text(fill_in(path.read_text(), home, values, overrides))
    (work / "launch.sh").symlink_to(path)


def environment(temp: str, options: Sequence[str], paths: Sequence[Path]) -> dict[str, str]:
    """The environment of a launch script: `temp` for Ray's sockets, a short path; Hydra's `options`; Python `paths`.

    Everything listens on loopback, and a worker has one thread.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ARPO_", "VLLM_"))}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": ":".join(map(str, (HERE / "trainer_on_cpu", *paths, HERE.parents[1]))),
        "TRAINER_GPUS": str(GPUS),
        "TRAINER_TEMP": temp,
        "TRAINER_OPTIONS": " ".join(options),
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        # Leaves the one thread where the system puts it: a list of cores would tie both workers to the same ones.
        "VLLM_CPU_OMP_THREADS_BIND": "all",
        "VLLM_HOST_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
    }


def metrics(log: str) -> dict[int, dict[str, str]]:
    """By step, the metrics of a console log as they are printed."""
    lines = re.findall(r"step:(\d+) - (.*)", log)
    return {int(step): dict(re.findall(r"(\S+):(-?[\d.a-z]+)(?: - |$)", rest)) for step, rest in lines}
