"""Encoders of models with 8-bit layers: attention that need not be exact, and layers that read long inputs."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from notebook_kit import BartConfig, BartModel, WhisperConfig, WhisperForConditionalGeneration, ablate_heads
from notebook_kit.nn import attention, int8
from notebook_kit.nn.attention import sites_of
from notebook_kit.pipelines.quantization import Int8Linear, dequantized, quantized


def test_attention_knows_whether_it_has_to_be_exact():
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
    model = BartModel(BartConfig(vocab_size=99, d_model=48, **sizes)).eval()
    rounded, ids = quantized(model), torch.randint(5, 99, (1, 6))

    def exact(model):
        seen, attend = set(), attention._fused
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(attention, "_fused", lambda *given: seen.add(given[-1]) or attend(*given))
            model(ids)
            with ablate_heads(model, {(0, 1)}):
                model(ids)
        assert {site.exact for site in sites_of(model)} == seen
        return seen

    assert exact(model) == exact(dequantized(rounded)) == {True}
    assert exact(rounded) == {False}
    loaded = quantized(model)
    loaded.load_state_dict(rounded.state_dict())
    for copied in (copy.deepcopy(rounded), pickle.loads(pickle.dumps(rounded)), loaded):
        assert exact(copied) == {False}
    for site in sites_of(rounded):  # as in a model that an earlier version pickled
        del site.exact
    assert exact(rounded) == {True}


def test_an_encoder_of_long_inputs_multiplies_as_is_fastest_for_many_rows(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "notebook_kit.pipelines.quantization.best_product",
        lambda rows, best=int8.best_product: asked.append(rows) or best(rows),
    )
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
    config = WhisperConfig(d_model=48, vocab_size=99, pad_token_id=0, max_source_positions=300, **sizes)
    model = WhisperForConditionalGeneration(config).eval()
    features, ids = torch.randn(1, 80, 600), torch.randint(5, 99, (1, 6))
    rounded = quantized(model)
    assert set(asked) == {int8.ONE, int8.MANY}
    long = {name for name, layer in rounded.named_modules() if isinstance(layer, Int8Linear) and layer._rows > 1}
    assert {name.split(".")[1] for name in long if "encoder_attn" not in name} == {"encoder"}
    assert len(long) == 6 + 2, "keys and values of the encoder's states too"
    given = {"input_features": features, "decoder_input_ids": ids}
    with torch.no_grad():
        expected = rounded(**given).logits
        assert torch.allclose(expected, model(**given).logits, atol=0.05)
        for copied in (copy.deepcopy(rounded), pickle.loads(pickle.dumps(rounded))):
            torch.testing.assert_close(copied(**given).logits, expected)
