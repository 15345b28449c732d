"""Configurations within configurations, and configurations as files."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any, ClassVar

import pytest
import torch
import transformers
from reference import NESTED, input_field

from notebook_kit import AutoConfig, BertConfig, DistilBertConfig, PretrainedConfig
from notebook_kit.errors import CheckpointError, ConfigurationError
from notebook_kit.models.auto import config_class
from notebook_kit.registry.families import FAMILIES


class PairConfig(PretrainedConfig):
    model_type: ClassVar[str] = "pair"
    sub_configs: ClassVar[dict[str, Any]] = {"text_config": BertConfig, "reader_config": AutoConfig}

    text_config: Any = None
    reader_config: Any = None
    projection_dim: int = 16


TEXT = {"model_type": "bert", "hidden_size": 48, "num_attention_heads": 4, "a_note": [1]}
FILE = {"model_type": "pair", "text_config": TEXT, "reader_config": {"model_type": "distilbert", "dim": 36}, "seed": 7}


def test_nested_configs_are_read_edited_and_written(tmp_path):
    config = PairConfig.from_dict(FILE)
    assert isinstance(config.text_config, BertConfig) and isinstance(config.reader_config, DistilBertConfig)
    assert config.text_config.hidden_size == 48 and config.text_config.a_note == [1] and config.reader_config.dim == 36
    config.text_config.hidden_size = 96
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["text_config"]["hidden_size"] == 96 and written["text_config"]["a_note"] == [1]
    assert written["text_config"]["model_type"] == "bert" and "return_dict" not in written["text_config"]
    assert written["seed"] == 7
    assert PairConfig.from_pretrained(tmp_path) == config != PairConfig.from_dict(FILE)
    again = PairConfig.from_pretrained(tmp_path, text_config={"num_hidden_layers": 2}, projection_dim=3)
    assert (again.text_config.num_hidden_layers, again.text_config.hidden_size, again.projection_dim) == (2, 96, 3)


def test_nested_configs_in_the_constructor():
    assert PairConfig().text_config == BertConfig() and PairConfig().reader_config is None
    given = PairConfig(text_config={"hidden_size": 24}, reader_config={"model_type": "bert", "hidden_size": 12})
    assert given.text_config == BertConfig(hidden_size=24) and given.reader_config == BertConfig(hidden_size=12)
    text = BertConfig(vocab_size=9)
    assert PairConfig(text_config=text).text_config is text
    given.text_config = {"hidden_size": 36}
    assert given.text_config == BertConfig(hidden_size=36)
    with pytest.raises(ConfigurationError, match="BertConfig has no field 'hiden_size'"):
        PairConfig(text_config={"hiden_size": 3})
    with pytest.raises(ConfigurationError, match="BertConfig is for models of the type 'bert'"):
        PairConfig(text_config={"model_type": "gpt2"})
    with pytest.raises(ConfigurationError, match="width of 50 cannot be split"):
        PairConfig(text_config={"hidden_size": 50})


def test_nested_configs_are_copied_and_compared():
    config = PairConfig.from_dict(FILE)
    for twin in (copy.deepcopy(config), pickle.loads(pickle.dumps(config)), PairConfig.from_dict(config.to_dict())):
        assert twin.text_config == config.text_config and twin.text_config is not config.text_config
        twin.text_config.a_note.append(2)
        assert config.text_config.a_note == [1] and twin != config
    assert "text_config=BertConfig(hidden_size=48" in repr(config)
    assert "text_config" not in repr(PairConfig())


def test_nested_configs_as_transformers_has_them(tmp_path):
    theirs = transformers.CLIPConfig(text_config={"hidden_size": 24, "num_attention_heads": 2}, projection_dim=8)
    theirs.save_pretrained(tmp_path)

    class ClipText(PretrainedConfig):
        model_type: ClassVar[str] = "clip_text_model"
        hidden_size: int = 512
        num_attention_heads: int = 8

    class Clip(PretrainedConfig):
        model_type: ClassVar[str] = "clip"
        sub_configs: ClassVar[dict[str, Any]] = {"text_config": ClipText}
        text_config: Any = None
        projection_dim: int = 512

    config = Clip.from_pretrained(tmp_path)
    assert config.text_config.hidden_size == 24 and config.vision_config["hidden_size"] == 768
    config.text_config.num_hidden_layers = 3
    config.save_pretrained(tmp_path / "again")
    back = transformers.AutoConfig.from_pretrained(tmp_path / "again")
    assert back.text_config.num_hidden_layers == 3 and back.text_config.hidden_size == 24
    assert back.vision_config.to_dict() == theirs.vision_config.to_dict()


# As files -------------------------------------------------------------------------------------------------------------


def test_a_config_is_a_file(tmp_path):
    config = BertConfig(hidden_size=48, num_labels=3)
    config.note = "kept"
    path = tmp_path / "settings.json"
    config.to_json_file(path)
    for read in (
        AutoConfig.from_pretrained(path),
        BertConfig.from_pretrained(str(path)),
        BertConfig.from_json_file(path),
    ):
        assert read == config and type(read) is BertConfig
    assert AutoConfig.from_pretrained(path, num_hidden_layers=2).num_hidden_layers == 2
    assert AutoConfig.from_pretrained(path).name_or_path == str(path)
    whole = json.loads(config.to_json_string(use_diff=False))
    assert whole == config.to_dict() and whole["return_dict"] is True
    config.to_json_file(path, use_diff=False)
    assert json.loads(path.read_text()) == whole and BertConfig.from_json_file(path) == config
    assert transformers.BertConfig.from_json_file(path).hidden_size == 48
    path.write_text("{")
    with pytest.raises(CheckpointError, match=r"settings\.json cannot be read"):
        AutoConfig.from_pretrained(path)


@pytest.mark.parametrize("model_type", list(FAMILIES))
def test_what_differs_from_the_usual_is_what_transformers_says(model_type):
    field = input_field(model_type)
    edits = {field: 77, "num_labels": 3, "architectures": ["X"]}
    mine = config_class(model_type)(**edits)
    theirs = getattr(transformers, FAMILIES[model_type].config)(**edits)
    mine_diff, their_diff = mine.to_diff_dict(), theirs.to_diff_dict()
    their_diff["id2label"] = {str(index): label for index, label in their_diff["id2label"].items()}
    common = {field for field in PretrainedConfig.field_names() if field in their_diff.keys() | mine_diff.keys()}
    for name in common - {"tie_word_embeddings", "pad_token_id", "bos_token_id", "eos_token_id", "is_encoder_decoder"}:
        assert mine_diff.get(name) == their_diff.get(name), name
    for name in their_diff.keys() & set(type(mine).field_names()) - {"is_encoder_decoder", *NESTED}:
        assert mine.to_dict()[type(mine).attribute_map.get(name, name)] == their_diff[name], name
    for name in NESTED:  # a part of that in the dictionary
        mine_diff.pop(name, None)
    assert mine_diff.items() <= mine.to_dict().items()
    assert mine_diff[field] == 77 and "return_dict" not in mine_diff and "return_dict" in mine.to_dict()


def test_the_older_name_of_the_dtype():
    config = BertConfig(dtype="float16")
    assert config.torch_dtype == "float16"
    config.torch_dtype = torch.bfloat16
    assert config.dtype == config.torch_dtype == "bfloat16"
    config.dtype = torch.float32
    assert json.loads(config.to_json_string())["dtype"] == "float32"
    assert "torch_dtype" not in config.to_dict()
    assert BertConfig.from_dict({"torch_dtype": "float16"}).dtype == "float16"
    assert BertConfig.from_dict({"torch_dtype": "float16", "dtype": "bfloat16"}).dtype == "bfloat16"


def test_text_config_and_membership():
    from notebook_kit import BertConfig

    config = BertConfig()
    assert "hidden_size" in config and "text_config" not in config and 3 not in config
    assert config.get_text_config() is config is config.get_text_config(decoder=True)
