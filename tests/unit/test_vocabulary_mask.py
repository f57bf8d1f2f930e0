"""How the tool loop keeps an engine from token ids that its tokenizer lacks."""

import math
from types import SimpleNamespace

import pytest

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rollout.sampling import vocabulary_mask


def mask(model, tokenizer, runner_v2):
    """The mask of a model of `model` token ids whose tokenizer has `tokenizer` of them."""
    config = SimpleNamespace(get_vocab_size=lambda: model)
    vllm_config = SimpleNamespace(use_v2_model_runner=runner_v2)
    engine = SimpleNamespace(llm_engine=SimpleNamespace(model_config=config, vllm_config=vllm_config))
    return vocabulary_mask(engine, SimpleNamespace(get_vocab=lambda: {str(i): i for i in range(tokenizer)}))


@pytest.mark.parametrize("runner_v2", [False, True])
def test_a_tokenizer_that_has_all_ids_needs_no_mask(runner_v2):
    assert mask(50_000, 50_000, runner_v2) == {}
    assert mask(300, 305, runner_v2) == {}


def test_ids_beyond_the_tokenizers_are_not_allowed():
    assert mask(50_100, 50_000, runner_v2=False) == {"allowed_token_ids": list(range(50_000))}
    # As few as model runner V2 takes, as the toy agent's.
    assert mask(320, 300, runner_v2=True) == {"allowed_token_ids": list(range(300))}


def test_runner_v2_gets_a_bias_for_a_long_vocabulary():
    assert mask(50_100, 50_000, runner_v2=True) == {
        "logit_bias": dict.fromkeys(range(50000, 50100), -math.inf)
    }


def test_what_runner_v2_cannot_mask_is_refused():
    with pytest.raises(UserError, match=r"2,000 token ids that .* set VLLM_USE_V2_MODEL_RUNNER=0$"):
        mask(52_000, 50_000, runner_v2=True)
    assert mask(52_000, 50_000, runner_v2=False)


@pytest.mark.parametrize(
    ("value", "key"), [("1", "logit_bias"), ("0", "allowed_token_ids"), (None, "allowed_token_ids")]
)
def test_an_older_vllms_runner_is_known_by_its_variable(monkeypatch, value, key):
    monkeypatch.delenv("VLLM_USE_V2_MODEL_RUNNER", raising=False)
    if value is not None:
        monkeypatch.setenv("VLLM_USE_V2_MODEL_RUNNER", value)
    assert list(mask(50_100, 50_000, runner_v2=None)) == [key]
