"""Families and heads of text compute as their torch classes do: every output, and the loss."""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref
import tensorflow as tf
import torch

import notebook_kit
from notebook_kit.models.auto import config_class
from notebook_kit.tensorflow.graphs import Signature
from notebook_kit.tensorflow.interpreter import run
from notebook_kit.tensorflow.tracing import meta_model, trace

SIZES = {"vocab_size": 99, "d_model": 32, "num_labels": 3}
BART = {
    **SIZES,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 40,
    "decoder_start_token_id": 2,
    "pad_token_id": 1,
    "eos_token_id": 98,
    "dropout": 0.0,
}
T5 = {**SIZES, "d_kv": 6, "d_ff": 40, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0, "decoder_start_token_id": 0}
ENCODER_DECODERS = {"bart": BART, "marian": BART, "t5": T5}
NAMES = {
    "albert": ["AlbertForSequenceClassification"],
    "bert": [
        "BertModel",
        "BertForMaskedLM",
        "BertForMultipleChoice",
        "BertForNextSentencePrediction",
        "BertForPreTraining",
    ],
    "camembert": ["CamembertForTokenClassification"],
    "distilbert": ["DistilBertForQuestionAnswering"],
    "gpt2": ["GPT2LMHeadModel", "GPT2ForSequenceClassification"],
    "llama": ["LlamaForCausalLM"],
    "bart": ["BartForConditionalGeneration"],
    "marian": ["MarianMTModel"],
    "t5": ["T5ForConditionalGeneration"],
}
CASES = [pytest.param(model_type, name, id=name) for model_type, names in NAMES.items() for name in names]


def torch_model(model_type, name):
    kind = getattr(notebook_kit, name)
    fields = dict(ENCODER_DECODERS.get(model_type) or ref.tiny_fields(model_type))
    if name.endswith("ForQuestionAnswering") or name == "AlbertForPreTraining":
        fields["num_labels"] = 2
    config = config_class(model_type)(**fields)
    config.classifier_dropout = 0.0
    torch.manual_seed(0)
    model = kind(config)
    ref.randomize(model)
    return model


def batch(name, model):
    """Inputs with padding, and labels."""
    given = ref.batch(model.config)
    if name.endswith("ForMultipleChoice"):
        given = {key: torch.stack([value, value.flip(0)], 1) for key, value in given.items()}
    if model.config.is_encoder_decoder:
        labels = given["input_ids"][:, :5].clone()
        labels[1, 3:] = -100
        return given, {"labels": labels}
    return given, ref.labels_for(name, model.config)


def assert_same(mine, theirs):
    theirs = {name: value for name, value in theirs.items() if name != "past_key_values"}
    assert list(mine) == list(theirs)
    for name, expected in theirs.items():
        pairs = zip(mine[name], expected, strict=True) if isinstance(expected, tuple) else [(mine[name], expected)]
        for a, b in pairs:
            np.testing.assert_allclose(a.numpy(), b.detach().numpy(), atol=2e-5, rtol=2e-5, err_msg=name)


@pytest.mark.parametrize(("model_type", "name"), CASES)
@torch.no_grad()
def test_computes_as_torch_does(model_type, name):
    model = torch_model(model_type, name).eval()
    inputs, labels = batch(name, model)
    given = {**inputs, **labels}
    options = {"use_cache": False} if getattr(type(model), "takes_cache", False) else {}
    shapes = {key: (str(value.dtype).removeprefix("torch."), tuple(value.shape)) for key, value in given.items()}
    graph = trace(meta_model(type(model), model.config), Signature(shapes, options))
    weights = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    tensors = {key: tf.constant(value.numpy()) for key, value in given.items()}
    assert_same(run(graph, tensors, lambda key: tf.constant(weights[key].numpy()), False), model(**given))
