"""What every model has: its output layer."""

import copy
import pickle

import pytest
import torch

import notebook_kit
from notebook_kit.errors import InputError, UnknownAttributeError

BERT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 20}


def test_the_output_layer_is_found_and_replaced():
    bert = notebook_kit.BertForMaskedLM(notebook_kit.BertConfig(**BERT))
    assert bert.get_output_embeddings() is bert.cls["predictions"].decoder
    t5 = notebook_kit.T5ForConditionalGeneration(notebook_kit.T5Config(**T5, tie_word_embeddings=False))
    layer = torch.nn.Linear(16, 20, bias=False)
    t5.set_output_embeddings(layer)
    assert t5.get_output_embeddings() is t5.lm_head is layer


def test_a_new_output_layer_is_tied_where_the_config_says_so():
    bert = notebook_kit.BertForMaskedLM(notebook_kit.BertConfig(**BERT))
    bert.set_output_embeddings(torch.nn.Linear(16, 20))
    assert bert.get_output_embeddings().weight is bert.get_input_embeddings().weight


def test_misspelt_parts_of_a_model():
    model = notebook_kit.BertForSequenceClassification(notebook_kit.BertConfig(**BERT))
    parts = {
        "clasifier": model,
        "encodr": model.bert,
        "laeyr": model.bert.encoder,
        "atention": model.bert.encoder.layer[0],
    }
    for (name, part), close in zip(parts.items(), ("classifier", "encoder", "layer", "attention"), strict=True):
        with pytest.raises(UnknownAttributeError, match=f"has no attribute '{name}'. Did you mean '{close}'"):
            getattr(part, name)
        assert not hasattr(copy.deepcopy(part), name)
    again = pickle.loads(pickle.dumps(UnknownAttributeError("There is no 'laeyr'.", "laeyr", ["layer"])))
    assert str(again) == "There is no 'laeyr'. Did you mean 'layer'?"


def test_a_backbone_has_no_output_layer():
    backbone = notebook_kit.T5Model(notebook_kit.T5Config(**T5))
    assert backbone.get_output_embeddings() is None
    with pytest.raises(InputError, match="does not score the vocabulary"):
        backbone.set_output_embeddings(torch.nn.Linear(16, 20))
