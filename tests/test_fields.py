"""Types of fields, and files whose values do not have them."""

from __future__ import annotations

import json
import math
import warnings
from typing import Annotated, Any, ClassVar, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notebook_kit import (
    AutoBackbone,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    BertConfig,
    DetrConfig,
    GPT2Config,
    LlamaConfig,
    ResNetConfig,
)
from notebook_kit.errors import CheckpointError, ConfigurationError, NotebookKitError, NotebookKitWarning
from notebook_kit.fields import Range, mismatch, types_of
from notebook_kit.files import read_json
from notebook_kit.models.auto import config_class
from notebook_kit.registry.families import FAMILIES

SETTINGS = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


class Settings:
    kind: ClassVar[str] = "own"
    length: Annotated[int, Range(1)] | None = None
    side: Literal["left", "right"] = "right"
    lower: bool = False
    rate: float = 0.5
    names: list[str] | None = None
    labels: dict[int, str] | None = None
    loose: int = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("length", 1),
        ("length", int(1e30)),  # the length that older tokenizers store for "no limit"
        ("length", None),
        ("side", "left"),
        ("lower", True),
        ("rate", 1),
        ("names", ["a", "b"]),
        ("names", []),
        ("labels", {"0": "a", 1: "b"}),
        ("loose", None),
        ("unknown", math.nan),
        ("kind", 5),
    ],
)
def test_values_that_fit(field, value):
    assert mismatch({field: value}, types_of(Settings)) == ""


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("length", 0, "length is 0; expected a whole number from 1 up or None"),
        ("length", 2.0, "length is 2.0; expected a whole number from 1 up or None"),
        ("length", True, "length is True; expected a whole number from 1 up or None"),
        ("side", "up", "side is 'up'; expected 'left' or 'right'"),
        ("lower", "true", "lower is 'true'; expected True or False"),
        ("lower", 1, "lower is 1; expected True or False"),
        ("rate", math.nan, "rate is nan; expected a number"),
        ("rate", -math.inf, "rate is -inf; expected a number"),
        ("rate", 10**400, "rate is inf; expected a number"),
        ("rate", None, "rate is None; expected a number"),
        ("names", "ab", "names is 'ab'; expected a list of texts or None"),
        ("names", [1], "names is a list of 1; expected a list of texts or None"),
        ("labels", {"a": "b"}, "labels is a JSON object of 1; expected an object whose values are texts or None"),
        ("labels", ["b"], "labels is a list of 1; expected an object whose values are texts or None"),
        ("loose", "x" * 100, f"loose is '{'x' * 56}...; expected a whole number or None"),
    ],
)
def test_values_that_do_not_fit(field, value, message):
    assert mismatch({field: value}, types_of(Settings)) == message


def test_annotations_that_cannot_be_evaluated_are_left_out():
    class Local:
        width: NoSuchName = 3  # type: ignore[name-defined]  # noqa: F821

    assert types_of(Local) == {}


# Files ---------------------------------------------------------------------------------------------------------------


def test_a_file_is_checked_when_it_is_read(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text('{"rate": "fast"}')
    assert read_json(path) == {"rate": "fast"}
    with pytest.raises(
        CheckpointError, match=r"settings\.json: rate is 'fast'; expected a number\.\n→ Correct the file"
    ):
        read_json(path, types=types_of(Settings))


@pytest.mark.parametrize("digits", [41, 400, 5000])
def test_numbers_with_too_many_digits_are_named(tmp_path, digits):
    path = tmp_path / "config.json"
    path.write_text(f'{{"model_type": "bert", "hidden_size": {"9" * digits}}}')
    with pytest.raises(CheckpointError, match=r"config\.json: hidden_size is (1e\+\d+|inf); expected a whole number"):
        AutoConfig.from_pretrained(path)
    path.write_text(f'{{"model_type": "bert", "note": {"9" * digits}, "hidden_size": 768}}')
    assert AutoConfig.from_pretrained(path).hidden_size == 768


@pytest.mark.parametrize("depth", [101, 900, 100_000])
def test_deep_values_are_an_error(tmp_path, depth):
    path = tmp_path / "config.json"
    path.write_text('{"model_type": "bert", "note": ' + "[" * depth + "]" * depth + "}")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read: .*nested"):
        AutoConfig.from_pretrained(path)


# Configurations ------------------------------------------------------------------------------------------------------

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 16,
    "vocab_size": 40,
    "max_position_embeddings": 32,
    "image_size": 16,
    "patch_size": 4,
    "embedding_size": 8,
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
    "num_stages": 2,
    "embed_dim": 8,
    "window_size": 2,
}
TOWER = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
OWN = {
    "whisper": {"encoder_attention_heads": 2, "decoder_attention_heads": 2},
    "swin": {"num_heads": [1, 2]},
    "maskformer-swin": {"num_heads": [1, 2]},
    "segformer": {
        "num_encoder_blocks": 2,
        "num_attention_heads": [1, 2],
        **{name: [2, 2] for name in ("sr_ratios", "patch_sizes", "strides", "mlp_ratios")},
    },
    "maskformer": {
        "backbone_config": ResNetConfig(**{n: SMALL[n] for n in ("hidden_sizes", "depths")}, out_indices=[1, 2]),
        "decoder_config": DetrConfig(d_model=16, decoder_layers=1, encoder_layers=0, decoder_ffn_dim=16),
        "fpn_feature_size": 32,
    },
    "blip": {"text_config": {**TOWER, "vocab_size": 40}, "vision_config": {**TOWER, "image_size": 16, "patch_size": 4}},
    "clip": {"text_config": {**TOWER, "vocab_size": 40}, "vision_config": {**TOWER, "image_size": 16, "patch_size": 4}},
    "donut-swin": {"num_heads": [1, 2]},
    "siglip": {
        "text_config": {**TOWER, "vocab_size": 40},
        "vision_config": {**TOWER, "image_size": 16, "patch_size": 4},
    },
}


AUTO = {
    "encoder-decoder": AutoModelForSeq2SeqLM,
    "maskformer-swin": AutoBackbone,
    "trocr": AutoModelForCausalLM,
    "vision-encoder-decoder": AutoModelForImageTextToText,
}
READERS = {
    "encoder-decoder": config_class("bert")(**TOWER, vocab_size=40),
    "vision-encoder-decoder": config_class("vit")(**TOWER, image_size=16, patch_size=4),
}
"""The configuration of the encoder of a pair."""


@pytest.fixture(scope="module", params=list(FAMILIES))
def checkpoint(request, tmp_path_factory):
    """A folder with a tiny model of a family, and its complete `config.json`."""
    kind = config_class(request.param)
    own = OWN.get(request.param, {})
    names = set(kind.field_names()) - ({"num_hidden_layers", "hidden_size"} if "swin" in request.param else set())
    config = kind(**{name: value for name, value in {**SMALL, **own}.items() if name in {*names, *own}})
    if request.param in READERS:
        config = kind.from_encoder_decoder_configs(
            READERS[request.param],
            config_class("gpt2")(n_embd=16, n_layer=1, n_head=2, vocab_size=40, n_positions=20, is_decoder=True),
        )
    folder = tmp_path_factory.mktemp(request.param)
    auto = AUTO.get(request.param, AutoModel)
    auto.from_config(config).save_pretrained(folder)
    return folder, config.to_dict()


ODD = st.sampled_from(
    [
        None,
        True,
        "x",
        "",
        [],
        {},
        [1],
        {"a": 1},
        -1,
        0,
        1.5,
        10**9,
        10**12,
        10**30,
        -(10**19),
        1e300,
        math.nan,
        math.inf,
    ]
)


@settings(max_examples=60, **SETTINGS)
@given(data=st.data())
def test_any_value_in_a_config_loads_or_is_an_error_of_ours(checkpoint, data):
    folder, values = checkpoint
    names = [*values, "torch_dtype", "rope_theta", "rope_scaling", "num_labels"]
    edits = data.draw(st.dictionaries(st.sampled_from(names), ODD, min_size=1, max_size=2))
    loads_or_is_an_error_of_ours(folder, values, edits)


def test_a_model_without_layers_loads_or_is_an_error_of_ours(checkpoint):
    folder, values = checkpoint
    none = {name: 0 for name in values if name.endswith(("_layers", "n_layer"))}
    loads_or_is_an_error_of_ours(folder, values, none)


def loads_or_is_an_error_of_ours(folder, values, edits):
    (folder / "config.json").write_text(json.dumps({**values, **edits}))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotebookKitWarning)  # weights of a layer that the config leaves out
            AUTO.get(values["model_type"], AutoModel).from_pretrained(folder, config=AutoConfig.from_pretrained(folder))
    except NotebookKitError as error:
        assert error.next_step


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("num_hidden_layers", 10**9, "a whole number from 0 to 10,000"),
        ("vocab_size", 10**12, "a whole number from 1 to 100,000,000"),
        ("num_attention_heads", 0, "a whole number from 1 to 1,000,000"),
        ("hidden_size", -768, "a whole number from 1 to 1,000,000"),
        ("hidden_dropout_prob", 1.5, "a number from 0 to 1"),
        ("layer_norm_eps", math.nan, "a number from 0 up"),
        ("id2label", ["a"], "an object whose values are texts or None"),
        ("architectures", "BertModel", "a list of texts or None"),
        (
            "torch_dtype",
            16,
            "one of 'float32', 'float16', 'bfloat16', 'float64', 'float8_e4m3fn' or 'float8_e5m2' or None",
        ),
    ],
)
def test_the_file_and_the_field_are_named(tmp_path, field, value, expected):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "bert", field: value}))
    for read in (AutoConfig.from_pretrained, BertConfig.from_pretrained, BertConfig.from_json_file):
        with pytest.raises(CheckpointError) as caught:
            read(path)
        assert f"{path}: {field} is " in str(caught.value) and f"; expected {expected}." in str(caught.value)
    with pytest.raises(ConfigurationError, match=f"BertConfig: (dtype|{field}) is "):
        BertConfig(**{field: value if field != "torch_dtype" else ["float16"]})


@pytest.mark.parametrize("model_type", [5, None, "", ["bert"], {}])
def test_a_model_type_that_is_not_text(tmp_path, model_type):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(NotebookKitError, match=r"config\.json.*model_type"):
        AutoConfig.from_pretrained(path)


@pytest.mark.parametrize(
    "scaling", ["x", [], {"rope_type": "linear", "factor": "two"}, {"rope_type": "yarn", "factor": 0}]
)
def test_rotary_parameters_are_checked(tmp_path, scaling):
    path = tmp_path / "config.json"
    for name in ("rope_scaling", "rope_parameters"):
        path.write_text(json.dumps({"model_type": "llama", name: scaling}))
        with pytest.raises(CheckpointError, match=rf"config\.json: {name}(\.factor)? is "):
            LlamaConfig.from_pretrained(path)


REAL: list[tuple[type, dict[str, Any]]] = [
    (
        BertConfig,
        {"classifier_dropout": None, "pad_token_id": 0, "gradient_checkpointing": False, "directionality": "bidi"},
    ),
    (BertConfig, {"hidden_dropout_prob": 0, "label2id": {"neg": "0"}, "_num_labels": 2, "problem_type": None}),
    (GPT2Config, {"n_ctx": 1024, "n_inner": None, "task_specific_params": {"text-generation": {"do_sample": True}}}),
    (
        LlamaConfig,
        {"pad_token_id": -1, "rope_scaling": None, "rope_theta": 500000, "eos_token_id": [1, 2], "head_dim": None},
    ),
]


@pytest.mark.parametrize(("kind", "values"), REAL)
def test_files_of_the_hub_are_accepted(kind, values):
    config = kind.from_dict(values)
    assert all(getattr(config, name) == value for name, value in values.items() if name not in ("label2id", "head_dim"))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(list(FAMILIES)), st.data())
def test_a_constructor_takes_any_value_or_raises_an_error_of_ours(family, data):
    kind = config_class(family)
    name = data.draw(st.sampled_from(kind.field_names()))
    value = data.draw(ODD)
    try:
        kind(**{name: value})
    except ConfigurationError as error:
        assert error.next_step
