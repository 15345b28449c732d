"""The decoders of BART, mBART and Marian without their encoders equal their counterparts in transformers."""

from __future__ import annotations

import pytest
import reference as ref
import torch
import transformers

import notebook_kit
from notebook_kit import AutoModelForCausalLM

SMALL = {
    "vocab_size": 60,
    "d_model": 32,
    "encoder_layers": 2,  # the length of the oracle's cache
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 40,
    "dropout": 0.0,
    "scale_embedding": True,
}
FAMILIES = {
    "Bart": (SMALL, "ForConditionalGeneration"),
    "MBart": ({**SMALL, "decoder_start_token_id": 7}, "ForConditionalGeneration"),
    "Marian": ({**SMALL, "pad_token_id": 59, "decoder_start_token_id": 59}, "MTModel"),
}
IDS = torch.tensor([[2, 17, 8, 21, 3], [2, 9, 30, 3, 4]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
CLOSE = {"atol": 1e-5, "rtol": 0}


def reference(family: str, suffix: str = "ForCausalLM"):
    kind = getattr(transformers, f"{family}{suffix}")
    model = kind._from_config(kind.config_class(**FAMILIES[family][0]), attn_implementation="eager").eval()
    fixed = {name: value.clone() for name, value in model.state_dict().items() if "embed_positions" in name}
    ref.randomize(model)
    if family == "Marian":
        model.load_state_dict(fixed, strict=False)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_reference(family, tmp_path):
    oracle = reference(family)
    model = AutoModelForCausalLM.from_pretrained(ref.saved(oracle, tmp_path / "theirs"))
    assert type(model) is getattr(notebook_kit, f"{family}ForCausalLM")
    assert model.num_parameters() == oracle.num_parameters()
    states = torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(1))
    cross = {"encoder_hidden_states": states, "encoder_attention_mask": torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])}
    asked = {"output_hidden_states": True, "output_attentions": True, "use_cache": False}
    rows = MASK.bool()
    for given in ({}, {"attention_mask": MASK}, {"attention_mask": MASK, **cross}):
        with torch.no_grad():
            mine, theirs = model(IDS, **given, **asked), oracle(IDS, **given, **asked)
        assert list(mine) == [name for name in theirs if name in mine]
        torch.testing.assert_close(mine.logits[rows], theirs.logits[rows], **CLOSE)
        for name in ("hidden_states", "attentions", "cross_attentions"):
            assert len(mine.get(name) or ()) == len(theirs.get(name) or ())
        torch.testing.assert_close(mine.hidden_states[-1][rows], theirs.hidden_states[-1][rows], **CLOSE)
    labels = torch.tensor([[17, 8, 21, 3, -100], [9, 30, 3, 4, -100]])
    ref.assert_same_gradients(model, oracle, lambda each: each(IDS, labels=labels, use_cache=False).loss)
    model.save_pretrained(tmp_path / "ours")
    ref.assert_same_files(tmp_path / "ours", tmp_path / "theirs")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"encoder_hidden_states": True, "num_beams": 2}], ids=str)
def test_generates_the_references_tokens(family, options):
    oracle = reference(family)
    with torch.no_grad():
        oracle.lm_head.weight = torch.nn.Parameter(torch.randn(60, 32, generator=torch.Generator().manual_seed(6)))
    model = getattr(notebook_kit, f"{family}ForCausalLM")(type_of_config(family)(**FAMILIES[family][0])).eval()
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    model.load_state_dict(oracle.state_dict(), strict=False)
    if options.get("encoder_hidden_states"):
        options = {
            **options,
            "encoder_hidden_states": torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(1)),
        }
    settings = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "forced_eos_token_id": None}
    written = model.generate(IDS, **options, **settings)
    # The oracle's cache of a decoder has no room for an encoder's states: its answers are wrong with it.
    given = {"attention_mask": torch.ones_like(IDS), "use_cache": "encoder_hidden_states" not in options}
    expected = oracle.generate(IDS, **given, **options, **settings)
    assert written.equal(expected) and len(written.unique()) > 6


@pytest.mark.parametrize("family", FAMILIES)
def test_the_decoder_of_a_whole_checkpoint(family, tmp_path):
    """The encoder is left out without a word; token embeddings that are stored once for both halves are found."""
    whole = reference(family, FAMILIES[family][1])
    model = AutoModelForCausalLM.from_pretrained(ref.saved(whole, tmp_path))
    assert model.config.is_decoder and not model.config.is_encoder_decoder
    with torch.no_grad():
        expected = whole.get_decoder()(IDS, use_cache=False).last_hidden_state @ whole.lm_head.weight.T
        torch.testing.assert_close(model(IDS).logits, expected, **CLOSE)


def test_a_larger_vocabulary():
    model = notebook_kit.BartForCausalLM(notebook_kit.BartConfig(**SMALL)).eval()
    with torch.no_grad():
        before = model(IDS).logits
        table = model.resize_token_embeddings(64)
        torch.testing.assert_close(model(IDS).logits[..., :60], before)
    assert table is model.get_input_embeddings() and model.lm_head.weight is table.weight


def type_of_config(family: str):
    return getattr(notebook_kit, f"{family}Config")
