"""What a step file holds: the one place where its keys are defined.

A step file `entropy_step_<global_step>.json` is a JSON list of flat objects, one *record* for each segment
that the policy generated, taken at the segment's first token. Recorder, reader and figures know nothing of
one another and meet here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# The tags of ARPO's prompt template: a tool's result, and those that the policy closes without calling a tool.
RESULT_TAG = "result"
NO_TOOLS = frozenset({"think", "answer"})
# Tokens of a segment whose log-probabilities ARPO's and AEPO's loops read.
READ_TOKENS = 20
# The guide's mark of a high normalised entropy after a tool result.
HIGH_ENTROPY = 0.6


NULL = type(None)
# Range of each number: ids and counts are int64 from 0 on, a float is a normalised entropy unless a field says more.
MAX_INT = 2**63 - 1
MIN_FLOAT, MAX_FLOAT = 0.0, 1.0


@dataclass(frozen=True)
class Field:
    """All that is known of one key of a record. Encoding, decoding, export and documentation derive from it.

    `types` are the JSON types allowed, `items` those of a list's elements. `required` keys are fixed by the
    guide and must be there; every other key may be missing, and a reader ignores keys that it does not know.
    `absent` is what a flag means where its key is missing; a flag with this value is not written. `highest` is the
    largest value of a float.
    """

    name: str
    types: tuple[type, ...]
    meaning: str
    required: bool = False
    absent: bool | None = None
    items: tuple[type, ...] = ()
    highest: float = MAX_FLOAT

    @property
    def kind(self) -> type:
        """The type of a value, or of a list's elements: bool, int, float or str."""
        types = self.items or self.types
        return next(kind for kind in (float, bool, int, str) if kind in types)

    @property
    def nullable(self) -> bool:
        """True if a record may say null."""
        return NULL in self.types

    def accepts(self, value: Any) -> bool:
        """True if `value`, as parsed from JSON, has one of the field's types (a bool is not an int)."""
        if isinstance(value, bool):
            return bool in self.types
        return isinstance(value, self.types)


FIELDS: tuple[Field, ...] = (
    Field("global_step", (int,), "the trainer's step, or the recorder's own count of training calls"),
    Field(
        "sample_idx",
        (int,),
        "trajectory within the generate_sequences call, in order of first appearance: ARPO's slot index",
        required=True,
    ),
    Field(
        "prompt_idx", (int, NULL), "row of the batch that the trajectory answers; null if it starts with none"
    ),
    Field(
        "prompt",
        (str, NULL),
        "the prompt's name, the same in every step and run: 16 hex digits, the BLAKE2b of its token ids without "
        "padding, as little-endian int64; null if the row is not known",
    ),
    Field("parent_idx", (int, NULL), "sample_idx of the trajectory it branched from; null for a start"),
    Field(
        "round",
        (int,),
        "tool results this trajectory had been given: 0 before the first; a branch inherits its parent's",
        required=True,
    ),
    Field("tool", (str, NULL), "tag of the tool whose result comes right before the segment, or null"),
    Field(
        "tools",
        (list,),
        "names of the tools whose results come right before the segment, in the order of the calls; null for a name "
        "that is none. Only where an agent loop tells them",
        items=(str, NULL),
    ),
    Field(
        "is_after_tool_call",
        (bool,),
        "true exactly when the tokens right before the segment are a tool result",
        required=True,
    ),
    Field("token_id", (int, NULL), "the segment's first token, as sampled"),
    Field(
        "entropy",
        (float, int, NULL),
        "entropy of the first token's distribution over ln(vocabulary size), in [0, 1]; null: not a number",
        required=True,
    ),
    Field(
        "window",
        (list,),
        "entropies of the segment's first k tokens, when entropy_window = k > 1",
        items=(float, int, NULL),
    ),
    Field(
        "logprobs_entropy",
        (float, int, NULL),
        "what ARPO's branching goes by: -sum(p ln p) over the log-probabilities that the loop was given for the "
        f"segment's first {READ_TOKENS} tokens, over ln(vocabulary size), at most {READ_TOKENS}; only where it asked "
        "for them and entropy_window > 1",
        highest=float(READ_TOKENS),
    ),
    Field("tokens", (list,), "token ids of the whole segment, when record_tokens is true", items=(int,)),
    Field(
        "policy_step",
        (int,),
        "version of the policy that wrote the segment's first token, as the trainer numbers it; absent where it is "
        "global_step or not told",
    ),
    Field(
        "trajectory",
        (int,),
        "number of the trajectory in the run, where one may span files: only recordings of a server. sample_idx and "
        "parent_idx count within the step then, not the call",
    ),
    Field("call", (int,), "which generate_sequences call of the step, from 0"),
    Field("run", (int,), "how often a recorder had been started in this directory before: 0, then 1, ..."),
    Field("dp_rank", (int,), "data-parallel rank, when there are several"),
    Field(
        "do_sample", (bool,), "false for a greedy call, as REMAX's baseline; absent otherwise", absent=True
    ),
    Field("padding", (bool,), "true for the repeated rows that pad a batch; absent otherwise", absent=False),
    Field(
        "mid_start",
        (bool,),
        "true if the trajectory began with a prompt and a part of a response, written elsewhere; absent otherwise",
        absent=False,
    ),
    Field(
        "unsure",
        (bool,),
        "true if trajectory, parent, round or tool may be wrong; absent otherwise",
        absent=False,
    ),
    Field(
        "incomplete",
        (bool,),
        "true if the recorder failed in this call and records may be missing",
        absent=False,
    ),
    Field(
        "inexact",
        (bool,),
        "true if the prompt or a turn before the segment could not surely be put back as the policy was given it; "
        "absent otherwise",
        absent=False,
    ),
    Field("source", (str,), '"rescored", "imported" or "simulated"; absent for a live recording'),
)

FIELD: dict[str, Field] = {field.name: field for field in FIELDS}
REQUIRED: tuple[str, ...] = tuple(field.name for field in FIELDS if field.required)
