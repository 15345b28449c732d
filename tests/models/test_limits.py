"""How many tokens a model of each family reads, and how many it knows."""

import pytest
import reference as ref
import torch
import transformers
from torch import nn

import notebook_kit
from notebook_kit.errors import InputError
from notebook_kit.models.auto import model_classes
from notebook_kit.nn.inputs import position_limit, vocabulary_size

ENDLESS = {"gemma", "gpt_neox", "llama", "m2m_100", "mistral", "mt5", "qwen2", "qwen3", "smollm3", "t5"}
BART = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 99, "max_position_embeddings": 40}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4, "vocab_size": 99}
FIELDS = {
    "bart": BART,
    "marian": {**BART, "pad_token_id": 98, "decoder_start_token_id": 98},
    "m2m_100": BART,
    "mbart": BART,
    "mpnet": ref.tiny_fields("mpnet", pad_token_id=3),
    "mt5": T5,
    "roberta": ref.tiny_fields("roberta", pad_token_id=3),
    "t5": T5,
}


WITH_BACKBONE = [name for name in ref.reading("text") if "AutoModel" in model_classes(name)]


def fields(model_type):
    return FIELDS.get(model_type) or ref.tiny_fields(model_type)


@pytest.mark.parametrize("model_type", WITH_BACKBONE)
def test_a_model_reads_as_many_tokens_as_its_limit_says(model_type):
    kind = model_classes(model_type)["AutoModel"]
    model = kind(kind.config_class(**fields(model_type))).eval()
    limit = position_limit(model)
    assert (limit is None) == (model_type in ENDLESS)
    assert vocabulary_size(model) == 99

    def read(tokens):
        ids = torch.full((1, tokens), 7)
        more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
        with torch.no_grad():
            return model(ids, **more)

    assert read(60 if limit is None else limit)[0].shape[1] == (limit or 60)
    if limit is not None:
        with pytest.raises(InputError, match=f"positions for {limit}"):
            read(limit + 1)


@pytest.mark.parametrize("model_type", WITH_BACKBONE)
def test_the_limit_of_a_foreign_model_is_that_of_ours(model_type):
    kind = model_classes(model_type)["AutoModel"]
    ours = kind(kind.config_class(**fields(model_type)))
    foreign_class = getattr(transformers, kind.__name__)
    foreign = foreign_class(foreign_class.config_class(**fields(model_type)))
    assert position_limit(foreign) == position_limit(nn.DataParallel(foreign)) == ours.position_limit
    assert vocabulary_size(foreign) == vocabulary_size(ours)


def test_a_model_without_tokens_has_neither_limit():
    assert position_limit(nn.Linear(2, 2)) is None and vocabulary_size(nn.Linear(2, 2)) is None


def test_a_vocabulary_that_grew():
    model = notebook_kit.BertModel(notebook_kit.BertConfig(**ref.tiny_fields("bert")))
    model.resize_token_embeddings(120)
    assert vocabulary_size(model) == 120
