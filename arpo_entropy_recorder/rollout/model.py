"""Refuses what is sure to be no model before vLLM is imported, which takes many seconds. The rest is left to vLLM."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path

from arpo_entropy_recorder.errors import UserError, shorten

# vLLM's options that have it look for the model, or for its config, in another way.
ANOTHER_WAY = {"config", "config_format", "hf_config_path", "load_format"}
# What has a name looked up in another place, or with other rights, than huggingface_hub does by itself.
ANOTHER_HUB = {"download_dir", "hf_token"}
ANOTHER_HUB_VARIABLES = {"TRANSFORMERS_CACHE", "VLLM_USE_MODELSCOPE"}


def check_model(model: str, options: Collection[str] = ()) -> None:
    """Raise UserError if vLLM is sure to refuse `model`: a path without one, or a name that the hub does not give.

    options: the names of vLLM's options that are given. Nothing is said of object storage (s3://), GGUF files and
    whatever else vLLM's plug-ins may know. The hub is asked for a name's config.json, as vLLM does first.
    """
    if ANOTHER_WAY & set(options) or os.environ.get("VLLM_MODEL_REDIRECT_PATH"):
        return
    if os.path.isdir(model):
        _check_directory(Path(model))
    elif os.path.exists(model):
        if not _is_gguf(Path(model)):
            raise UserError(
                f"{model}: not a model but a file; give a directory with a config.json, or a hub name"
            )
    elif model.startswith((".", "/", "~")):
        raise UserError(
            f"{model}: not a model: no such directory; give one with a config.json, or a hub name"
        )
    elif not (
        ":" in model
        or model.endswith(".gguf")
        or ANOTHER_HUB & set(options)
        or any(os.environ.get(name, "") not in ("", "0") for name in ANOTHER_HUB_VARIABLES)
    ):
        _check_name(model)


def _is_gguf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return path.suffix == ".gguf" or file.read(4) == b"GGUF"
    except OSError:
        return False


def _check_directory(directory: Path) -> None:
    if (directory / "params.json").is_file() or any(directory.glob("*.gguf")):  # Mistral's own form; GGUF
        return
    config = directory / "config.json"
    if not config.is_file():
        raise UserError(f"{directory}: not a model: a directory with a config.json is needed, or a hub name")
    try:
        is_object = isinstance(json.loads(config.read_text(encoding="utf-8")), dict)
    except OSError as error:
        raise UserError(f"{config}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise UserError(f"{config}: not a JSON object; copy the model again, or mend the file")


def _check_name(name: str) -> None:
    try:
        from huggingface_hub import constants, file_download, get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            RepositoryNotFoundError,
        )
        from huggingface_hub.utils import validate_repo_id
    except ImportError:
        return
    try:
        validate_repo_id(name)
        folder = file_download.repo_folder_name(repo_id=name, repo_type="model")
        if not Path(constants.HF_HUB_CACHE, folder).is_dir():
            url = hf_hub_url(name, "config.json")
            try:
                get_hf_file_metadata(url)
            except HfHubHTTPError:
                raise
            except Exception:  # once more, as vLLM does, for a connection that is lost
                get_hf_file_metadata(url)
    except HFValidationError:
        raise UserError(
            f"{name}: not a model: no such directory, and no hub name; give a directory with a config.json"
        ) from None
    except GatedRepoError as error:
        raise UserError(
            f"{name}: the Hugging Face hub gives it only to those who accept its terms; do so there, and set "
            "HF_TOKEN to a token of that account"
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{name}: not a model: no such directory, and the Hugging Face hub gives you none of that name; "
            "check the name, or set HF_TOKEN"
        ) from error
    except HfHubHTTPError:
        pass
    except Exception as error:
        # What cannot be connected is an error of the HTTP library, which differs between versions.
        if not (isinstance(error, OSError) or type(error).__module__.startswith("httpx")):
            return
        reason = shorten(" ".join(str(error).split()) or type(error).__name__, 120)
        raise UserError(
            f"{name}: no such directory, and the Hugging Face hub cannot be asked ({reason}); give a directory with "
            "a config.json, or connect this machine"
        ) from error
