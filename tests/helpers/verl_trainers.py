"""How verl 0.9.1's trainers give work to an agent loop worker: what `verl_job.py` does in their place.

Each has `worker(config, client)`, a worker of the class that the trainer uses, and `generate(worker, server, step,
validate, questions, n)`, which returns rows as those of kept.py.
"""

import asyncio
import types


def rows_for(questions, n, validate):
    """The question of each row; a validation is filled up to a multiple of verl's workers."""
    rows = sorted(list(range(len(questions))) * n)
    return rows + rows[:validate]


class Ordinary:
    """One batch with a row for each trajectory."""

    folder, config = "trainer/config", "ppo_trainer"

    def worker(self, config, client):
        from verl.experimental.agent_loop import agent_loop

        return agent_loop.AgentLoopWorker(config, client)

    def generate(self, worker, server, step, validate, questions, n):
        from given import batch_of
        from kept import rows_of

        rows = rows_for(questions, n, validate)
        batch = batch_of(questions, rows, step, validate, agent_name=["tool_agent"] * len(rows))
        return rows_of(asyncio.run(worker.generate_sequences(batch)), step, validate)


class FullyAsync(Ordinary):
    """A batch for each prompt, without a step; a validation has a count of samples in its place."""

    folder, config = "experimental/fully_async_policy/config", "fully_async_ppo_trainer"

    def generate(self, worker, server, step, validate, questions, n):
        from given import batch_of
        from kept import rows_of

        rows = rows_for(questions, n, validate)
        if validate:
            # Of the weights that the step has made.
            server.version = step
            parts = [rows]
        else:
            parts = [[row for row in rows if row == i] for i in range(len(questions))]
        batches = [
            batch_of(questions, part, 1000 + step, validate, agent_name=["tool_agent"] * len(part))
            for part in parts
        ]
        for batch in batches:
            if not validate:
                del batch.meta_info["global_steps"]

        async def all_at_once():
            return await asyncio.gather(*(worker.generate_sequences(batch) for batch in batches))

        return [row for output in asyncio.run(all_at_once()) for row in rows_of(output, step, validate)]


class TransferQueue(Ordinary):
    """A row for each prompt; its trajectories, as many as the row asks for, are put into a queue as they end."""

    def __init__(self):
        self.put = []

    def worker(self, config, client):
        from verl.trainer.ppo.v1 import agent_loop_tq

        async def async_kv_put(key, partition_id, tag):
            pass

        async def async_kv_batch_put(keys, fields, tags, partition_id):
            self.put += [fields[i] for i in range(len(keys))]

        agent_loop_tq.tq = types.SimpleNamespace(
            init=lambda: None, async_kv_put=async_kv_put, async_kv_batch_put=async_kv_batch_put
        )
        return agent_loop_tq.AgentLoopWorkerTQ.__ray_metadata__.modified_class(config, client)

    def generate(self, worker, server, step, validate, questions, n):
        from given import batch_of
        from verl.utils import tensordict_utils

        each = {"agent_name": "tool_agent", "__rollout_n__": n + validate}
        columns = {name: [value] * len(questions) for name, value in each.items()}
        rows = list(range(len(questions)))
        batch = tensordict_utils.get_tensordict(
            batch_of(questions, rows, step, validate, **columns).non_tensor_batch
        )
        tensordict_utils.assign_non_tensor_data(batch, "global_steps", step)
        tensordict_utils.assign_non_tensor_data(batch, "validate", validate)
        self.put = []

        async def run():
            await worker.generate_sequences(batch)
            await asyncio.gather(*worker.background_tasks)

        asyncio.run(run())
        return [
            {
                "step": step,
                "validate": validate,
                "prompt": field["prompts"].tolist(),
                "response": field["responses"].tolist(),
                "mask": field["response_mask"].tolist(),
            }
            for field in self.put
        ]


TRAINERS = {"ordinary": Ordinary, "transfer_queue": TransferQueue, "fully_async": FullyAsync}
