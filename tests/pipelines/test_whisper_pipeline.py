"""A tiny random Whisper through the pipelines of both libraries: short and long recordings, beams, times, languages, pieces."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from notebook_kit import pipeline
from notebook_kit.errors import InputError

sys.path.insert(0, str(Path(__file__).parents[1] / "processing" / "audio"))
from speech_vocabularies import write_whisper

GREEDY = {"generate_kwargs": {"num_beams": 1}}
SIZES = {
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 36,
    "decoder_ffn_dim": 30,
    "max_source_positions": 50,
    "max_target_positions": 64,
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = write_whisper(tmp_path_factory.mktemp("whisper"))
    ids = transformers.WhisperTokenizer.from_pretrained(folder).convert_tokens_to_ids
    end, start, last = ids("<|endoftext|>"), ids("<|startoftranscript|>"), ids("<|notimestamps|>")
    tokens = {"eos_token_id": end, "bos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    torch.manual_seed(0)
    config = transformers.WhisperConfig(vocab_size=last + 52, num_mel_bins=80, init_std=0.5, **SIZES, **tokens)
    model = transformers.WhisperForConditionalGeneration(config)
    with torch.no_grad():
        model.model.decoder.embed_tokens.weight[end] *= 1.4
        for layer in model.model.decoder.layers:
            layer.encoder_attn.q_proj.weight.mul_(3)  # attention that differs between frames
    settings = {
        **tokens,
        "no_timestamps_token_id": last,
        "max_initial_timestamp_index": 12,
        "is_multilingual": True,
        "lang_to_id": {"<|en|>": ids("<|en|>"), "<|te|>": ids("<|te|>")},
        "task_to_id": {"transcribe": ids("<|transcribe|>"), "translate": ids("<|translate|>")},
        "prev_sot_token_id": ids("<|startofprev|>"),
        "alignment_heads": [[0, 1], [1, 0]],
        "suppress_tokens": [*range(start, last)],
        "begin_suppress_tokens": [end],
        "max_length": 40,
    }
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(chunk_length=1).save_pretrained(folder)
    oracle = transformers.pipeline("automatic-speech-recognition", model=str(folder))
    oracle.model.set_attn_implementation("eager")  # which gives the attention that times of words are read from
    for name, value in settings.items():
        setattr(oracle.model.generation_config, name, value)
    return pipeline("automatic-speech-recognition", model=folder), oracle


@pytest.mark.parametrize(
    ("length", "options"),
    [
        (12_000, {}),
        (12_000, {"return_timestamps": True, "return_language": True}),
        (12_000, {"generate_kwargs": {"num_beams": 1, "language": "te", "task": "translate"}}),
        (12_000, {"return_timestamps": "word", **GREEDY}),
        (40_000, {"return_timestamps": True}),
        (40_000, {"return_timestamps": "word", **GREEDY}),
        (40_000, {"return_timestamps": True, "chunk_length_s": 1, **GREEDY}),
    ],
)
def test_as_the_oracle(pair, length, options):
    ours, oracle = pair
    noise = 0.1 * np.random.default_rng(0).normal(size=length)
    sound = (0.4 * np.sin(np.arange(length) ** 1.3 / 90) + noise).astype(np.float32)
    expected = oracle(sound.copy(), **{k: dict(v) if isinstance(v, dict) else v for k, v in options.items()})
    assert ours(sound, **options) == expected and expected["text"]


@pytest.mark.parametrize("value", ["segment", "char", "words"])
def test_times_that_whisper_cannot_give(pair, value):
    with pytest.raises(InputError, match=f"return_timestamps is {value!r}, which Whisper") as caught:
        pair[0](np.ones(4_000), return_timestamps=value)
    assert 'True for the times of segments, or "word"' in caught.value.next_step
