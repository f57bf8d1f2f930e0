"""Start vLLM in this process, quietly, and with an error of one line where it fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from arpo_entropy_recorder.errors import UserError, shorten
from arpo_entropy_recorder.rollout.interrupt import held_interrupt
from arpo_entropy_recorder.rollout.model import check_model

# For the keys and values of a CPU's requests: 90,000 tokens of a model of 135 M parameters in float32.
CPU_CACHE_GIB = "4"


class EngineError(UserError):
    """vLLM did not start; its log may say more."""


def load_engine(model: str, options: dict[str, Any], verbose: bool) -> tuple[Any, Any]:
    """A vLLM `LLM` in this process, where its logits can be seen, and its tokenizer; `options` are its keywords.

    Nothing that vLLM logs is shown unless `verbose`. Raises UserError for what is no model, EngineError for one that
    does not start.
    """
    check_model(model, options)
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    if not verbose:
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        options = {"use_tqdm_on_load": False} | options
    try:
        with _quiet(not verbose), held_interrupt():
            from vllm import LLM
            from vllm.platforms import current_platform
    except ImportError as error:
        raise UserError(
            f"vllm cannot be imported ({error}); run record in the environment with your vLLM, or pip install vllm"
        ) from error
    if current_platform.is_cpu():
        # Between the chunks of a prompt the V1 engine rewinds a seeded request's generator, which torch cannot do
        # on a CPU.
        options = {"enable_chunked_prefill": False} | options
        # vLLM's own default, 92 % of the machine's memory, does not start where other processes need some. The
        # variable is what every version reads, and it would win over both options.
        if not options.keys() & {"gpu_memory_utilization", "kv_cache_memory_bytes"}:
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", CPU_CACHE_GIB)
    try:
        with _quiet(not verbose):
            engine = LLM(model=model, **options)
            tokenizer = engine.get_tokenizer()
    except Exception as error:
        if verbose:
            raise
        # The first of several lines often only counts the errors that follow.
        reason = shorten(" ".join(str(error).split()) or type(error).__name__, 300)
        raise EngineError(f"{model}: vLLM does not start: {reason}") from error
    runner = getattr(engine.llm_engine.model_config, "runner_type", "generate")
    if runner != "generate":
        raise UserError(
            f"{model}: vLLM starts it as a {runner} model, which writes no text; give one that does"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = tokenizer.eos_token_id
    return engine, tokenizer


@contextmanager
def _quiet(enabled: bool) -> Iterator[None]:
    """Discard output, at the file descriptors: libraries below Python write to them directly."""
    if not enabled:
        yield
        return
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for target, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, target)
            os.close(descriptor)
