"""What the loops of ATPO and APPO say of their segments, read from their own variables while they run.

ATPO's `sync_with_tool_tree` keeps a tree of nodes: a node with a tool's result in it goes on from its parent, any
other is a new branch. APPO branches amid its finished responses, static (in the same call) or dynamic (in a
request of its own, made by the trainer's function from the first call's output). None of their code is here.
"""

import sys
import types


def variables_of(function):
    """The local variables of the innermost running call of `function`; None if there is none."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == function:
            return frame.f_locals
        frame = frame.f_back
    return None


def truth(sample, row, parent, results, length, midway=False):
    """`results` are the ends and tools of the results so far; what was cut within one comes after it."""
    after = bool(results) and results[-1][0] >= length
    return {
        "sample_idx": sample, "prompt_idx": row, "parent_idx": parent, "round": len(results),
        "is_after_tool_call": after, "tool": results[-1][1] if after else None, "mid_start": midway,
    }  # fmt: skip


class Tree:
    """ATPO's nodes as trajectories."""

    def __init__(self, _=None):
        # By node: its trajectory, and its results as (end, tool). By trajectory: its parent, and how much it shares.
        self.known, self.parents, self.stops = {}, [], {}

    def before(self):
        nodes, outer = variables_of("_generate_for_nodes")["nodes"], variables_of("generate_sequences")
        sources = dict(
            zip(map(id, outer.get("new_branches", ())), outer.get("expansion_nodes", ()), strict=True)
        )
        for node in nodes:
            if id(node) not in self.known:
                self.known[id(node)] = node, *self.place(node, sources.get(id(node)))
        segments = []
        for node in nodes:
            _, trajectory, results = self.known[id(node)]
            row = int(node.node_uid.split("_")[1])
            segments.append(
                truth(trajectory, row, self.parents[trajectory][0], results, len(node.curr_token_ids))
            )
        self.nodes = nodes
        return segments

    def place(self, node, source):
        length, parent = len(node.curr_token_ids), node.parent_node
        if "_tool" in node.node_uid.removeprefix(parent.node_uid):
            _, trajectory, results = self.known[id(parent)]
            return trajectory, [*results, (length, self.stops[id(parent)])]
        results, branched_from = [], None
        if source is not None and id(source) in self.known and length > len(node.prompt_token_ids):
            _, branched_from, results = self.known[id(source)]
            while length <= self.parents[branched_from][1]:
                branched_from = self.parents[branched_from][0]
        self.parents.append((branched_from, length))
        return len(self.parents) - 1, [result for result in results if result[0] <= length]

    def after(self, outputs):
        for node, output in zip(self.nodes, outputs, strict=True):
            self.stops[id(node)] = str(output.outputs[0].stop_reason).strip("</>")


class Appo:
    """APPO's rollouts, in the order of its lists; branches come behind them."""

    def __init__(self, first_call=None):
        # The first call's loss masks and tools, where this one is its request for branches.
        self.first_call = first_call
        self.tools, self.counted, self.active = {}, {}, None

    def before(self):
        static = variables_of("_appo_branch_after_rollout")
        variables = (
            static or variables_of("_generate_appo_selected_branches") or variables_of("generate_sequences")
        )
        if static is not None:
            first = len(static["completed_rollouts"])
            masks = variables_of("generate_sequences")["result_masks"]
            self.active = None
            return [
                self.cut(
                    first + i,
                    meta["orig_sample"],
                    meta["orig_rollout_idx"],
                    masks[meta["orig_rollout_idx"]],
                    meta,
                )
                for i, meta in enumerate(static["branch_meta"])
            ]
        self.active = variables["active_indices"]
        if "prefix_ids_list" in variables:
            return [self.dynamic(i, variables) for i in self.active]
        rows = {slot: row for row, slots in variables["sample_to_indices"].items() for slot in slots}
        return [
            truth(slot, rows[slot], None, self.results(slot, variables["result_masks"][slot]),
                  len(variables["result_masks"][slot]))
            for slot in self.active
        ]  # fmt: skip

    def results(self, slot, mask):
        ends = [i + 1 for i, value in enumerate(mask) if not value and (i + 1 == len(mask) or mask[i + 1])]
        return list(zip(ends, self.tools.get(slot, []), strict=False))

    def cut(self, slot, row, source, mask, meta):
        length = meta["branch_token_response_idx"] + 1
        # A result that the cut goes through has begun.
        results = self.results(source, mask)
        begun = sum(end < length for end, _ in results) + (mask[length - 1] == 0)
        return truth(slot, row, source, results[:begun], length)

    def dynamic(self, slot, variables):
        request = variables["prompts"].non_tensor_batch
        masks, tools = self.first_call
        source = int(request["appo_orig_batch_row_idx"][slot])
        prefix = masks[source][: int(request["appo_branch_token_response_idx"][slot]) + 1]
        mine = Appo()
        mine.tools = {0: tools[source]}
        results = mine.results(0, prefix)
        added = self.tools.get(slot, [])
        length = len(variables["curr_inputs"][slot]) - len(variables["prompt_ids_list"][slot])
        ends = self.counted.setdefault(slot, [])
        if len(ends) < len(added):
            ends.append(length)
        return truth(slot, slot, None, results + list(zip(ends, added, strict=True)), length, midway=True)

    def after(self, outputs):
        for slot, output in zip(self.active or (), outputs if self.active else (), strict=True):
            reason = output.outputs[0].stop_reason
            if isinstance(reason, str):
                self.tools.setdefault(slot, []).append(reason.strip("</>"))


def prepare_atpo(rollout_module):
    """Give its class the rewards that it wants of the trainer, all zero, and its tools' results in a sure order."""
    import torch

    # In the order of the requests: that of their ends is another each time, and with it what is sampled.
    rollout_module.concurrent.futures.as_completed = list
    rollout_module.load_reward_manager = lambda *args, **kwargs: None
    rollout_module.compute_reward = lambda data, reward_fn: (torch.zeros(data.batch["responses"].shape), {})


def lend_appo_its_prompt():
    """APPO's tree imports the text that it puts into prompts from a package that it lacks."""
    module = types.ModuleType("cognitive_pipeline.config")
    module.COGNITIVE_SYSTEM_PROMPT_ADDON = " Think well."
    sys.modules |= {"cognitive_pipeline": types.ModuleType("cognitive_pipeline"), module.__name__: module}


ATPO_OPTIONS = {
    "mode": "sync_with_tool_tree", "initial_rollouts": 2, "samples_per_tree": 4, "beam_size": 2, "n": 4,
    "expansion_mode": "entropy", "expansion_iterations": 3, "enable_dynamic_rollouts": False, "reward_model": {},
    "use_kl_in_reward": False, "kl_penalty": "kl", "adv_estimator": "grpo", "gamma": 1.0, "lam": 1.0,
    "norm_adv_by_std_in_grpo": True, "leaf_value_norm": False, "node_value_mode": "leaf_mean",
    "node_adv_mode": "node_value",
}  # fmt: skip


def branch_request(tokenizer, output, branches):
    """The trainer's own request for branches, made from a first call's output; None if nothing can branch."""
    import numpy as np
    from verl.trainer.ppo.ray_trainer import build_appo_branch_request

    output.batch["old_log_probs"] = output.batch["rollout_log_probs"] * 1.1
    output.non_tensor_batch["uid"] = np.array([str(i // 2) for i in range(len(output.batch))], dtype=object)
    return build_appo_branch_request(output, tokenizer, branches, gamma=1.0, clip_eps=0.2)
