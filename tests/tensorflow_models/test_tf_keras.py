"""What any Keras model can do: files of Keras, freezing, other precisions, callbacks."""

from __future__ import annotations

import keras
import numpy as np
import reference as ref
import tensorflow as tf
import torch

import notebook_kit
from notebook_kit import TFDistilBertForSequenceClassification

IDS = np.random.default_rng(0).integers(4, 99, (4, 7))


def model(**options):
    torch.manual_seed(0)
    config = notebook_kit.DistilBertConfig(**ref.tiny_fields("distilbert"))
    source = notebook_kit.DistilBertForSequenceClassification(config)
    ref.randomize(source)
    return TFDistilBertForSequenceClassification(config, weights=source, **options)


def test_files_of_keras(tmp_path):
    first = model()
    expected = first(IDS).logits.numpy()
    first.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again) is type(first)
    np.testing.assert_array_equal(again(IDS).logits.numpy(), expected)
    first.save_weights(tmp_path / "model.weights.h5")
    other = TFDistilBertForSequenceClassification(first.config)
    assert np.abs(other(IDS).logits.numpy() - expected).max() > 1e-3
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other(IDS).logits.numpy(), expected)


def test_half_precision_keeps_the_weights_in_single_precision():
    half = model(dtype="mixed_bfloat16")
    logits = half(IDS).logits
    assert logits.dtype == tf.bfloat16 and all(weight.dtype == "float32" for weight in half.trainable_weights)
    np.testing.assert_allclose(tf.cast(logits, tf.float32).numpy(), model()(IDS).logits.numpy(), atol=0.05, rtol=0.05)


def test_names_and_parts():
    first = model()
    assert [layer.name for layer in first.layers] == ["distilbert", "pre_classifier", "classifier"]
    source = first.to_torch()
    assert first.count_params() == source.num_parameters()
    assert {weight.shape for weight in first.classifier.weights} == {(3, 32), (3,)}
    output = first(IDS, output_hidden_states=True, return_dict=False)
    assert isinstance(output, tuple) and len(output[1]) == first.config.n_layers + 1
