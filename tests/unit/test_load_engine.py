"""How vLLM is started on a CPU, with a stand-in for vLLM."""

import os
import sys
from types import ModuleType, SimpleNamespace

import pytest

from arpo_entropy_recorder.rollout.engine import CPU_CACHE_GIB, load_engine


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Starts the stand-in with some options; returns what the engine was given, and the size of a CPU's cache."""
    given = {}

    class LLM:
        def __init__(self, **options):
            given.update(options)
            self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(runner_type="generate"))

        def get_tokenizer(self):
            return SimpleNamespace(pad_token_id=0)

    def start(is_cpu=True, **options):
        vllm, platforms = ModuleType("vllm"), ModuleType("vllm.platforms")
        vllm.LLM = LLM
        platforms.current_platform = SimpleNamespace(is_cpu=lambda: is_cpu)
        monkeypatch.setitem(sys.modules, "vllm", vllm)
        monkeypatch.setitem(sys.modules, "vllm.platforms", platforms)
        (tmp_path / "config.json").write_text("{}")
        load_engine(str(tmp_path), options, verbose=False)
        return given, os.environ.get("VLLM_CPU_KVCACHE_SPACE")

    for name in ("VLLM_CPU_KVCACHE_SPACE", "VLLM_LOGGING_LEVEL", "VLLM_ENABLE_V1_MULTIPROCESSING"):
        monkeypatch.setenv(name, "")  # so that what is set here is undone
        monkeypatch.delenv(name)
    return start


def test_a_cpu_gets_a_small_cache(started):
    given, cache = started()
    assert cache == CPU_CACHE_GIB
    assert given["enable_chunked_prefill"] is False


@pytest.mark.parametrize("option", ["gpu_memory_utilization", "kv_cache_memory_bytes"])
def test_the_users_own_memory_option_wins(started, option):
    given, cache = started(**{option: 0.5})
    assert given[option] == 0.5
    assert cache is None


def test_the_users_own_variable_wins(started, monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "11")
    assert started()[1] == "11"


def test_a_gpu_keeps_vllms_default(started):
    given, cache = started(is_cpu=False)
    assert cache is None
    assert "enable_chunked_prefill" not in given
