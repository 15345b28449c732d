"""Classes of users behind the Auto classes, as the guides of transformers write them."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torch import nn

from notebook_kit import (
    AutoConfig,
    AutoModel,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from notebook_kit.errors import InputError, UnknownArchitectureError
from notebook_kit.models.lookup import REGISTERED
from notebook_kit.processing.text.classes import BertTokenizer
from notebook_kit.processing.text.tokenizer import CLASSES_BY_MODEL_TYPE, TOKENIZER_CLASSES


class OwnConfig(PretrainedConfig):
    model_type = "own-model"

    def __init__(self, width=8, kind="plain", **kwargs):
        if kind not in ("plain", "fancy"):
            raise ValueError(f"kind must be plain or fancy, got {kind}")
        self.width = width
        self.kind = kind
        super().__init__(**kwargs)


class OwnModel(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.layer = nn.Linear(config.width, config.num_labels)
        self.post_init()

    def forward(self, x):
        return self.layer(x)


class OwnTokenizer(PreTrainedTokenizerFast):
    pass


@pytest.fixture
def registered(monkeypatch):
    """Nothing registered before the test, nor after it."""
    for kind in (AutoModel, AutoModelForSequenceClassification):
        monkeypatch.setattr(kind, "_registered", {})
    with (
        mock.patch.dict(REGISTERED, clear=True),
        mock.patch.dict(TOKENIZER_CLASSES),
        mock.patch.dict(CLASSES_BY_MODEL_TYPE),
    ):
        yield


def test_own_classes_are_loaded_by_the_auto_classes(registered, tmp_path):
    for _ in range(2):  # a cell of a notebook runs more than once
        AutoConfig.register("own-model", OwnConfig)
        AutoModel.register(OwnConfig, OwnModel)
        AutoModelForSequenceClassification.register(OwnConfig, OwnModel)
        AutoTokenizer.register(OwnConfig, fast_tokenizer_class=OwnTokenizer)
    config = AutoConfig.for_model("own-model", width=5, kind="fancy", num_labels=3)
    model = AutoModel.from_config(config)
    model.save_pretrained(tmp_path)
    backend = AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment").backend_tokenizer
    OwnTokenizer(tokenizer_object=backend, pad_token="[PAD]").save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(again) is OwnModel and torch.equal(again.layer.weight, model.layer.weight)
    assert (again.config.width, again.config.kind, again.config.num_labels) == (5, "fancy", 3)
    assert AutoConfig.from_pretrained(tmp_path, kind="plain").kind == "plain"
    assert OwnConfig.from_pretrained(tmp_path) == again.config
    assert type(AutoTokenizer.from_pretrained(tmp_path)) is OwnTokenizer
    assert type(AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment")) is BertTokenizer
    with pytest.raises(
        UnknownArchitectureError, match="No AutoModelForTokenClassification is registered for OwnConfig"
    ):
        AutoModelForTokenClassification.from_config(config)
    with pytest.raises(ValueError, match="got nice"):
        OwnConfig(kind="nice")


def test_what_notebook_kit_has_is_replaced_on_request_only(registered):
    class OwnBertConfig(BertConfig):
        pass

    class OwnBert(BertModel):
        config_class = BertConfig

    with pytest.raises(InputError, match="already has the architecture 'bert'"):
        AutoConfig.register("bert", OwnBertConfig)
    with pytest.raises(InputError, match="already has an AutoModel for BertConfig"):
        AutoModel.register(BertConfig, OwnBert)
    with pytest.raises(InputError, match="already has tokenizers for 'bert'"):
        AutoTokenizer.register(BertConfig, OwnTokenizer)
    AutoConfig.register("bert", OwnBertConfig, exist_ok=True)
    AutoModel.register(BertConfig, OwnBert, exist_ok=True)
    assert type(AutoConfig.for_model("bert")) is OwnBertConfig
    assert AutoModel.model_class(BertConfig()) is OwnBert
    assert AutoModelForSequenceClassification.model_class(BertConfig()).__name__ == "BertForSequenceClassification"


def test_classes_that_do_not_belong_together_are_refused(registered):
    with pytest.raises(InputError, match="has the model_type 'own-model', but was registered as 'other'"):
        AutoConfig.register("other", OwnConfig)
    with pytest.raises(InputError, match="OwnModel is built from OwnConfig, but was registered for BertConfig"):
        AutoModel.register(BertConfig, OwnModel)
    with pytest.raises(InputError, match="a class derived from PreTrainedTokenizerFast"):
        AutoTokenizer.register(OwnConfig, str)


def test_pre_training_takes_the_next_best_head():
    for model_type, name in (("bert", "BertForPreTraining"), ("roberta", "RobertaForMaskedLM"), ("t5", "T5ForC")):
        config = AutoConfig.for_model(model_type)
        assert AutoModelForPreTraining.model_class(config).__name__.startswith(name)


def test_an_unknown_architecture_can_be_registered(registered, tmp_path):
    OwnConfig().save_pretrained(tmp_path)
    with pytest.raises(UnknownArchitectureError, match="no architecture 'own-model'") as caught:
        AutoConfig.from_pretrained(tmp_path)
    assert "AutoConfig.register" in caught.value.next_step and "own-model" not in caught.value.next_step
    AutoConfig.register("own-model", OwnConfig)
    with pytest.raises(UnknownArchitectureError, match="Did you mean 'own-model'") as caught:
        AutoConfig.for_model("own-modle")
    assert "own-model" in caught.value.next_step
