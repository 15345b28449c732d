"""Fast convolutions over time: the results of torch's, and where they are not used."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from notebook_kit import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperForAudioClassification,
    WhisperModel,
    dequantized,
    record_attention,
)
from notebook_kit.models import wav2vec2_blocks, whisper
from notebook_kit.nn import few_rows, frame_convolutions
from notebook_kit.pipelines.quantization import quantized

pytestmark = pytest.mark.skipif(not frame_convolutions.available(), reason="this torch has no such operations")

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": [16, 24, 16],
    "conv_stride": [5, 2, 2],
    "conv_kernel": [10, 3, 2],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


@pytest.fixture
def counted(monkeypatch):
    """It is faster on every processor and for any length; its calls are counted."""
    monkeypatch.setattr(frame_convolutions, "ratio", lambda threads: 2.0)
    monkeypatch.setattr(frame_convolutions, "group_gain", lambda threads: 2.0)
    monkeypatch.setattr(frame_convolutions, "LEAST_WORK", 0)
    calls: list[str] = []
    for name in ("convolved", "normalized_convolved", "group_convolved"):
        compute = getattr(frame_convolutions, name)

        def counting(*given, name=name, compute=compute, **options):
            calls.append(name)
            return compute(*given, **options)

        monkeypatch.setattr(wav2vec2_blocks, name, counting)
        if name == "convolved":
            monkeypatch.setattr(whisper, name, counting)
    return calls


def both(model, x, monkeypatch, **given):
    """The outputs with and without the fast functions."""
    model.eval()
    with torch.no_grad():
        fast = model(x, output_hidden_states=True, **given)
        with monkeypatch.context() as patch:
            patch.setattr(frame_convolutions, "ratio", lambda threads: 0.0)
            patch.setattr(frame_convolutions, "group_gain", lambda threads: 0.0)
            return fast, model(x, output_hidden_states=True, **given)


@pytest.mark.parametrize("act", ["gelu", "gelu_new", "relu"])
@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_model_gives_the_same_states(counted, monkeypatch, act, norm, bias):
    torch.manual_seed(0)
    settings = {**TINY, "feat_extract_activation": act, "feat_extract_norm": norm, "conv_bias": bias}
    model = Wav2Vec2Model(Wav2Vec2Config(**settings))
    for parameter in model.feature_extractor.parameters():
        nn.init.normal_(parameter, std=0.5)
    mask = torch.ones(2, 700)
    mask[1, 400:] = 0
    found, expected = both(model, torch.randn(2, 700) + 0.3, monkeypatch, attention_mask=mask)
    first = "normalized_convolved" if norm == "group" else "convolved"
    assert counted == [first, "convolved", "convolved", "group_convolved"], "the 70 frames at once"
    torch.testing.assert_close(found.extract_features, expected.extract_features, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.hidden_states, expected.hidden_states, atol=1e-5, rtol=1e-5)


def test_hubert_and_a_short_last_stretch(counted, monkeypatch):
    torch.manual_seed(0)
    model = HubertModel(HubertConfig(**TINY))
    for samples in (701, 702, 703, 704, 705):
        found, expected = both(model, torch.randn(1, samples), monkeypatch)
        torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state, atol=1e-5, rtol=1e-5)
    assert counted.count("group_convolved") == 5


def normalized(x, conv, norm):
    """The frames of recordings, computed as one that begins at frame 10 of the first; those before it are left out."""
    rows = x - x.mean(dim=1, keepdim=True)
    weights = [frame_convolutions.with_norm(row, conv, norm) for row in rows]
    width = len(x[0]) // 5
    y = frame_convolutions.normalized_convolved(F.pad(rows.flatten()[50:], (0, 5)), weights, 5, width, 10, F.gelu)
    found = torch.cat((y.new_zeros(10, 16), y)).view(len(x), width, 16)[:, : width - 1]
    whole = frame_convolutions.normalized_convolved(rows[0], weights[:1], 5, width, 0, F.gelu)
    torch.testing.assert_close(found[0, 10:], whole[10:], equal_nan=True)
    return torch.cat((whole[None], found[1:]))


def test_a_recording_does_not_depend_on_its_batch(counted):
    torch.manual_seed(0)
    conv, norm, x = nn.Conv1d(1, 16, 10, stride=5), nn.GroupNorm(16, 16), torch.randn(3, 500)
    x[1] *= 100
    x[2] += 1000  # an offset, which takes digits from a norm that is computed from the convolution's result
    with torch.no_grad():
        found, alone = normalized(x, conv, norm), normalized(x[:1], conv, norm)
        exact = F.gelu(norm.double()(conv.double()(x.double()[:, None]))).transpose(1, 2)
    torch.testing.assert_close(found[:1], alone)
    torch.testing.assert_close(found.double(), exact, atol=1e-4, rtol=1e-4)


def test_silence_and_what_is_not_a_number():
    conv, norm = nn.Conv1d(1, 16, 10, stride=5), nn.GroupNorm(16, 16)
    x = torch.zeros(2, 100)
    x[1, 50] = torch.nan
    with torch.no_grad():
        found = normalized(x, conv, norm)
        assert torch.equal(found[0], F.gelu(norm.bias).expand(19, 16))
    assert found[1].isnan().all()


@pytest.mark.parametrize("kernel", [3, 8])
def test_groups_of_a_wide_convolution(kernel):
    conv, x = nn.Conv1d(12, 12, kernel, padding=kernel // 2, groups=3), torch.randn(2, 33, 12)
    with torch.no_grad():
        for length in range(1, 34):
            expected = conv(x[:, :length].transpose(1, 2))[..., :length].transpose(1, 2)
            found = frame_convolutions.group_convolved(x[:, :length], conv.weight, conv.bias, 3)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_what_is_left_to_torch(counted):
    model = Wav2Vec2Model(Wav2Vec2Config(**TINY)).eval()
    x = torch.randn(1, 700)
    model(x)  # with gradients
    with torch.no_grad():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            model(x)
        model.double()(x.double())
        model.float()
        seen = []
        handle = model.feature_extractor.conv_layers[1].conv.register_forward_hook(lambda *given: seen.append(given))
        other = model.encoder.pos_conv_embed.conv.register_forward_pre_hook(lambda *given: seen.append(given))
        model(x)
        handle.remove()
        other.remove()
        assert len(seen) == 2
    assert counted == []


class Louder(nn.Conv1d):
    def forward(self, x):
        return 2 * super().forward(x)


class Twice(nn.Module):
    def __init__(self, layer=None):
        super().__init__()
        self.layer = layer or nn.Identity()

    def forward(self, x):
        return 2 * self.layer(x)


REPLACED = {
    "conv": [
        Louder(24, 16, 2, stride=2),
        Twice(nn.Conv1d(24, 16, 2, stride=2)),
        nn.Conv1d(24, 16, 3, stride=2, padding=1),
        nn.Conv1d(24, 16, 2, stride=2, dilation=2),
        nn.Conv1d(24, 16, 2, stride=2, groups=8),
    ],
    "layer_norm": [nn.GroupNorm(4, 16), nn.GroupNorm(16, 16), nn.BatchNorm1d(16), Twice()],
}


@pytest.mark.parametrize(("name", "layer"), [(name, layer) for name, layers in REPLACED.items() for layer in layers])
def test_layers_that_were_replaced_are_called(counted, monkeypatch, name, layer):
    model = Wav2Vec2Model(Wav2Vec2Config(**TINY))
    setattr(model.feature_extractor.conv_layers[2], name, layer)
    fast, plain = both(model, torch.randn(2, 700), monkeypatch)
    assert counted == ["group_convolved"]
    torch.testing.assert_close(fast.last_hidden_state, plain.last_hidden_state, atol=1e-5, rtol=1e-5)


def test_norms_over_several_channels_are_called(counted, monkeypatch):
    model = Wav2Vec2Model(Wav2Vec2Config(**TINY))
    model.feature_extractor.conv_layers[0].layer_norm = nn.GroupNorm(4, 16)
    fast, plain = both(model, torch.randn(2, 700), monkeypatch)
    torch.testing.assert_close(fast.last_hidden_state, plain.last_hidden_state, atol=1e-5, rtol=1e-5)


def test_subclasses_and_replaced_methods_are_called(counted, monkeypatch):
    model, x = Wav2Vec2Model(Wav2Vec2Config(**TINY)), torch.randn(2, 700)
    for module in (model.feature_extractor.conv_layers[1], model.encoder.pos_conv_embed.conv):
        kind = type(module)
        module.__class__ = type("Other", (kind,), {"forward": lambda self, x, kind=kind: 2 * kind.forward(self, x)})
    fast, plain = both(model, x, monkeypatch)
    assert counted == []
    torch.testing.assert_close(fast.last_hidden_state, plain.last_hidden_state, atol=1e-5, rtol=1e-5)

    model, seen, usual = Wav2Vec2Model(Wav2Vec2Config(**TINY)).eval(), [], nn.Conv1d.forward
    monkeypatch.setattr(nn.Conv1d, "forward", lambda self, x: seen.append(self) or usual(self, x))
    with torch.no_grad():
        model(x)
    assert len(seen) == 3


def spectrogram_encoder():
    size = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "vocab_size": 20}
    tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
    size |= {"decoder_layers": 1, "decoder_attention_heads": 2, "max_source_positions": 50}
    return WhisperForAudioClassification(WhisperConfig(**size, **tokens)).encoder


@pytest.mark.skipif(not few_rows.available(torch.bfloat16), reason="this processor has no bfloat16")
@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("act", ["gelu", "relu"])
def test_recordings_with_8_bits_are_convolved_in_bfloat16(counted, monkeypatch, norm, act):
    torch.manual_seed(0)
    settings = {**TINY, "feat_extract_norm": norm, "feat_extract_activation": act, "conv_bias": True}
    exact = Wav2Vec2Model(Wav2Vec2Config(**settings)).eval()
    for parameter in exact.feature_extractor.parameters():
        nn.init.normal_(parameter, std=0.5)
    rounded, x, types = quantized(exact), torch.randn(2, 700), []
    compute = frame_convolutions._convolution
    monkeypatch.setattr(
        frame_convolutions, "_convolution", lambda x, *given: types.append(x.dtype) or compute(x, *given)
    )
    found = {}
    with torch.no_grad():
        expected = exact(x).extract_features
        for gain in (2.0, 1.0):
            types.clear()
            monkeypatch.setattr(frame_convolutions, "gain_of_rounding", lambda threads, gain=gain: gain)
            found[gain] = rounded(x).extract_features
            rounds = torch.bfloat16 if gain > 1 else torch.float32
            assert types == [*([torch.float32] if norm == "layer" else []), rounds, rounds]
            assert torch.equal(dequantized(rounded)(x).extract_features, expected)
    assert found[2.0].dtype == torch.float32 and torch.equal(found[1.0], expected)
    assert 1e-4 < (found[2.0] - expected).norm() / expected.norm() < 0.02


@pytest.mark.skipif(not few_rows.available(torch.bfloat16), reason="this processor has no bfloat16")
def test_whisper_with_8_bits_convolves_in_bfloat16(counted, monkeypatch):
    config = WhisperConfig(
        d_model=64,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        max_source_positions=64,
    )
    torch.manual_seed(0)
    exact, x = WhisperModel(config).eval(), torch.randn(2, 80, 128)
    rounded, found = quantized(exact), {}
    with torch.no_grad():
        expected = exact.encoder.convolve(x)
        for gain in (2.0, 1.0):
            monkeypatch.setattr(frame_convolutions, "gain_of_rounding", lambda threads, gain=gain: gain)
            torch.testing.assert_close(exact.encoder.convolve(x), expected, rtol=0, atol=0)
            found[gain] = rounded.encoder.convolve(x)
            assert torch.equal(dequantized(rounded).encoder.convolve(x), expected)
    assert found[2.0].dtype == torch.float32 and torch.equal(found[1.0], expected)
    assert 1e-4 < (found[2.0] - expected).norm() / expected.norm() < 0.01


@pytest.mark.parametrize("rows", [1, 3])
def test_whisper_gives_the_same_states(counted, monkeypatch, rows):
    torch.manual_seed(0)
    model = spectrogram_encoder()
    found, expected = both(model, torch.randn(rows, 80, 100), monkeypatch)
    assert counted == ["convolved", "convolved"]
    assert found.hidden_states[0].is_contiguous()
    torch.testing.assert_close(found.hidden_states, expected.hidden_states, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(16, 16, 3, stride=2, padding=1, padding_mode="reflect"),
        nn.Conv1d(16, 16, 5, stride=2, padding=2),
        Twice(nn.Conv1d(16, 16, 3, stride=2, padding=1)),
    ],
)
def test_other_convolutions_of_whisper_are_called(counted, monkeypatch, layer):
    model, x = spectrogram_encoder(), torch.randn(2, 80, 100)
    model.conv2 = layer
    fast, plain = both(model, x, monkeypatch)
    assert counted == []
    torch.testing.assert_close(fast.last_hidden_state, plain.last_hidden_state, atol=1e-5, rtol=1e-5)


def test_convolutions_of_whisper_with_hooks_and_gradients(counted):
    model, x = spectrogram_encoder().eval(), torch.randn(2, 80, 100)
    model(x)
    seen = []
    model.conv1.register_forward_hook(lambda *given: seen.append(given))
    with torch.no_grad():
        model(x)
    assert counted == [] and len(seen) == 1


def test_padded_convolutions_with_other_zeros_are_not_usual():
    conv = nn.Conv1d(8, 8, 3, padding=1, padding_mode="circular")
    assert not frame_convolutions.is_usual(conv, None, zeros=1)
    assert frame_convolutions.is_usual(nn.Conv1d(8, 8, 3, padding=1), None, zeros=1)
    assert not frame_convolutions.is_usual(nn.Conv1d(8, 8, 3, padding=1), None)


def test_attention_is_recorded(counted):
    model = Wav2Vec2Model(Wav2Vec2Config(**TINY)).eval()
    with torch.no_grad(), record_attention(model, layers=[0]) as record:
        frames = model(torch.randn(1, 700)).last_hidden_state.shape[1]
    assert record[0].shape == (1, 2, frames, frames) and "group_convolved" in counted


def test_small_inputs_are_not_timed(monkeypatch):
    monkeypatch.setattr(frame_convolutions, "ratio", lambda threads: pytest.fail("timed"))
    monkeypatch.setattr(frame_convolutions, "group_gain", lambda threads: pytest.fail("timed"))
    with torch.no_grad():
        Wav2Vec2Model(Wav2Vec2Config(**TINY)).eval()(torch.randn(1, 700))


def test_timing(monkeypatch):
    assert frame_convolutions.ratio(torch.get_num_threads()) > 0
    assert frame_convolutions.group_gain(torch.get_num_threads()) > 0
    assert (frame_convolutions.gain_of_rounding(torch.get_num_threads()) > 0) == few_rows.available(torch.bfloat16)
    frame_convolutions.ratio.cache_clear()
    monkeypatch.setattr(frame_convolutions, "available", lambda: False)
    assert frame_convolutions.ratio(-1) == 0


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_few_lengths_are_convolved(counted, monkeypatch, norm, rows):
    """oneDNN keeps what it compiles for each length, number of recordings, and layer. The results are those of torch."""
    torch.manual_seed(0)
    model = Wav2Vec2Model(Wav2Vec2Config(**TINY, feat_extract_norm=norm)).feature_extractor.eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    monkeypatch.setattr(wav2vec2_blocks, "_exact", set())
    shapes: dict[nn.Module, set[torch.Size]] = {}
    compute, normalize = wav2vec2_blocks.convolved, wav2vec2_blocks.normalized_convolved

    def noted(x, conv, *more, **options):
        shapes.setdefault(conv, set()).add(x.shape)
        return compute(x, conv, *more, **options)

    def activated(*given):
        y = normalize(*given)
        shapes.setdefault(model.conv_layers[0], set()).add(y.shape)  # the activation is compiled too
        return y

    monkeypatch.setattr(wav2vec2_blocks, "convolved", noted)
    monkeypatch.setattr(wav2vec2_blocks, "normalized_convolved", activated)
    for samples in range(40, 6000, 97):
        x = torch.randn(rows, samples)
        with torch.no_grad():
            found = model(x)
        assert found.shape == (rows, wav2vec2_blocks.frames_after(samples, model.kernels, model.strides), 16)
        torch.testing.assert_close(found, model(x).detach(), atol=1e-4, rtol=1e-4)
    assert len(shapes) == 3
    # Eight multiples of 16 frames, and the first four numbers.
    assert all(len(found) <= 12 for found in shapes.values()), {conv: len(found) for conv, found in shapes.items()}


def test_long_recordings_are_convolved_in_parts(counted, monkeypatch):
    """All frames of the first convolution at once would take up to 80 MiB for a recording of 12 seconds."""
    model, longest = Wav2Vec2Model(Wav2Vec2Config(**TINY)).eval(), []
    normalize = wav2vec2_blocks.normalized_convolved
    monkeypatch.setattr(
        wav2vec2_blocks, "normalized_convolved", lambda x, *more: longest.append(len(x)) or normalize(x, *more)
    )
    with torch.no_grad():
        model.feature_extractor(torch.randn(2, 12_000))
    hop = 20
    assert len(longest) > 8 and max(longest) <= (wav2vec2_blocks.FRAMES + 2) * hop


def test_a_stream_of_many_lengths_needs_few_convolutions(monkeypatch):
    """oneDNN keeps what it compiles for each shape: an hour of clips of random lengths grew by 700 MiB."""
    torch.manual_seed(0)
    model = Wav2Vec2Model(Wav2Vec2Config(**TINY, feat_extract_norm="layer")).eval()
    seen: dict[torch.Size, set[torch.Size]] = {}
    compute = F.conv1d

    def noted(x, weight, *more, **options):
        seen.setdefault(weight.shape, set()).add(x.shape)
        return compute(x, weight, *more, **options)

    monkeypatch.setattr(F, "conv1d", noted)
    lengths = range(4000, 8000, 7)
    with torch.no_grad():
        for samples in lengths:
            model(torch.randn(1, samples))
        assert len(seen) == 4 and len(lengths) > 500
        assert all(len(shapes) <= 60 for shapes in seen.values()), {key: len(shapes) for key, shapes in seen.items()}
        sound = torch.randn(2, 6789)  # a length that is padded now
        found = model(sound).last_hidden_state
    expected = model(sound).last_hidden_state  # with gradients it is computed as it is
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
