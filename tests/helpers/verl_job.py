"""A short job of verl's real agent loop, as a script: its worker, loops, parsers, client and tracking.

    python verl_job.py '{"out": ..., "model": ..., ...}'

Two training steps and a validation against a stand-in server. Writes what the loop gave back to <out>/books.json,
from which a test tells what must have been recorded. All is in one process and without a Ray cluster, so that it
takes seconds: what verl asks of an actor's handle is answered by the object itself (`Local`).
"""

import inspect
import json
import sys
import types
from pathlib import Path

from ray.exceptions import RayActorError

HERE = Path(__file__).resolve().parent
TOOLS = HERE.parents[1] / "scripts" / "demo_verl"
# The version that requirements/verl.txt installs.
INSTALLED = "0.9.1"
RENAMED = {"AutoModelForVision2Seq": "AutoModelForImageTextToText"}
OPTIONS = {
    "trainer": "ordinary",
    "aborts": 0.0,
    "window": 1,
    "silent": False,
    "n": 2,
    "overrides": [],
    "kill": None,
    "secret": "",
}


def version():
    import verl

    return tuple(map(int, verl.__version__.split(".")[:2]))


def make_config(options, trainer):
    from given import compose_config

    overrides = [
        "actor_rollout_ref.rollout.name=vllm",
        "actor_rollout_ref.rollout.tensor_model_parallel_size=1",
        "actor_rollout_ref.rollout.free_cache_engine=False",
        "actor_rollout_ref.rollout.dtype=float32",
        "data.max_prompt_length=96",
        "data.max_response_length=256",
        "actor_rollout_ref.rollout.prompt_length=96",
        "actor_rollout_ref.rollout.response_length=256",
        f"actor_rollout_ref.model.path={options['model']}",
        "actor_rollout_ref.rollout.agent.num_workers=2",
        "actor_rollout_ref.rollout.multi_turn.enable=True",
        "actor_rollout_ref.rollout.multi_turn.format=toy",
        "actor_rollout_ref.rollout.multi_turn.max_assistant_turns=6",
        f"actor_rollout_ref.rollout.n={options['n']}",
        "trainer.n_gpus_per_node=1",
        "trainer.device=cpu",
        *options["overrides"],
    ]
    if version() >= (0, 8):
        overrides.append(f"actor_rollout_ref.rollout.multi_turn.function_tool_path={TOOLS / 'toy_tools.py'}")
    else:
        overrides += old_tools(options)
    return compose_config(overrides, trainer.folder, trainer.config)


def old_tools(options):
    """Before verl 0.8 YAML files name tools and loops."""
    query = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
    tools = [
        {
            "class_name": "toy_tools.ToyTool",
            "config": {"type": "native"},
            "tool_schema": {
                "type": "function",
                "function": {"name": n, "description": n, "parameters": query},
            },
        }
        for n in ("search", "python")
    ]
    out = Path(options["out"])
    (out / "tools.yaml").write_text(json.dumps({"tools": tools}))
    (out / "loops.yaml").write_text(json.dumps([{"name": "tool_agent", "_target_": "toy_tools.ToyLoop"}]))
    return [
        f"actor_rollout_ref.rollout.multi_turn.tool_config_path={out / 'tools.yaml'}",
        f"actor_rollout_ref.rollout.agent.agent_loop_config_path={out / 'loops.yaml'}",
    ]


class Answer:
    """What a call of an actor gives: may be awaited, or fetched by ray.get."""

    def __init__(self, action, is_dead=lambda: False):
        self.action, self.is_dead = action, is_dead

    def __await__(self):
        result = self.action()
        if inspect.isawaitable(result):
            result = yield from result.__await__()
        return result


class Local:
    """An actor's handle, of an object in this process."""

    def __init__(self, target):
        self.target = target

    def __getattr__(self, name):
        method = getattr(self.target, name, lambda *args: None)

        def remote(*args, **kwargs):
            done = [] if inspect.iscoroutinefunction(method) else [method(*args, **kwargs)]
            return Answer(lambda: done[0] if done else method(*args, **kwargs), lambda: self.target is None)

        return type("Method", (), {"remote": staticmethod(remote)})()


class Balancer:
    """Of one server."""

    def __init__(self, server):
        self.server = "server" if version() < (0, 8) else ("server", server)

    def acquire_server(self, request_id, **fields):
        return self.server

    def release_server(self, server_id, **fields):
        pass

    def require_acquire_fields(self):
        return []

    require_release_fields = require_acquire_fields


class Reward:
    """In the place of the reward worker of verl 0.6, an actor's class."""

    @classmethod
    def options(cls, **options):
        return cls

    @staticmethod
    def remote(*args):
        return Local(Reward())

    def compute_score(self, data):
        return {"reward_score": 0.0, "reward_extra_info": {}}


def one_process():
    """Let the recorder and verl find their actors in this process; returns the collector."""
    import ray

    from arpo_entropy_recorder.live.verl import actor, loop

    collector = Local(None)

    def get(answer, timeout=None):
        if answer.is_dead():
            raise RayActorError
        return answer.action()

    ray.get, ray.is_initialized = get, lambda: True
    ray.get_runtime_context = lambda: types.SimpleNamespace(get_node_id=lambda: "0" * 56)
    loop._worker_number = lambda: 0
    actor._address = actor.new_local_address

    class Options:
        def options(self, **options):
            assert options["name"] == actor.NAME
            return self

        def remote(self):
            if collector.target is None:
                collector.target = actor.CollectorActor()
            return collector

    real = ray.remote
    ray.remote = lambda *args, **kwargs: (
        Options() if args == (actor.CollectorActor,) else real(*args, **kwargs)
    )
    return collector


def make_worker(config, server, options, trainer):
    """An agent loop worker of this version's own class, outside of an actor."""
    if version() < (0, 7):
        import transformers

        # A name that transformers had then, and a template that gave a list.
        lazy, get = type(transformers), type(transformers).__getattr__
        tokenizer = transformers.PreTrainedTokenizerBase
        template = tokenizer.apply_chat_template
        tokenizer.apply_chat_template = lambda *args, **kwargs: template(*args, **kwargs, return_dict=False)
        lazy.__getattr__ = lambda module, name: get(module, RENAMED.get(name, name))
    from verl.experimental.agent_loop import agent_loop

    balancer = Local(Balancer(server))
    if version() >= (0, 8):
        from verl.workers.rollout import llm_server

        client = llm_server.FullyAsyncLLMServerClient if options["aborts"] else llm_server.LLMServerClient
        return trainer.worker(config, client(config, balancer))
    if version() >= (0, 7):
        return agent_loop.AgentLoopWorker(config, [("server", server)], balancer)
    # Its reward worker is an actor of its own.
    agent_loop.RewardManagerWorker = Reward
    return agent_loop.AgentLoopWorkerBase(config, [server])


def main(options):
    from verl.trainer.constants_ppo import get_ppo_ray_runtime_env
    from verl.utils.tracking import Tracking
    from verl_stand_in import StandInServer
    from verl_trainers import TRAINERS

    handed_on = get_ppo_ray_runtime_env()["env_vars"]
    collector = one_process()
    trainer = TRAINERS[options["trainer"]]()
    config = make_config(options, trainer)
    server = StandInServer(options["model"], options["window"], options["aborts"], options["silent"])
    worker = make_worker(config, Local(server), options, trainer)
    tracking = Tracking("project", "experiment", ["console"])
    logged, rows = {}, []
    questions = [f"question {i} {options['secret']}" for i in range(3)]
    tracking.logger["console"] = type(
        "Kept", (), {"log": lambda _, data, step: logged.update({str(step): data})}
    )()
    for step in (1, 2):
        server.version = step - 1
        rows += trainer.generate(worker, server, step, False, questions, options["n"])
        if step == 2:
            rows += trainer.generate(worker, server, step, True, questions, 1)
        if options["kill"] == step:
            collector.target = None
        tracking.log({"training/global_step": step, "loss": 0.5}, step)
    result = {
        "version": version(),
        "rows": rows,
        "logged": logged,
        "handed_on": sorted(handed_on),
        "server": server.counts(),
    }
    Path(options["out"], "books.json").write_text(json.dumps(result, default=float))


if __name__ == "__main__":
    sys.path[:0] = [str(HERE), str(TOOLS)]
    main({**OPTIONS, **json.loads(sys.argv[1])})
