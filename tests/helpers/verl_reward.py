"""A reward for verl's trainer, its own kind of reward manager, which keeps books of every trajectory that it sees."""

import json
import os

from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

START = "<|im_start|>"


def policy_mask(response, tokenizer):
    """Which of a response's tokens the policy wrote: not those from a message's start to the assistant's turn."""
    start = tokenizer.convert_tokens_to_ids(START)
    turn = tokenizer.encode(f"{START}assistant\n", add_special_tokens=False)
    mask, is_result = [], False
    for at, token in enumerate(response):
        is_result = is_result or token == start
        mask.append(int(not is_result))
        is_result = is_result and response[at - len(turn) + 1 : at + 1] != turn
    return mask


class BookkeepingReward(RewardManagerBase):
    """Rewards searches, so that trajectories of a group differ in it."""

    def __init__(self, config, tokenizer, compute_score, **router):
        super().__init__(config, tokenizer, compute_score)

    async def run_single(self, data):
        item = data[0]
        length = int(item.non_tensor_batch["response_len"])
        response = item.batch["responses"][:length].tolist()
        prompt = item.batch["prompts"][: int(item.non_tensor_batch["prompt_len"])].tolist()
        kept = item.non_tensor_batch
        row = {
            "prompt": prompt,
            "response": response,
            "mask": policy_mask(response, self.tokenizer),
            "uid": str(kept["uid"]),
            "step": int(kept["global_steps"]),
            "validate": str(kept["data_source"]) == "validation",
            "policy": kept["tool_extra_fields"]["min_global_steps"],
        }
        with open(os.environ["VERL_TEST_BOOKS"], "a") as file:
            file.write(json.dumps(row) + "\n")
        return {
            "reward_score": float(self.tokenizer.decode(response).count("<search>")),
            "reward_extra_info": {},
        }
