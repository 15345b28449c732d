"""Settings: read from and written to the files of the oracle; what holds when several say something; what cannot be."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from oracle import ONE, pair

from notebook_kit import GenerationConfig
from notebook_kit.errors import CheckpointError, ConfigurationError, HubError, InputError

MANY = {
    "max_new_tokens": 40,
    "min_new_tokens": 2,
    "do_sample": True,
    "num_beams": 4,
    "temperature": 0.7,
    "top_k": 20,
    "top_p": 0.9,
    "min_p": 0.05,
    "typical_p": 0.8,
    "repetition_penalty": 1.2,
    "no_repeat_ngram_size": 3,
    "bad_words_ids": [[5], [6, 7]],
    "forced_bos_token_id": 3,
    "length_penalty": 0.5,
    "early_stopping": "never",
    "eos_token_id": [1, 2],
    "pad_token_id": 3,
    "suppress_tokens": [8, 9],
    "exponential_decay_length_penalty": [4, 1.1],
    "sequence_bias": [[[5, 6], -2.0]],
}


def test_what_we_write_the_oracle_reads(tmp_path):
    GenerationConfig(**MANY).save_pretrained(tmp_path)
    theirs = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert {name: getattr(theirs, name) for name in MANY} == MANY


def test_what_the_oracle_writes_we_read(tmp_path):
    theirs = transformers.GenerationConfig(**MANY)
    theirs.save_pretrained(tmp_path)
    ours = GenerationConfig.from_pretrained(tmp_path)
    assert {name: getattr(ours, name) for name in MANY} == MANY
    ours.save_pretrained(tmp_path / "again")
    assert transformers.GenerationConfig.from_pretrained(tmp_path / "again").to_dict() == theirs.to_dict()


def test_what_is_not_known_is_kept(tmp_path):
    file = tmp_path / "generation_config.json"
    file.write_text(
        json.dumps({"max_length": 30, "watermarking_config": {"bias": 2.0}, "transformers_version": "4.57.0"})
    )
    config = GenerationConfig.from_pretrained(tmp_path, temperature=0.5)
    assert config.watermarking_config == {"bias": 2.0} and config.temperature == 0.5
    config.save_pretrained(tmp_path / "again")
    written = json.loads((tmp_path / "again" / "generation_config.json").read_text())
    assert written == {"max_length": 30, "watermarking_config": {"bias": 2.0}, "temperature": 0.5}


def test_an_older_checkpoint_says_it_in_its_config(tmp_path):
    """Before there was a generation_config.json."""
    reference = pair("gpt2")[1]
    reference.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "max_length": 9, "eos_token_id": 7}))
    model = type(pair("gpt2")[0]).from_pretrained(tmp_path)
    assert model.generation_config.eos_token_id == 7 and model.generation_config.max_length == 9
    assert model.generate(**ONE, eos_token_id=None).shape == (1, 9)


def test_the_call_goes_before_its_config_and_that_before_the_models():
    model = pair("gpt2")[0]
    length = {"eos_token_id": None}
    assert model.generate(**ONE, **length, generation_config=GenerationConfig(max_new_tokens=3)).shape == (1, 9)
    assert model.generate(
        **ONE, **length, generation_config=GenerationConfig(max_new_tokens=3), max_new_tokens=5
    ).shape == (1, 11)
    assert model.generate(
        **ONE, **length, generation_config=GenerationConfig(max_new_tokens=3), max_length=8
    ).shape == (1, 9)
    model.generation_config.update(max_new_tokens=4)
    try:
        assert model.generate(**ONE, **length).shape == (1, 10)
        assert model.generate(**ONE, **length, max_length=8).shape == (1, 8)
    finally:
        model.generation_config.update(max_new_tokens=None)
    config = GenerationConfig(max_new_tokens=3)
    model.generate(**ONE, generation_config=config, max_new_tokens=2, temperature=1.0)
    assert config == GenerationConfig(max_new_tokens=3)  # what is given is left alone


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_new_token": 4}, "no generation setting 'max_new_token'. Did you mean 'max_new_tokens'"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_tokens": 2.5}, "whole number"),
        ({"num_beams": True}, "num_beams is True"),
        ({"top_p": 1.5}, "from 0 to 1"),
        ({"temperature": 0}, "do_sample=False"),
        ({"repetition_penalty": 0.0}, "1.0 for none"),
        ({"early_stopping": "sometimes"}, "early_stopping is 'sometimes'"),
        ({"num_beams": 4, "num_beam_groups": 3}, "4 beams cannot be split into 3"),
        ({"num_beams": 4, "num_beam_groups": 2, "do_sample": True}, "not sampled"),
        ({"num_return_sequences": 3, "do_sample": False}, "Pass num_beams=3"),
        ({"num_return_sequences": 3, "num_beams": 2}, "2 beams give 2"),
        ({"bad_words_ids": [5, 6]}, r"\[\[5, 6\], \[7\]\]"),
        ({"suppress_tokens": [-1]}, "suppress_tokens is"),
    ],
    ids=str,
)
def test_what_cannot_be_is_said(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        GenerationConfig(**settings)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_new_token": 4}, "no argument 'max_new_token'.*Did you mean 'max_new_tokens'"),
        ({"max_new_tokens": 90}, "positions for 64"),
        ({"max_length": 5}, "the prompt alone has 6 tokens"),
        ({"on_interrupt": "stop"}, "on_interrupt is 'stop'"),
        ({"generation_config": {"top_k": 3}}, "Pass a GenerationConfig"),
        ({"logits_processor": ["no rule"]}, "logits_processor holds a str"),
        ({"input_ids": torch.tensor([5, 6])}, r"of shape \(2,\)"),
        ({"input_ids": [[5, 6]]}, "The prompt is a list"),
        ({"input_ids": torch.empty(1, 0, dtype=torch.long)}, "contains no tokens"),
        ({"attention_mask": torch.ones(1, 3)}, "attention_mask has shape"),
        ({"inputs": ONE["input_ids"]}, "came twice"),
    ],
    ids=lambda value: str(list(value)) if isinstance(value, dict) else None,
)
def test_what_does_not_fit_the_model_is_said(given, message):
    with pytest.raises(InputError, match=message):
        pair("gpt2")[0].generate(**{**ONE, **given})


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises((HubError, CheckpointError), match=r"generation_config\.json"):
        GenerationConfig.from_pretrained(tmp_path)
    for content, message in (("{", "not valid JSON"), ("[1]", "a JSON list")):
        (tmp_path / "generation_config.json").write_text(content)
        with pytest.raises(CheckpointError, match=message):
            GenerationConfig.from_pretrained(tmp_path)
