"""What a call of vLLM's `LLM.generate` asks for, in the forms that it takes token ids in."""

from __future__ import annotations

from typing import Any


def generate_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[list[int]], int]:
    """The token lists and the number of completions per prompt of an `LLM.generate(*args, **kwargs)` call.

    A list is returned as the caller's own object. Raises TypeError for prompts without tokens.
    """
    prompts = kwargs.get("prompt_token_ids")
    if prompts is None and len(args) > 2 and isinstance(args[2], list):
        prompts = args[2]  # until vLLM 0.10, `prompt_token_ids` was the third argument
    if prompts is None:
        prompts = kwargs["prompts"] if "prompts" in kwargs else args[0]
    if isinstance(prompts, (dict, str)) or (len(prompts) and isinstance(prompts[0], int)):
        prompts = [prompts]
    params = kwargs.get("sampling_params", args[1] if len(args) > 1 else None)
    completions = {getattr(p, "n", 1) for p in (params if isinstance(params, (list, tuple)) else [params])}
    if len(completions) > 1:
        raise TypeError("one generate call asks for different numbers of completions per prompt")
    return [_token_list(prompt) for prompt in prompts], completions.pop()


def _token_list(prompt: Any) -> list[int]:
    tokens = prompt.get("prompt_token_ids") if isinstance(prompt, dict) else prompt
    if tokens is None or isinstance(tokens, str):
        raise TypeError(
            "a prompt was passed to generate as text; trajectories are followed by their token ids"
        )
    # Slicing refuses an iterator, whose items have to be left for the engine.
    return tokens if isinstance(tokens, list) else [int(token) for token in tokens[:]]
