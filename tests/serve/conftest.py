"""Servers that tests share: each takes half a minute to start on a CPU."""

import pytest
from package_metadata import announce_vllm


@pytest.fixture(scope="session")
def announced(plugged_in):
    """`plugged_in`, with the distribution that `vllm serve` asks for."""
    announce_vllm(plugged_in)
    return plugged_in


@pytest.fixture(scope="session")
def served_toy(tmp_path_factory):
    """The directory of the toy as a server has it."""
    from arpo_entropy_recorder.rollout.toy_server import build_toy_server

    return build_toy_server(tmp_path_factory.mktemp("served_toy"))


@pytest.fixture(scope="session")
def served_oracle(served_toy):
    """What transformers says of the served toy, and the logarithm of its vocabulary."""
    import math

    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(served_toy).float().eval()
    return model, math.log(len(AutoTokenizer.from_pretrained(served_toy).get_vocab()))
