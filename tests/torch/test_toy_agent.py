"""The toy agent against its own closed form and against a transformers forward pass."""

import math

import numpy as np
import pytest

from arpo_entropy_recorder.rollout.toy_agent import (
    TOKENS,
    build_toy_agent,
    entropy_after,
    token_ids,
    transition_table,
)

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    return load(build_toy_agent(tmp_path_factory.mktemp("chain"), attention=0.0))


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    return load(build_toy_agent(tmp_path_factory.mktemp("agent")))


def load(directory):
    model = transformers.AutoModelForCausalLM.from_pretrained(directory).eval()
    return model, transformers.AutoTokenizer.from_pretrained(directory)


def last_logits(model, tokens):
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0, -1].double().numpy()


def masked_entropy(logits):
    """Nats over the tokenizer's vocabulary, float64."""
    logits = logits[:TOKENS] - logits[:TOKENS].max()
    p = np.exp(logits) / np.exp(logits).sum()
    return float(-(p * np.log(p)).sum())


@pytest.mark.parametrize("token", ["</result>", "<think>", "a", "</think>", "\n", "<python>"])
def test_without_attention_the_entropy_after_a_token_is_the_closed_form(chain, token):
    model, tokenizer = chain
    context = [*tokenizer.encode("Any context before "), token_ids()[token]]
    assert masked_entropy(last_logits(model, context)) == pytest.approx(entropy_after(token), abs=1e-4)


def test_without_attention_the_next_token_depends_on_the_last_one_alone(chain):
    model, tokenizer = chain
    for text in ("x", "<think>abc</think><search>NO</search>"):
        logits = last_logits(model, [*tokenizer.encode(text), token_ids()["</result>"]])[:TOKENS]
        expected = transition_table()[token_ids()["</result>"]]
        np.testing.assert_allclose(logits - logits.max(), expected - expected.max(), atol=1e-4)


def test_with_attention_every_context_has_an_entropy_of_its_own(agent):
    model, tokenizer = agent
    entropies = {
        masked_entropy(last_logits(model, tokenizer.encode(f"<python>{i}</python> <result>\n{i}\n</result>")))
        for i in range(8)
    }
    assert len(entropies) == 8
    assert max(entropies) - min(entropies) > 1e-3


def test_entropy_rises_after_a_result_as_arpo_claims():
    scale = math.log(TOKENS)
    after, start, thought = (entropy_after(token) / scale for token in ("</result>", "\n", "a"))
    assert 0.6 < after < 0.8
    assert start < 0.3
    assert thought < 0.4


def test_the_rows_of_the_table_are_distributions():
    np.testing.assert_allclose(np.exp(transition_table(3)).sum(axis=1), 1.0, atol=1e-12)


def test_the_chain_calls_tools_and_ends_by_itself():
    ids, probabilities, rng = token_ids(), np.exp(transition_table()), np.random.default_rng(0)
    calls, ended = 0, 0
    for _ in range(50):
        token = ids["\n"]
        for _ in range(500):
            token = int(rng.choice(TOKENS, p=probabilities[token]))
            if token in (ids["</search>"], ids["</python>"]):
                calls, token = calls + 1, ids["</result>"]
            if token == ids["<|im_end|>"]:
                ended += 1
                break
    assert calls > 100
    assert ended > 40


def test_the_models_vocabulary_is_padded_and_the_padding_would_be_sampled(agent):
    model, tokenizer = agent
    assert len(tokenizer) == len(tokenizer.get_vocab()) == TOKENS
    assert model.config.vocab_size == 320
    logits = last_logits(model, tokenizer.encode("hello"))
    p = np.exp(logits - logits.max())
    assert p[TOKENS:].sum() / p.sum() > 0.01


def test_the_tokenizer_keeps_text_and_has_a_token_a_tag(agent):
    tokenizer = agent[1]
    text = "<think>é 漢 \n\t</think><search>q</search> <result>\n\\x00\n</result><answer>1</answer>"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    for tag in (
        "<think>",
        "</think>",
        "<search>",
        "</search>",
        "<python>",
        "</python>",
        "<result>",
        "</result>",
    ):
        assert tokenizer.encode(tag) == [token_ids()[tag]]
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (
        token_ids()["<|im_end|>"],
        token_ids()["<|endoftext|>"],
    )


def test_the_chat_template_ends_where_the_assistant_begins(agent):
    tokenizer = agent[1]
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    names = ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json")
    one, two, three = (
        build_toy_agent(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)
    assert (one / "model.safetensors").read_bytes() != (three / "model.safetensors").read_bytes()
