"""Configurations: other names of fields, edits, labels, keys that no family knows, and transformers on the other side."""

from __future__ import annotations

import copy
import json
import pickle
import re
from typing import get_args

import pytest
import torch
import transformers
from reference import NESTED, input_field

import notebook_kit
from notebook_kit import AutoConfig, BertConfig, DistilBertConfig
from notebook_kit.errors import CheckpointError, ConfigurationError, InputError, UnknownArchitectureError
from notebook_kit.fields import Activation
from notebook_kit.models.auto import config_class
from notebook_kit.nn.layers import ACTIVATIONS
from notebook_kit.registry.families import FAMILIES


def reference_class(model_type):
    return getattr(transformers, FAMILIES[model_type].config)


def write(folder, **values):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def listed(value):
    """A tuple as the list that it is in a file."""
    return list(value) if isinstance(value, tuple) else value


# With transformers on the other side ---------------------------------------------------------------------------------

# Fields of the oracle that say nothing about an encoder: what a decoder or another head of the family would read.
NOT_OURS = {
    "transformers_version",
    "_name_or_path",
    "chunk_size_feed_forward",
    "use_cache",
    "is_decoder",
    "add_cross_attention",
    "summary_type",
    "summary_use_proj",
    "summary_activation",
    "summary_first_dropout",
    "summary_last_dropout",
    "summary_proj_to_labels",
    "reorder_and_upcast_attn",
    *("tdnn_dim", "tdnn_kernel", "tdnn_dilation", "xvector_output_dim"),  # of a head that recognizes speakers
    # Nested; compared in tests/models/test_{detection,segmentation}_families.py and tests/models/test_two_towers.py:
    *NESTED,
}


@pytest.mark.parametrize("model_type", list(FAMILIES))
def test_defaults_are_the_references(model_type):
    mine, theirs = config_class(model_type)(), reference_class(model_type)()
    expected = {name: value for name, value in theirs.to_dict().items() if name not in NOT_OURS}
    for name, value in expected.items():
        assert getattr(mine, name) == listed(value), name
    for alias, field in theirs.attribute_map.items():
        if hasattr(theirs, field):  # the oracle's Swin of MaskFormer does not compute it
            assert getattr(mine, alias) == listed(getattr(theirs, field)), alias


@pytest.mark.parametrize("model_type", list(FAMILIES))
def test_config_goes_there_and_back(model_type, tmp_path):
    """Ours loads there, theirs loads here, with equal fields, labels and keys of nobody's included."""
    edits = {
        "num_hidden_layers": 5,
        "id2label": {0: "NEG", 1: "NEU", 2: "POS"},
        "problem_type": "single_label_classification",
        "initializer_range": 0.5,
        "pad_token_id": 4,
    }
    edits[input_field(model_type)] = 77
    if "depths" in config_class(model_type).field_names():  # the number of layers is that of the depths
        del edits["num_hidden_layers"]
    known = config_class(model_type).field_names()  # T5 has no initializer_range, a ResNet no num_hidden_layers
    mine = config_class(model_type)(**{name: value for name, value in edits.items() if name in known})
    mine.a_note_of_mine = {"run": 3}
    mine.save_pretrained(tmp_path / "mine")
    theirs = transformers.AutoConfig.from_pretrained(tmp_path / "mine")
    assert type(theirs) is reference_class(model_type)
    theirs.save_pretrained(tmp_path / "theirs")
    again = AutoConfig.from_pretrained(tmp_path / "theirs")
    assert type(again) is type(mine)
    older = {
        "label2id",
        "rope_theta",
        "rope_scaling",
        "rotary_pct",
        "rotary_emb_base",
    }  # read, and written in another place
    omitted = older | NESTED | set(getattr(mine, "omitted_fields", ()))
    names = [name for name in type(mine).field_names() if name not in omitted]
    for name in names:
        if not hasattr(theirs, name):  # T5 begins with no token, images and sound have none at all
            is_text = FAMILIES[model_type].modality == "text"
            alias = "max_position_embeddings"  # of Whisper's decoder, under the name that BART has for it
            of_swin = model_type == "maskformer-swin" and name in ("encoder_stride", "num_layers")
            has_none = model_type.endswith(("_text_model", "encoder-decoder"))
            is_named = name == alias or of_swin or (name == "tie_word_embeddings" and (not is_text or has_none))
            assert name.endswith("_token_id") or is_named
            setattr(theirs, name, getattr(mine, name))
        assert getattr(mine, name) == getattr(theirs, name) == getattr(again, name), name
    assert mine.label2id == theirs.label2id == again.label2id == {"NEG": 0, "NEU": 1, "POS": 2}
    assert theirs.a_note_of_mine == again.a_note_of_mine == {"run": 3}
    # What transformers wrote and we do not know is written back by us, unchanged.
    again.save_pretrained(tmp_path / "again")
    before = json.loads((tmp_path / "theirs" / "config.json").read_text())
    after = json.loads((tmp_path / "again" / "config.json").read_text())
    before.pop("transformers_version")
    for nested in NESTED:
        for name in ("backbone_config", "is_encoder_decoder"):
            after.get(nested, {}).pop(name, None)
        assert before.pop(nested, {}).items() >= after.pop(nested, {}).items()
    defaults = {"architectures": None, "dtype": None, "is_encoder_decoder": False, "return_dict": True}
    common = {"output_attentions": False, "output_hidden_states": False, "tie_word_embeddings": True}
    for name, value in before.items():
        assert after.get(name, {**defaults, **common}.get(name)) == value, name
    assert set(after) <= set(before) | {"label2id"}


def test_old_config_files(tmp_path):
    """torch_dtype, label ids as text, provenance, and keys that were dropped since."""
    folder = write(
        tmp_path / "old",
        model_type="bert",
        architectures=["BertForSequenceClassification"],
        torch_dtype="float16",
        transformers_version="4.6.0",
        _name_or_path="somebody/else",
        id2label={"0": "no", "1": "yes", "2": "maybe"},
        label2id={"no": 0, "yes": 1, "maybe": 2},
        _num_labels=3,
        gradient_checkpointing=False,
        position_embedding_type="absolute",
        hidden_size=48,
    )
    config = AutoConfig.from_pretrained(folder)
    assert config.dtype == "float16" and config.num_labels == 3 and config.id2label[2] == "maybe"
    assert config.gradient_checkpointing is False and config.extra["position_embedding_type"] == "absolute"
    assert config.name_or_path == str(folder)
    written = config.to_dict()
    assert "transformers_version" not in written and "_name_or_path" not in written
    assert written["_num_labels"] == 3 and written["id2label"] == {"0": "no", "1": "yes", "2": "maybe"}
    json.dumps(written)


# Names and edits -----------------------------------------------------------------------------------------------------


def test_aliases_both_ways(tmp_path):
    config = DistilBertConfig(hidden_size=48, num_attention_heads=4, num_hidden_layers=2)
    assert (config.dim, config.n_heads, config.n_layers) == (48, 4, 2)
    assert (config.hidden_size, config.num_attention_heads, config.num_hidden_layers) == (48, 4, 2)
    config.hidden_size = 64
    assert config.dim == 64
    config.n_layers = 3
    assert config.num_hidden_layers == 3
    written = config.to_dict()
    assert written["dim"] == 64 and "hidden_size" not in written and not config.extra
    assert DistilBertConfig(dim=48, n_heads=4, n_layers=2) == DistilBertConfig(
        hidden_size=48, num_attention_heads=4, num_hidden_layers=2
    )
    folder = write(tmp_path / "both", model_type="distilbert", hidden_size=12, dim=48, n_heads=4)
    assert AutoConfig.from_pretrained(folder).dim == 48  # the family's own name wins
    folder = write(tmp_path / "alias", model_type="distilbert", hidden_size=36)
    assert AutoConfig.from_pretrained(folder).dim == 36


def test_the_quick_tours_edit(tmp_path):
    DistilBertConfig().save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path, n_heads=12)
    assert config.n_heads == 12
    config = AutoConfig.from_pretrained(tmp_path, num_attention_heads=6, num_labels=5)
    assert (config.n_heads, config.num_labels) == (6, 5)
    small = AutoConfig.from_pretrained(tmp_path, n_heads=2, dim=16, hidden_dim=8, n_layers=1, vocab_size=9)
    model = notebook_kit.AutoModel.from_config(small)
    assert model.transformer.sites[0].heads == 2


@pytest.mark.parametrize(
    ("name", "meant"), [("n_head", "n_heads"), ("hiden_size", "hidden_size"), ("num_lables", "num_labels")]
)
def test_misspelt_edit(name, meant, tmp_path):
    DistilBertConfig().save_pretrained(tmp_path)
    for attempt in (lambda: AutoConfig.from_pretrained(tmp_path, **{name: 4}), lambda: DistilBertConfig(**{name: 4})):
        with pytest.raises(ConfigurationError, match=f"no field '{name}'.*Did you mean .*'{meant}'"):
            attempt()
    with pytest.raises(AttributeError, match=meant):
        getattr(DistilBertConfig(), name)


def test_an_edit_may_name_a_kept_key(tmp_path):
    folder = write(tmp_path, model_type="bert", note="old")
    assert AutoConfig.from_pretrained(folder, note="new").note == "new"


def test_width_that_heads_do_not_divide(tmp_path):
    with pytest.raises(ConfigurationError, match="768 cannot be split evenly over 7"):
        BertConfig(num_attention_heads=7)
    with pytest.raises(ConfigurationError, match="768 cannot be split evenly over 7"):
        DistilBertConfig(n_heads=7)
    config = BertConfig()
    config.num_attention_heads = 7
    with pytest.raises(ConfigurationError, match="split evenly"):
        notebook_kit.BertModel(config)
    BertConfig(hidden_size=70, num_attention_heads=7)  # together they fit
    BertConfig().save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path, num_attention_heads=7, hidden_size=70).hidden_size == 70


def test_roberta_counts_from_the_padding():
    with pytest.raises(ConfigurationError, match="RobertaConfig: pad_token_id is None"):
        notebook_kit.RobertaConfig(pad_token_id=None)


# Labels --------------------------------------------------------------------------------------------------------------


def test_labels_follow_from_each_other():
    assert BertConfig().num_labels == 2 and BertConfig().id2label == {0: "LABEL_0", 1: "LABEL_1"}
    assert BertConfig(num_labels=3).label2id == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}
    assert BertConfig(num_labels=1).num_labels == 1
    named = BertConfig(id2label={0: "no", 1: "yes", 2: "maybe"})
    assert named.num_labels == 3 and named.label2id["maybe"] == 2
    assert BertConfig(label2id={"no": 0, "yes": 1}).id2label == {0: "no", 1: "yes"}
    assert BertConfig(id2label={"0": "no", "1": "yes"}).id2label == {0: "no", 1: "yes"}
    assert BertConfig(num_labels=2, id2label={0: "no", 1: "yes"}).label2id == {"no": 0, "yes": 1}
    with pytest.raises(ConfigurationError, match="num_labels=3 contradicts id2label, which names 2"):
        BertConfig(num_labels=3, id2label={0: "no", 1: "yes"})
    config = BertConfig(id2label={0: "no", 1: "yes"})
    config.num_labels = 4
    assert config.id2label[3] == "LABEL_3" and len(config.label2id) == 4


def test_labels_of_one_config_are_not_anothers():
    first, second = BertConfig(), BertConfig()
    first.id2label[0] = "changed"
    first.extra["note"] = 1
    assert second.id2label[0] == "LABEL_0" and not second.extra


def test_edits_of_labels(tmp_path):
    BertConfig(id2label={0: "no", 1: "yes"}).save_pretrained(tmp_path)
    same = AutoConfig.from_pretrained(tmp_path, num_labels=2)
    assert same.id2label == {0: "no", 1: "yes"}  # the number that it has already: the names stay
    more = AutoConfig.from_pretrained(tmp_path, num_labels=3)
    assert more.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"} and len(more.label2id) == 3
    names = AutoConfig.from_pretrained(tmp_path, id2label={0: "a", 1: "b", 2: "c"})
    assert names.num_labels == 3 and names.label2id == {"a": 0, "b": 1, "c": 2}


@pytest.mark.parametrize("labels", [{0: "LABEL_0", 1: "LABEL_1"}, {0: "a"}, {0: "b", 1: "a"}])
def test_labels_survive_saving(labels, tmp_path):
    BertConfig(id2label=labels).save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).id2label == labels
    assert transformers.AutoConfig.from_pretrained(tmp_path).id2label == labels


def test_problem_type():
    assert BertConfig(problem_type="regression").problem_type == "regression"
    with pytest.raises(ConfigurationError, match="Did you mean 'regression'"):
        BertConfig(problem_type="regresion")


# Files ---------------------------------------------------------------------------------------------------------------


def test_broken_files(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        AutoConfig.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        AutoConfig.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="holds a JSON list"):
        AutoConfig.from_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json"):
        AutoConfig.from_pretrained(tmp_path)


def test_unknown_architectures(tmp_path):
    with pytest.raises(
        UnknownArchitectureError, match=r"no architecture 'robertta'. Did you mean 'roberta'[^→]*→.*albert"
    ):
        AutoConfig.from_pretrained(write(tmp_path / "a", model_type="robertta"))
    with pytest.raises(UnknownArchitectureError, match="never runs code from a repository"):
        AutoConfig.from_pretrained(write(tmp_path / "b", model_type="mine", auto_map={"AutoConfig": "x.Y"}))
    with pytest.raises(ConfigurationError, match="has no model_type"):
        AutoConfig.from_pretrained(write(tmp_path / "c", hidden_size=3))
    with pytest.raises(UnknownArchitectureError):
        AutoConfig.for_model("gpt9")
    with pytest.raises(InputError, match="has no instances"):
        AutoConfig()
    with pytest.raises(InputError, match="takes a configuration, and got str"):
        notebook_kit.AutoModel.from_config("bert-base-uncased")


# Everyday Python -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", list(FAMILIES))
def test_copies_and_equality(model_type):
    field = input_field(model_type)
    config = config_class(model_type)(**{field: 50, "num_labels": 3})
    config.note = [1]
    for twin in (copy.deepcopy(config), pickle.loads(pickle.dumps(config)), type(config).from_dict(config.to_dict())):
        assert twin == config and twin is not config and type(twin) is type(config)
        twin.note.append(2)
        twin.id2label[0] = "x"
        assert config.note == [1] and config.id2label[0] == "LABEL_0" and twin != config
    shallow = copy.copy(config)
    assert shallow == config
    assert f"{field}=50" in repr(config) and "note=[1]" in repr(config) and "hidden_act" not in repr(config)
    assert config != config_class(model_type)() and config != "config"
    assert "num_labels" in dir(config)


@pytest.mark.parametrize(
    ("values", "clause"),
    [
        ({"task_specific_params": [1]}, "task_specific_params is a list of 1; expected an object or None"),
        ({"torch_dtype": "weird"}, "dtype is 'weird'; expected one of 'float32', "),
        ({"dtype": "int8"}, "dtype is 'int8'; expected one of 'float32', "),
        ({"is_decoder": "yes"}, "is_decoder is 'yes'; expected True or False or None"),
        ({"decoder_start_token_id": "<s>"}, "decoder_start_token_id is '<s>'; expected a whole number or"),
        ({"tokenizer_class": 5}, "tokenizer_class is 5; expected text or None"),
        ({"id2label": {"0": "no", "2": "yes"}}, "id2label has 2 labels, and none for the index 1"),
        ({"id2label": {"1": "no", "2": "yes"}}, "id2label has 2 labels, and none for the index 0"),
        ({"label2id": {"no": 0, "yes": 2}}, "id2label has 2 labels, and none for the index 1"),
        ({"hidden_act": "gelo"}, "hidden_act is 'gelo'; expected one of 'gelu', "),
    ],
)
def test_values_that_no_config_can_mean(tmp_path, values, clause):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "bert"} | values))
    with pytest.raises(CheckpointError, match=f"{re.escape(str(path))}: .*{re.escape(clause)}"):
        AutoConfig.from_pretrained(tmp_path)
    with pytest.raises(ConfigurationError, match=re.escape(clause)):
        BertConfig(**values)


@pytest.mark.parametrize("values", [{"label2id": None}, {"id2label": None}, {"id2label": {"0": "a"}, "label2id": None}])
def test_null_stands_for_the_default_labels(tmp_path, values):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"} | values))
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.id2label == ({0: "a"} if values.get("id2label") else {0: "LABEL_0", 1: "LABEL_1"})
    assert config.label2id == {label: index for index, label in config.id2label.items()}


def test_activations_are_known_before_a_model_is_built():
    fields = (
        (notebook_kit.ViTConfig, "pooler_act"),
        (notebook_kit.ElectraConfig, "summary_activation"),
        (notebook_kit.BartConfig, "activation_function"),
        (notebook_kit.DistilBertConfig, "activation"),
        (notebook_kit.Wav2Vec2Config, "feat_extract_activation"),
        (notebook_kit.T5Config, "feed_forward_proj"),
    )
    for config, name in fields:
        with pytest.raises(ConfigurationError, match=f"{name} is 'gelo'"):
            config(**{name: "gelo"})
    assert set(get_args(Activation)) == set(ACTIVATIONS)


def test_dtype_is_a_name():
    for given in (torch.float16, "torch.float16", "float16"):
        assert BertConfig(dtype=given).dtype == "float16"
        assert BertConfig(torch_dtype=given).dtype == "float16"
    assert BertConfig(dtype="auto").dtype is None
    assert BertConfig(dtype="half").dtype == "float16" and BertConfig(dtype="torch.double").dtype == "float64"


def test_configurations_need_no_torch():
    import subprocess
    import sys

    code = "import sys, notebook_kit.configuration; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_a_dictionary_of_all_fields_makes_a_copy():
    config = BertConfig(hidden_size=48, num_labels=3)
    assert BertConfig(**config.to_dict()).to_dict() == config.to_dict()
    with pytest.raises(ConfigurationError, match="for models of the type 'bert'"):
        BertConfig(**{**config.to_dict(), "model_type": "gpt2"})


# Names that other families or versions have --------------------------------------------------------------------------


def test_settings_of_other_families_are_kept(tmp_path):
    settings = {"is_decoder": False, "use_cache": True, "finetuning_task": "mrpc", "my_note": 3}
    config, theirs = BertConfig(**settings), transformers.BertConfig(**settings)
    assert {name: getattr(config, name) for name in settings} == {name: getattr(theirs, name) for name in settings}
    config.save_pretrained(tmp_path)
    assert BertConfig.from_pretrained(tmp_path) == config
    assert transformers.BertConfig.from_pretrained(tmp_path).my_note == 3
    edited = AutoConfig.from_pretrained(tmp_path, finetuning_task="sst2", num_labels=3)
    assert (edited.finetuning_task, edited.num_labels) == ("sst2", 3)


@pytest.mark.parametrize(
    ("slip", "meant"), [("hiden_size", "hidden_size"), ("num_lables", "num_labels"), ("use_cach", "use_cache")]
)
def test_names_that_look_like_a_slip_are_errors(slip, meant):
    with pytest.raises(ConfigurationError, match=rf"has no field '{slip}'\. Did you mean '{meant}'"):
        BertConfig(**{slip: 3})


def test_labels_that_are_numbers(tmp_path):
    """Scripts set them from the values of a column."""
    config = BertConfig(num_labels=2)
    config.label2id, config.id2label = {0: 0, 1: 1}, {0: 0, 1: 1}
    config.validate()
    config.save_pretrained(tmp_path)
    assert BertConfig.from_pretrained(tmp_path).id2label[1] in (1, "1")
    with pytest.raises(ConfigurationError, match="id2label"):
        BertConfig(id2label={0: None, 1: 1.5})
