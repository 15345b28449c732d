"""Configuration classes lead to tokenizer classes, as in the oracle."""

from __future__ import annotations

from unittest import mock

import pytest
import transformers

import notebook_kit
from notebook_kit import TOKENIZER_MAPPING, PreTrainedTokenizerFast
from notebook_kit.processing.text.families import FAMILIES
from notebook_kit.processing.text.tokenizer import CLASSES_BY_MODEL_TYPE, TOKENIZER_CLASSES


def test_families_have_the_tokenizers_of_the_oracle():
    for config in TOKENIZER_MAPPING:
        theirs = transformers.TOKENIZER_MAPPING.get(getattr(transformers, config.__name__), None)
        ours = TOKENIZER_MAPPING[config]
        if theirs is not None and theirs.__name__ in FAMILIES and config is not notebook_kit.DistilBertConfig:
            assert FAMILIES[ours.__name__].pipeline == FAMILIES[theirs.__name__].pipeline
    assert TOKENIZER_MAPPING[notebook_kit.GPT2Config] is notebook_kit.GPT2TokenizerFast
    assert TOKENIZER_MAPPING[notebook_kit.MistralConfig] is PreTrainedTokenizerFast
    assert notebook_kit.BertConfig in TOKENIZER_MAPPING and notebook_kit.BertConfig in TOKENIZER_MAPPING.keys()  # noqa: SIM118


def test_registered_classes():
    class OwnConfig(notebook_kit.BertConfig):
        model_type = "own-tokens"

    class OwnTokenizer(PreTrainedTokenizerFast):
        pass

    with pytest.raises(KeyError):
        TOKENIZER_MAPPING[OwnConfig]
    with mock.patch.dict(TOKENIZER_CLASSES), mock.patch.dict(CLASSES_BY_MODEL_TYPE):
        TOKENIZER_MAPPING.register(OwnConfig, OwnTokenizer)
        assert TOKENIZER_MAPPING[OwnConfig] is OwnTokenizer
