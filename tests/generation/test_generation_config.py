"""Settings: read from and written to the files of the oracle; what holds when several say something; what cannot be."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from oracle import ONE, pair

from notebook_kit import GenerationConfig, GenerationMode
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
        ({"max_new_token": 4}, "no setting 'max_new_token'. Did you mean 'max_new_tokens'"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_tokens": 2.5}, "max_new_tokens is 2.5; expected a whole number from 1 up"),
        ({"num_beams": True}, "num_beams is True"),
        ({"top_p": 1.5}, "from 0 to 1"),
        ({"typical_p": 0}, "typical_p is 0; expected a number above 0, at most 1"),
        ({"typical_p": "1"}, "typical_p is '1'"),
        ({"temperature": 0, "do_sample": True}, "do_sample=False"),
        ({"repetition_penalty": 0.0}, "1.0 for none"),
        ({"early_stopping": "sometimes"}, "early_stopping is 'sometimes'; expected True or False or 'never'"),
        ({"num_beams": 4, "num_beam_groups": 3}, "4 beams cannot be split into 3"),
        ({"num_beams": 4, "num_beam_groups": 2, "do_sample": True}, "not sampled"),
        ({"num_return_sequences": 3, "do_sample": False}, "Pass num_beams=3"),
        ({"num_return_sequences": 3, "num_beams": 2}, "2 beams give 2"),
        ({"bad_words_ids": [5, 6]}, "bad_words_ids is a list of 2; expected a list of lists"),
        ({"bad_words_ids": [[]]}, r"\[\[5, 6\], \[7\]\]"),
        ({"sequence_bias": {(): 1.0}}, r"\{\(5, 6\): -2.0\}"),
        ({"sequence_bias": [[[5], "x"]]}, r"\{\(5, 6\): -2.0\}"),
        ({"exponential_decay_length_penalty": [5]}, "exponential_decay_length_penalty is"),
        ({"stop_strings": ["a", ""]}, "without empty texts"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"eos_token_id": "</s>"}, "eos_token_id is '</s>'"),
        ({"decoder_start_token_id": [1.5]}, "decoder_start_token_id is"),
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


def test_a_file_of_another_name(tmp_path):
    config = GenerationConfig(max_new_tokens=40, top_k=3)
    config.save_pretrained(tmp_path, "translate.json")
    assert [file.name for file in tmp_path.iterdir()] == ["translate.json"]
    for kind in (GenerationConfig, transformers.GenerationConfig):
        read = kind.from_pretrained(tmp_path, "translate.json", top_k=5)
        assert (read.max_new_tokens, read.top_k) == (40, 5)
    assert GenerationConfig.from_pretrained(tmp_path, config_file_name="translate.json") == config
    with pytest.raises(CheckpointError, match=r"generation_config\.json"):
        GenerationConfig.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="config_file_name is 5; expected the name of a file"):
        config.save_pretrained(tmp_path, config_file_name=5)
    theirs = transformers.GenerationConfig(max_new_tokens=7)
    theirs.save_pretrained(tmp_path, config_file_name="theirs.json")
    assert GenerationConfig.from_pretrained(tmp_path, "theirs.json").max_new_tokens == 7


WRONG = [float("nan"), float("inf"), -7, 2.5, "x", [], [[]], [["a"]], {}, {"a": "b"}, 10**400, True, [None]]


@pytest.mark.parametrize("name", GenerationConfig.names())
def test_values_of_a_file_are_checked_and_named(tmp_path, name):
    """Each setting with each wrong value: an error that names the file and the setting, or a config that is read."""
    refused = 0
    for value in WRONG:
        (tmp_path / "generation_config.json").write_text(json.dumps({name: value}))
        try:
            GenerationConfig.from_pretrained(tmp_path)
        except CheckpointError as error:
            assert "generation_config.json" in str(error) and name in str(error)
            refused += 1
    assert refused >= 8
    (tmp_path / "generation_config.json").write_text(json.dumps({name: None}))
    assert getattr(GenerationConfig.from_pretrained(tmp_path), name) is None


def test_a_model_names_the_file_of_a_wrong_setting(tmp_path):
    model = pair("gpt2")[0]
    model.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"top_p": 5}')
    with pytest.raises(CheckpointError, match=r"generation_config\.json: top_p is 5; expected a number from 0 to 1"):
        type(model).from_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_beams": 0}))
    with pytest.raises(CheckpointError, match=r"config\.json of .*: num_beams is 0"):
        type(model).from_pretrained(tmp_path)


def test_settings_of_other_libraries_are_kept():
    config = GenerationConfig(pad_token="<pad>", cache_config={"a": 1}, my_note=5)
    assert (config.pad_token, config.cache_config, config.my_note) == ("<pad>", {"a": 1}, 5)
    assert config.to_dict() == {"pad_token": "<pad>", "cache_config": {"a": 1}, "my_note": 5}
    assert transformers.GenerationConfig(pad_token="<pad>", my_note=5).my_note == config.my_note


SPEECH = {
    "alignment_heads": [[0, 1]],
    "compression_ratio_threshold": 1.35,
    "condition_on_prev_tokens": True,
    "force_unique_generate_call": False,
    "forced_decoder_ids": [[1, 3]],
    "is_multilingual": True,
    "lang_to_id": {"<|en|>": 3},
    "language": "en",
    "logprob_threshold": -1.0,
    "max_initial_timestamp_index": 50,
    "median_filter_width": 7,
    "no_speech_threshold": 0.6,
    "no_timestamps_token_id": 9,
    "prev_sot_token_id": 7,
    "return_timestamps": False,
    "task": "transcribe",
    "task_to_id": {"transcribe": 4, "translate": 5},
    "use_scan": False,
}


def test_settings_of_whispers_files_are_kept(tmp_path):
    config, updated = GenerationConfig(**SPEECH), GenerationConfig()
    updated.update(**SPEECH)
    transformers.GenerationConfig(**SPEECH).save_pretrained(tmp_path)
    assert config == updated == GenerationConfig.from_pretrained(tmp_path)
    assert config.to_dict() == SPEECH
    config.save_pretrained(tmp_path)
    theirs = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert {name: getattr(theirs, name) for name in SPEECH} == SPEECH


@pytest.mark.parametrize(
    ("slip", "meant"),
    [("lang_to_ids", "lang_to_id"), ("no_timestamp_token_id", "no_timestamps_token_id"), ("languages", "language")],
)
def test_a_slip_in_a_setting_of_whispers_files_is_an_error(slip, meant):
    with pytest.raises(ConfigurationError, match=f"no setting '{slip}'. Did you mean '{meant}'"):
        GenerationConfig(**{slip: 3})


MODES = [
    {},
    {"do_sample": True},
    {"num_beams": 2},
    {"num_beams": 2, "do_sample": True},
    {"prompt_lookup_num_tokens": 3},
]
MODES.append({"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5, "do_sample": False})


@pytest.mark.parametrize("settings", MODES, ids=str)
def test_the_way_of_searching_is_that_of_the_oracle(settings):
    theirs = transformers.GenerationConfig(**settings).get_generation_mode()
    mode = GenerationConfig(**settings).get_generation_mode()
    assert isinstance(mode, GenerationMode) and mode == theirs.value
    assert GenerationConfig().get_generation_mode(object()) is GenerationMode.ASSISTED_GENERATION


def test_an_update_returns_what_is_not_a_setting():
    config, theirs = GenerationConfig(), transformers.GenerationConfig()
    assert config.update(max_new_tokens=5, foo="bar") == theirs.update(max_new_tokens=5, foo="bar") == {"foo": "bar"}
    assert config.max_new_tokens == 5


def test_a_refused_update_changes_nothing():
    config = GenerationConfig(top_k=5)
    for bad in ({"top_k": 7, "top_p": 3.0}, {"top_k": 7, "max_new_token": 4}, {"note": 1, "num_beams": 0}):
        with pytest.raises(ConfigurationError):
            config.update(**bad)
        assert config == GenerationConfig(top_k=5)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises((HubError, CheckpointError), match=r"generation_config\.json"):
        GenerationConfig.from_pretrained(tmp_path)
    for content, message in (("{", "not valid JSON"), ("[1]", "a JSON list")):
        (tmp_path / "generation_config.json").write_text(content)
        with pytest.raises(CheckpointError, match=message):
            GenerationConfig.from_pretrained(tmp_path)
