"""A tool-calling model of known entropies, made on the spot: a second to build, nothing to download.

Random weights never call a tool. Here every embedding is one-hot, the MLPs are zero and `lm_head` is a table
of next-token log-probabilities given the last token, so that the model is a Markov chain on tokens: it thinks,
calls tools, reads their results and ends. A small random attention output then gives every context an entropy
of its own; without it (`attention=0`) the entropy after any token is known in closed form.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

TAGS = ("think", "search", "python", "result", "answer")
END, PAD, START = "<|im_end|>", "<|endoftext|>", "<|im_start|>"
SPECIAL = (END, PAD, START)
TOKENS = 256 + 2 * len(TAGS) + len(SPECIAL)
"""Size of the tokenizer's vocabulary: the bytes, an opening and a closing token a tag, the special tokens."""

TOY_PROMPTS: tuple[str, ...] = (
    "What is the sum of the first twenty odd numbers?",
    "Which river is longer, the Danube or the Rhine?",
    "How many days lie between 3 March and 9 July?",
    "Who wrote the play in which Nora leaves the house?",
    "Is 9991 a prime number?",
    "In which year was the bridge over the Firth of Forth opened?",
    "What is the area of a triangle with sides 7, 8 and 9?",
    "Which element has the highest melting point?",
    "What is 17 times 23, minus 5?",
    "Which two oceans does the Panama Canal connect?",
    "How many minutes are there in a leap year?",
    "Who proved that there is no largest prime?",
    "What is the remainder of 2**20 divided by 7?",
    "Which country has the longest coast?",
    "How many diagonals does a polygon of twelve sides have?",
    "When did the first person walk on the Moon?",
    "What is the least common multiple of 12, 18 and 30?",
    "Which composer wrote thirty-two piano sonatas?",
    "How many ways are there to seat five people in a row?",
    "Which planet has the shortest year?",
    "What is the sum of the digits of 99 squared?",
    "Who was the first to reach the South Pole?",
    "How many seconds does light take from the Sun to the Earth?",
    "Which language has the most native speakers?",
)
TOY_ENGINE = {"dtype": "float32", "max_model_len": 2048, "enforce_eager": True, "max_num_seqs": 64}
"""Arguments for vLLM's LLM that let it start in seconds on a CPU."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# The chain sees one token back, so every part of a trajectory has an alphabet of its own.
LOWER = "abcdefghijklmnopqrstuvwxyz"
SURPRISE = "ABCDEFGHIJKLM" + "\"(:;!?'&"
QUERY = "NOPQRSTU"
ANSWER = "VWXYZ"
NONZERO, OPERATORS = "123456789", "+-*"
LEAK = 1e-4
"""Probability spread over all tokens in every row: nothing is impossible, as in a real model."""
PADDING = 0.1
"""Probability that the padded part of the vocabulary would get if it were not masked."""


def token_ids() -> dict[str, int]:
    """Id of each byte (as the character of that code), tag and special token."""
    names = [*map(chr, range(256)), *(f"<{slash}{tag}>" for tag in TAGS for slash in ("", "/")), *SPECIAL]
    return {name: index for index, name in enumerate(names)}


def transition_table(seed: int = 0) -> np.ndarray:
    """The chain's next-token log-probabilities: float64 `[TOKENS, TOKENS]`, row = last token, in nats."""
    ids = token_ids()
    rng = np.random.default_rng(seed)
    table = np.zeros((TOKENS, TOKENS))

    def follow(last: str, weights: Mapping[str, float]) -> None:
        for token, weight in weights.items():
            table[ids[last], ids[token]] += weight

    def each(characters: str, weight: float) -> dict[str, float]:
        return {character: weight / len(characters) for character in characters}

    calls = {"<search>": 0.4, "<python>": 0.4, "<answer>": 0.2}
    for token in ids:  # after anything that ends a prompt: mostly a thought
        follow(token, {"<think>": 0.8, "<search>": 0.05, "<python>": 0.05, **each(SURPRISE, 0.1)})
    words = [*LOWER, *SURPRISE]
    rows = {
        "<think>": each(LOWER[:6], 1.0),
        " ": each(LOWER[:8], 1.0),
        ",": {" ": 1.0},
        ".": {"</think>": 0.7, " ": 0.3},
        "</think>": calls,
        "<search>": each(QUERY, 1.0),
        "<python>": each(NONZERO, 1.0),
        "<answer>": each(ANSWER, 1.0),
        "</answer>": {END: 1.0},
        "</result>": {
            **each(LOWER + SURPRISE, 0.85),
            "<think>": 0.05,
            **{tag: p * 0.1 for tag, p in calls.items()},
        },
    }
    rows |= {letter: {**each(QUERY, 0.6), "</search>": 0.4} for letter in QUERY}
    rows |= {letter: {**each(ANSWER, 0.4), "</answer>": 0.6} for letter in ANSWER}
    rows |= {
        digit: {**each("0" + NONZERO, 0.1), **each(OPERATORS, 0.4), "</python>": 0.5}
        for digit in "0" + NONZERO
    }
    rows |= {operator: each(NONZERO, 1.0) for operator in OPERATORS}
    for word in words:
        favourites = dict(zip(rng.permutation(list(LOWER))[:4], (0.4, 0.15, 0.1, 0.05), strict=True))
        rows[word] = {**favourites, " ": 0.15, ".": 0.12, ",": 0.03}
    for last, weights in rows.items():
        table[ids[last]] = 0.0
        follow(last, weights)
    table = (1 - LEAK) * table / table.sum(axis=1, keepdims=True) + LEAK / TOKENS
    return np.log(table)


def entropy_after(token: str, *, seed: int = 0) -> float:
    """Entropy in nats of the token after `token` when `attention=0` and the padding is masked."""
    log_probabilities = transition_table(seed)[token_ids()[token]]
    return float(-(np.exp(log_probabilities) * log_probabilities).sum())


def build_toy_agent(
    directory: str | Path,
    *,
    seed: int = 0,
    attention: float = 0.5,
    vocab_multiple: int = 64,
    head_size: int = 64,
    max_length: int = 4096,
) -> Path:
    """Write the agent as a Hugging Face Qwen2 checkpoint (float32, two layers) with its tokenizer.

    `attention` scales the random attention output (0: a pure Markov chain). The model's vocabulary is padded
    to a multiple of `vocab_multiple` above the tokenizer's; it is the hidden size too, hence also a multiple of
    `head_size`. The same arguments give the same bytes. Needs `tokenizers` and `safetensors`, which come with
    transformers.
    """
    multiple = math.lcm(vocab_multiple, head_size)
    vocab_size = multiple * (TOKENS // multiple + 1)
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    _write_model(
        directory, vocab_size, seed=seed, attention=attention, head_size=head_size, max_length=max_length
    )
    write_tokenizer(directory, max_length)
    return directory


def _write_model(
    directory: Path, size: int, *, seed: int, attention: float, head_size: int, max_length: int
) -> None:
    from safetensors.numpy import save_file

    layers, intermediate, epsilon = 2, 32, 1e-6
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": size,
        "hidden_size": size,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": size // head_size,
        "num_key_value_heads": size // head_size,
        "hidden_act": "silu",
        "max_position_embeddings": max_length,
        "rms_norm_eps": epsilon,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "torch_dtype": "float32",
        "bos_token_id": token_ids()[START],
        "eos_token_id": token_ids()[END],
        "pad_token_id": token_ids()[PAD],
    }
    generation = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    rng = np.random.default_rng(seed)
    head = np.full((size, size), math.log(LEAK / TOKENS))
    head[:TOKENS, :TOKENS] = transition_table(seed).T
    head[TOKENS:] = math.log(PADDING / (size - TOKENS))
    weights = {
        "model.embed_tokens.weight": np.eye(size),
        # A one-hot vector has the mean square 1 / size: this undoes the last norm's division by its root.
        "model.norm.weight": np.full(size, math.sqrt(1 / size + epsilon)),
        "lm_head.weight": head,
    }
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        weights[prefix + "input_layernorm.weight"] = np.ones(size)
        weights[prefix + "post_attention_layernorm.weight"] = np.ones(size)
        for name in "qkvo":
            weights[f"{prefix}self_attn.{name}_proj.weight"] = rng.normal(
                0, 1 / math.sqrt(size), (size, size)
            )
            if name != "o":
                weights[f"{prefix}self_attn.{name}_proj.bias"] = np.zeros(size)
        weights[prefix + "self_attn.o_proj.weight"] *= attention / math.sqrt(size)
        weights[prefix + "mlp.gate_proj.weight"] = np.zeros((intermediate, size))
        weights[prefix + "mlp.up_proj.weight"] = np.zeros((intermediate, size))
        weights[prefix + "mlp.down_proj.weight"] = np.zeros((size, intermediate))
    _write_json(directory / "config.json", config)
    _write_json(directory / "generation_config.json", generation)
    arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}
    save_file(arrays, directory / "model.safetensors", metadata={"format": "pt"})


def write_tokenizer(directory: Path, max_length: int = 4096) -> None:
    """Write the agent's tokenizer alone into a directory that is there: all that showing its words needs."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    ids = token_ids()
    # Byte-level BPE writes bytes as printable characters: those that are not, as the characters from 256 on.
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = [byte for byte in range(256) if byte not in printable]
    symbols = {chr(256 + hidden.index(byte) if byte in hidden else byte): byte for byte in range(256)}
    tokenizer = Tokenizer(models.BPE(vocab=symbols, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    added = sorted(ids, key=ids.__getitem__)[256:]
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=token in SPECIAL) for token in added])
    tokenizer.save(str(directory / "tokenizer.json"))
    _write_json(
        directory / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": END,
            "pad_token": PAD,
            "chat_template": CHAT_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "model_max_length": max_length,
        },
    )


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
