"""The states of all layers lie row by row in memory, also behind convolutions whose results lie by channels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from notebook_kit import SiglipVisionConfig, SiglipVisionModel, WhisperConfig, WhisperModel


def whisper():
    size = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "vocab_size": 20}
    tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
    config = WhisperConfig(**size, **tokens, decoder_layers=1, decoder_attention_heads=2, max_source_positions=50)
    return WhisperModel(config).encoder, torch.randn(2, 80, 100)


def siglip():
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return SiglipVisionModel(SiglipVisionConfig(**size, image_size=32, patch_size=8)), torch.randn(2, 3, 32, 32)


@pytest.mark.parametrize("make", [whisper, siglip])
@pytest.mark.parametrize("gradients", [False, True])
def test_no_layer_computes_with_transposed_states(make, gradients):
    model, given = make()
    layouts = []
    for layer in model.modules():
        if isinstance(layer, nn.LayerNorm):
            layer.register_forward_hook(lambda layer, args, out: layouts.append(args[0].is_contiguous()))
    with torch.set_grad_enabled(gradients):
        model.eval()(given)
    assert len(layouts) >= 5
    assert all(layouts)
