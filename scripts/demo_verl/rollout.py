"""A short rollout of stock verl on a CPU: its agent loop, tool loop and vLLM server, with the toy agent.

    ARPO_ENTROPY_DIR=demo-verl/entropies python scripts/demo_verl/rollout.py demo-verl --steps 2

Two agent loop workers and one server are made, which are Ray actors as in `verl.trainer.main_ppo`. The training, for
which verl wants a GPU, is left out. Nothing here names the recorder.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from given import PROMPTS, RESPONSES, ROLLOUT, batch_of, compose_config
from kept import rows_of


def make_config(model: Path, n: int, overrides: list[str]) -> Any:
    """verl's own configuration with what a CPU and the toy agent need."""
    rollout = ROLLOUT | {
        "n": n,
        "load_format": "auto",
        "prompt_length": PROMPTS,
        "response_length": RESPONSES,
    }
    return compose_config(
        [
            f"actor_rollout_ref.model.path={model}",
            *(f"actor_rollout_ref.rollout.{key}={value}" for key, value in rollout.items()),
            # vLLM's CPU build has no sleep mode.
            "+actor_rollout_ref.rollout.enable_sleep_mode=False",
            f"data.max_prompt_length={PROMPTS}",
            f"data.max_response_length={RESPONSES}",
            "trainer.n_gpus_per_node=1",
            "trainer.device=cpu",
            *overrides,
        ]
    )


def start_server(config: Any) -> Any:
    """verl's vLLM server as an actor, without a GPU."""
    import ray
    from verl.workers.rollout.replica import RolloutMode
    from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer

    server = (
        ray.remote(vLLMHttpServer)
        .options(max_concurrency=100, num_cpus=1)
        .remote(
            config=config.actor_rollout_ref.rollout,
            model_config=config.actor_rollout_ref.model,
            rollout_mode=RolloutMode.STANDALONE,
            workers=[],
            replica_rank=0,
            node_rank=0,
            gpus_per_node=config.actor_rollout_ref.rollout.tensor_model_parallel_size,
            nnodes=1,
            cuda_visible_devices="",
        )
    )
    ray.get(server.launch_server.remote())
    return server


def main() -> None:
    """Roll out, and log each step as a trainer does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the toy agent goes")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--n", type=int, default=3, help="trajectories a prompt")
    parser.add_argument("--validate", action="store_true", help="a validation after the last step")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of verl's configuration"
    )
    arguments = parser.parse_args()

    import ray
    from verl.experimental.agent_loop import AgentLoopManager
    from verl.trainer.constants_ppo import get_ppo_ray_runtime_env
    from verl.utils.tracking import Tracking
    from verl.workers.rollout.llm_server import GlobalRequestLoadBalancer, LLMServerClient

    from arpo_entropy_recorder.rollout.toy_agent import TOY_PROMPTS, build_toy_agent

    model = arguments.folder.resolve() / "toy-agent"
    if not (model / "config.json").exists():
        build_toy_agent(model)
    config = make_config(model, arguments.n, arguments.set)
    runtime_env = get_ppo_ray_runtime_env()
    runtime_env["env_vars"] |= {
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }
    ray.init(
        num_cpus=16,
        num_gpus=0,
        include_dashboard=False,
        object_store_memory=150_000_000,
        runtime_env=runtime_env,
    )
    started = time.monotonic()
    server = start_server(config)
    print(f"verl's vLLM server is up after {time.monotonic() - started:.0f} s", flush=True)
    balancer = ray.remote(GlobalRequestLoadBalancer).remote({"server": server})
    manager = AgentLoopManager.create(config, LLMServerClient(config, balancer))
    tracking = Tracking("demo", "verl", ["console"])
    prompts = list(TOY_PROMPTS[: arguments.prompts])
    each = list(range(len(prompts)))
    rows: list[dict[str, Any]] = []
    for step in range(1, arguments.steps + 1):
        ray.get(server.set_global_steps.remote(step - 1))
        output = manager.generate_sequences(batch_of(prompts, sorted(each * arguments.n), step, False))
        rows += rows_of(output, step, False)
        if arguments.validate and step == arguments.steps:
            output = manager.generate_sequences(batch_of(prompts, each, step, True))
            rows += rows_of(output, step, True)
        tracking.log({"training/global_step": step}, step)
    (arguments.folder / "books.json").write_text(json.dumps({"rows": rows}))
    ray.kill(server)
    tracking.finish()
    ray.shutdown()


if __name__ == "__main__":
    main()
