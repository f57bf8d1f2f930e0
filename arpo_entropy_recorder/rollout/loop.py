"""Our own tool loop: generates with vLLM until a tool is called, runs the tools, goes on; branches like ARPO's.

It measures any model without a training framework. The tests drive it, too: `segments` holds what the loop did,
independently of the recorder.
"""

from __future__ import annotations

import copy
import inspect
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from arpo_entropy_recorder.rollout.prompts import require_room
from arpo_entropy_recorder.rollout.sampling import own_params, shared_params, vocabulary_mask
from arpo_entropy_recorder.rollout.tools.calls import answer, as_result, called_content
from arpo_entropy_recorder.rollout.tools.tool import Tool
from arpo_entropy_recorder.step_files.values import unpadded


@dataclass
class Prompts:
    """A batch in the form of verl's DataProto: `batch["input_ids"]` is [rows, length], padded on the left."""

    batch: Mapping[str, Any]
    meta_info: dict[str, Any] = field(default_factory=dict)


@dataclass
class Rollout:
    """n responses per prompt, prompt by prompt: row i answers row `prompt_idx[i]` of the batch.

    A loss mask has a number for each response token: 1 written by the policy, 0 by a tool.
    """

    prompt_idx: list[int]
    responses: list[list[int]]
    loss_masks: list[list[int]]
    texts: list[str]
    meta_info: dict[str, Any]


@dataclass
class Segment:
    """What the policy wrote in one round of one trajectory, and after which tokens. Names as in the schema."""

    sample_idx: int
    prompt_idx: int
    parent_idx: int | None
    round: int
    tool: str | None
    is_after_tool_call: bool
    context: list[int]
    tokens: list[int]


@dataclass
class Trajectory:
    """A prompt and its response so far. `tokens` stays one list object, extended in place."""

    sample_idx: int
    prompt_idx: int
    tokens: list[int]
    prompt_length: int
    parent_idx: int | None = None
    round: int = 0
    calls: int = 0
    tool: str | None = None
    """The tool whose result the tokens end with."""
    is_live: bool = True
    loss_mask: list[int] = field(default_factory=list)

    def extend(self, tokens: Sequence[int], *, by_policy: bool) -> None:
        self.tokens.extend(tokens)
        self.loss_mask.extend([int(by_policy)] * len(tokens))


class ToolRollout:
    """Tool-calling rollouts on a vLLM engine.

    `tools` maps a tag to what answers `<tag>...</tag>`. `config` is anything with `.get`:

    - `n` responses per prompt (1), each of at most `response_length` tokens, tool results included (1024), and of
      at most `max_tool_calls` (5), run by `max_tool_workers` threads (16);
    - `temperature`, `top_p`, `top_k`, `min_p`, `seed`. With a seed every request has one of its own, and the
      output depends on nothing but config, prompts and the number of calls before. Without, a round's requests
      share one SamplingParams, as ARPO's do;
    - `segment_length`: the most tokens a request asks for; a segment cut short is continued in the next round;
    - ARPO's branching: `initial_rollouts` per prompt (n), then up to `beam_size` - 1 copies of each live
      trajectory per round (`beam_size` 1), each with `branch_probability` (0.5), up to n; a prompt with no live
      trajectory and less than n starts again.

    `progress(prompts_done, tool_calls, rounds)` is called after each round.
    """

    def __init__(
        self,
        inference_engine: Any,
        tokenizer: Any,
        config: Mapping[str, Any],
        tools: Mapping[str, Tool],
        progress: Callable[[int, int, int], None] | None = None,
    ) -> None:
        self.inference_engine, self.tokenizer, self.config = inference_engine, tokenizer, config
        self.tools, self.progress = dict(tools), progress
        self.stops = {f"</{tag}>": tag for tag in self.tools}
        self.segments: list[Segment] = []
        self.trajectories: list[Trajectory] = []
        self.metrics: Counter[str] = Counter()
        self._call = -1
        self._max_length = inference_engine.llm_engine.model_config.max_model_len
        self._mask = vocabulary_mask(inference_engine, tokenizer)
        # Before 0.10 vLLM takes token lists by a keyword of their own.
        parameters = inspect.signature(type(inference_engine).generate).parameters
        self._keyword = "prompt_token_ids" if "prompt_token_ids" in parameters else "prompts"

    def generate_sequences(self, prompts: Any, **kwargs: Any) -> Rollout:
        """Responses to `prompts` (verl's DataProto, or `Prompts`); `kwargs` override sampling options.

        With `do_sample` false in the batch's `meta_info` it is greedy, and then, as with `validate`, makes one
        response per prompt. Raises UserError for a prompt that is longer than the engine allows.
        """
        greedy = not prompts.meta_info.get("do_sample", True)
        n = 1 if greedy or prompts.meta_info.get("validate", False) else int(self.config.get("n", 1))
        self._call += 1
        self.segments, self.trajectories, self.metrics = [], [], Counter()
        sampling_params = shared_params(self.config, self._mask, list(self.stops), greedy, kwargs)
        rng = random.Random(f"{self.config.get('seed')}/{self._call}")
        padding = self.tokenizer.pad_token_id
        starts = [unpadded(row.tolist(), padding).tolist() for row in prompts.batch["input_ids"]]
        for prompt_idx, start in enumerate(starts):
            for _ in range(min(n, int(self.config.get("initial_rollouts", n)))):
                self._add(prompt_idx, start)

        active = list(self.trajectories)
        with ThreadPoolExecutor(int(self.config.get("max_tool_workers", 16))) as executor:
            while active:
                completions = self._generate(active, sampling_params)
                calling = [t for t, c in zip(active, completions, strict=True) if self._advance(t, c)]
                results = list(executor.map(self._answer, calling))
                for trajectory, result in zip(calling, results, strict=True):
                    self._append_result(trajectory, *result)
                live = [t for t in active if t.is_live and self._room(t) > 0]
                active = live + self._branch(live, starts, n, rng)
                self._report(len(starts) - len({t.prompt_idx for t in active}))
        return self._rollout()

    def _generate(self, active: list[Trajectory], sampling_params: Any) -> list[Any]:
        """One engine call; a completion (vLLM's CompletionOutput) for each active trajectory."""
        prompts: list[Any] = [trajectory.tokens for trajectory in active]
        if self._keyword == "prompts":
            prompts = [{"prompt_token_ids": tokens} for tokens in prompts]
        params = self._round_params(active, sampling_params)
        outputs = self.inference_engine.generate(
            **{self._keyword: prompts}, sampling_params=params, use_tqdm=False
        )
        self.metrics["tools/rounds"] += 1
        return [output.outputs[0] for output in outputs]

    def _advance(self, trajectory: Trajectory, completion: Any) -> bool:
        """Append the completion to its trajectory; True if it ends in a call of a tool that is allowed."""
        t, tokens = trajectory, list(completion.token_ids)
        is_after_tool_call = t.tool is not None
        lineage = (t.sample_idx, t.prompt_idx, t.parent_idx)
        self.segments.append(Segment(*lineage, t.round, t.tool, is_after_tool_call, list(t.tokens), tokens))
        t.extend(tokens, by_policy=True)
        tag = self.stops.get(completion.stop_reason) if completion.finish_reason == "stop" else None
        t.tool, t.is_live = tag, tag is not None or completion.finish_reason == "length"
        if tag is not None and t.calls == int(self.config.get("max_tool_calls", 5)):
            self.metrics["tools/call_limit_reached_count"] += 1
            t.is_live = False
        t.calls += tag is not None and t.is_live
        return tag is not None and t.is_live

    def _answer(self, trajectory: Trajectory) -> tuple[str, bool]:
        assert trajectory.tool is not None
        text = self.tokenizer.decode(trajectory.tokens[trajectory.prompt_length :])
        return answer(trajectory.tool, self.tools[trajectory.tool], called_content(text, trajectory.tool))

    def _append_result(self, trajectory: Trajectory, text: str, succeeded: bool) -> None:
        self.metrics["tools/total_calls"] += 1
        self.metrics["tools/successful_calls" if succeeded else "tools/failed_calls"] += 1
        trajectory.extend(self.tokenizer.encode(as_result(text), add_special_tokens=False), by_policy=False)
        trajectory.round += 1

    def _branch(
        self, live: list[Trajectory], starts: list[list[int]], n: int, rng: random.Random
    ) -> list[Trajectory]:
        """New trajectories for the prompts that have less than n: copies of live ones, else a new start."""
        count = Counter(trajectory.prompt_idx for trajectory in self.trajectories)
        beam_size = int(self.config.get("beam_size", 1))
        probability = float(self.config.get("branch_probability", 0.5))
        new = []
        for source in live:
            for _ in range(min(beam_size - 1, n - count[source.prompt_idx])):
                if rng.random() < probability:
                    new.append(self._add(source.prompt_idx, starts[source.prompt_idx], source))
                    count[source.prompt_idx] += 1
        resting = sorted(set(range(len(starts))) - {trajectory.prompt_idx for trajectory in live})
        new += [self._add(prompt_idx, starts[prompt_idx]) for prompt_idx in resting if count[prompt_idx] < n]
        return new

    def _add(self, prompt_idx: int, start: list[int], source: Trajectory | None = None) -> Trajectory:
        """A new trajectory from the prompt's start, or one that goes on from where `source` is."""
        sample_idx = len(self.trajectories)
        if source is None:
            require_room(prompt_idx, start, self._max_length)
            trajectory = Trajectory(sample_idx, prompt_idx, list(start), len(start))
        else:
            trajectory = copy.deepcopy(source)
            trajectory.sample_idx, trajectory.parent_idx = sample_idx, source.sample_idx
        self.trajectories.append(trajectory)
        return trajectory

    def _room(self, trajectory: Trajectory) -> int:
        """How many tokens the trajectory may still get."""
        response_length = int(self.config.get("response_length", 1024))
        length = len(trajectory.tokens)
        return min(response_length + trajectory.prompt_length, self._max_length) - length

    def _round_params(self, active: list[Trajectory], sampling_params: Any) -> Any:
        """The SamplingParams of each request, or without a seed the one that all share."""
        longest = int(self.config.get("segment_length") or self._max_length)
        rooms = [min(self._room(trajectory), longest) for trajectory in active]
        if (seed := self.config.get("seed")) is None:
            sampling_params.max_tokens = max(rooms)
            return sampling_params
        names = [f"{seed}/{self._call}/{t.sample_idx}/{len(t.tokens)}" for t in active]
        return [own_params(sampling_params, *request) for request in zip(rooms, names, strict=True)]

    def _report(self, prompts_done: int) -> None:
        if self.progress is not None:
            self.progress(prompts_done, self.metrics["tools/total_calls"], self.metrics["tools/rounds"])

    def _rollout(self) -> Rollout:
        length = int(self.config.get("response_length", 1024))
        ordered = sorted(self.trajectories, key=lambda trajectory: trajectory.prompt_idx)
        responses = [t.tokens[t.prompt_length :][:length] for t in ordered]
        return Rollout(
            prompt_idx=[t.prompt_idx for t in ordered],
            responses=responses,
            loss_masks=[t.loss_mask[:length] for t in ordered],
            texts=[self.tokenizer.decode(response) for response in responses],
            meta_info={"metrics": dict(self.metrics)},
        )
