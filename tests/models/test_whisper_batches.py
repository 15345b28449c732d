"""Batches of many recordings: the encoder takes a few at a time, unless something sees its layers."""

from __future__ import annotations

import pytest
import torch

from notebook_kit import WhisperConfig, WhisperModel, ablate_heads, record_attention
from notebook_kit.models import whisper
from notebook_kit.models.whisper import WhisperEncoder

SIZE = {
    "d_model": 48,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "max_source_positions": 20,
}


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return WhisperModel(WhisperConfig(**SIZE)).eval().encoder


@pytest.fixture
def batches(monkeypatch):
    """The numbers of recordings that are encoded together; the largest results of two are as large as they may be."""
    monkeypatch.setattr(whisper, "MOST_AHEAD", 2 * 20 * 64 * 4)
    found, encode = [], WhisperEncoder.encode

    def counting(self, spectrograms, **options):
        found.append(len(spectrograms))
        return encode(self, spectrograms, **options)

    monkeypatch.setattr(WhisperEncoder, "encode", counting)
    return found


def test_states_are_those_of_the_whole_batch(encoder, batches):
    x = torch.randn(5, 80, 40)
    with torch.no_grad():
        found = encoder(x)
        assert batches == [2, 2, 1]
        whole = encoder.encode(x, output_attentions=False, output_hidden_states=False)
        torch.testing.assert_close(found.last_hidden_state, whole.last_hidden_state, rtol=1e-5, atol=1e-5)
        assert found.keys() == whole.keys() and found.last_hidden_state.is_contiguous()
        batches.clear()
        assert encoder.double()(x[:3]).last_hidden_state.dtype == torch.float64
        assert batches == [1, 1, 1], "of twice the size"


def test_one_recording_may_be_larger(encoder, batches, monkeypatch):
    monkeypatch.setattr(whisper, "MOST_AHEAD", 1)
    with torch.no_grad():
        encoder(torch.randn(2, 80, 40))
    assert batches == [1, 1]


def test_whoever_looks_sees_whole_batches(encoder, batches):
    x, shapes = torch.randn(5, 80, 40), []
    encoder(x)  # with gradients
    with torch.no_grad():
        assert len(encoder(x, output_hidden_states=True).hidden_states[0]) == 5
        assert len(encoder(x, output_attentions=True).attentions[0]) == 5
        with record_attention(encoder) as record:
            encoder(x)
        assert record[1].shape[0] == 5
        with ablate_heads(encoder, {(0, 1)}):
            encoder(x)
        handle = encoder.layers[1].fc1.register_forward_hook(lambda layer, given, out: shapes.append(len(out)))
        encoder(x)
        handle.remove()
        encoder.config.output_hidden_states = True
        assert len(encoder(x).hidden_states[0]) == 5
    assert batches == [5] * 7 and shapes == [5]
