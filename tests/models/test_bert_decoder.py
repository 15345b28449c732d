"""BERT as a decoder against transformers: causal attention, cross-attention, the cache, generation."""

from __future__ import annotations

import copy
import pickle

import pytest
import reference as ref
import torch
import transformers

from notebook_kit import AutoModelForCausalLM, BertConfig, BertDecoderModel, BertLMHeadModel, BertModel
from notebook_kit.errors import InputError

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 60}
IDS = torch.tensor([[2, 17, 8, 21, 3], [2, 9, 30, 3, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
CLOSE = {"atol": 1e-5, "rtol": 0}


def pair(ours, theirs, **settings):
    model = ours(BertConfig(**SMALL, **settings)).eval()
    ref.randomize(model)
    oracle = theirs(transformers.BertConfig(**SMALL, **settings, attn_implementation="eager")).eval()
    missing, unexpected = oracle.load_state_dict(model.state_dict(), strict=False)
    assert not unexpected and all("position_ids" in name for name in missing)
    return model, oracle


@pytest.mark.parametrize("cross", [True, False])
@pytest.mark.parametrize("decodes", [True, False])
def test_the_backbone_is_the_oracles(decodes, cross):
    if not decodes and cross:
        pytest.skip("transformers refuses cross-attention without is_decoder")
    model, oracle = pair(BertModel, transformers.BertModel, is_decoder=decodes, add_cross_attention=cross)
    assert isinstance(model, BertDecoderModel) == decodes
    inputs = {"attention_mask": MASK, "output_attentions": True, "output_hidden_states": True}
    if cross:
        states = torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(1))
        inputs |= {
            "encoder_hidden_states": states,
            "encoder_attention_mask": torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]),
        }
    mine, reference = model(IDS, **inputs), oracle(IDS, **inputs)
    rows = MASK.bool()
    torch.testing.assert_close(mine.last_hidden_state[rows], reference.last_hidden_state[rows], **CLOSE)
    torch.testing.assert_close(mine.pooler_output, reference.pooler_output, **CLOSE)
    for name in ("attentions", "cross_attentions", "hidden_states"):
        assert bool(mine.get(name)) == bool(reference.get(name)), name
    if cross:
        torch.testing.assert_close(
            mine.cross_attentions[1][rows[:, None].expand(-1, 4, -1)],
            reference.cross_attentions[1][rows[:, None].expand(-1, 4, -1)],
            **CLOSE,
        )


def test_a_cache_gives_the_same_states():
    model, _ = pair(BertModel, transformers.BertModel, is_decoder=True, add_cross_attention=True)
    states = torch.randn(1, 4, 32)
    whole = model(IDS[:1], encoder_hidden_states=states)
    first = model(IDS[:1, :3], encoder_hidden_states=states)
    rest = model(IDS[:1, 3:], encoder_hidden_states=states, past_key_values=first.past_key_values)
    torch.testing.assert_close(rest.last_hidden_state, whole.last_hidden_state[:, 3:], **CLOSE)
    assert model(IDS, encoder_hidden_states=torch.randn(2, 4, 32), use_cache=False).past_key_values is None


def test_the_language_model_is_the_oracles(tmp_path):
    model, oracle = pair(BertLMHeadModel, transformers.BertLMHeadModel, is_decoder=True)
    mine, reference = model(IDS, labels=IDS), oracle(IDS, labels=IDS)
    torch.testing.assert_close(mine.logits, reference.logits, **CLOSE)
    torch.testing.assert_close(mine.loss, reference.loss, **CLOSE)
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    assert model.generate(IDS[:1], **options).equal(oracle.generate(IDS[:1], **options))
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(again) is BertLMHeadModel and again.config.is_decoder
    torch.testing.assert_close(again(IDS).logits, mine.logits, **CLOSE)
    assert transformers.BertLMHeadModel.from_pretrained(tmp_path).config.is_decoder


def test_copies_and_errors():
    model = BertModel(BertConfig(**SMALL, is_decoder=True)).eval()
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(again) is BertDecoderModel
        torch.testing.assert_close(again(IDS).last_hidden_state, model(IDS).last_hidden_state)
    with pytest.raises(InputError, match="no cross-attention"):
        model(IDS, encoder_hidden_states=torch.zeros(2, 3, 32))
    assert type(copy.deepcopy(BertModel(BertConfig(**SMALL)))) is BertModel
