"""Servers that tests share: each takes half a minute to start on a CPU."""

import pytest


@pytest.fixture(scope="session")
def announced(plugged_in):
    """`plugged_in`, with the distribution that `vllm serve` asks for: the CPU build has another name."""
    import vllm

    info = plugged_in / f"vllm-{vllm.__version__}+cpu.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {vllm.__version__}+cpu\n")
    return plugged_in


@pytest.fixture(scope="session")
def served_oracle(tmp_path_factory):
    """What transformers says of the served toy, and the logarithm of its vocabulary."""
    import math

    from transformers import AutoModelForCausalLM, AutoTokenizer

    from arpo_entropy_recorder.rollout.toy_server import build_toy_server

    directory = build_toy_server(tmp_path_factory.mktemp("served_toy"))
    model = AutoModelForCausalLM.from_pretrained(directory).float().eval()
    return model, math.log(len(AutoTokenizer.from_pretrained(directory).get_vocab()))
