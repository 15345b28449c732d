"""After one seed, a training with Keras is repeatable: the new weights, the order of the examples, masks and dropout."""

from __future__ import annotations

import threading

import datasets
import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from notebook_kit import (
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    DistilBertConfig,
    TFDistilBertForMaskedLM,
    TFDistilBertForSequenceClassification,
    set_seed,
)
from notebook_kit.tensorflow.seeding import keeping_torch_seeded, torch_seeded

TEXTS = ["a warm and funny film", "dull", "it never bores", "a waste of time, alas", "so so", "see it twice"]
TINY = {"dim": 32, "n_layers": 1, "hidden_dim": 60, "n_heads": 2}


def losses(kind, seed, seed_all=keras.utils.set_random_seed):
    """Of each epoch of a small training, and all weights after it."""
    tokenizer = AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment")
    rows = datasets.Dataset.from_list([{**tokenizer(text), "label": len(text) % 2} for text in TEXTS])
    seed_all(seed)
    model = kind(DistilBertConfig(vocab_size=len(tokenizer), **TINY))
    how = {"tokenizer": tokenizer}
    if kind is TFDistilBertForMaskedLM:
        how = {"collate_fn": DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.5)}
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    found = model.fit(model.prepare_tf_dataset(rows, batch_size=2, **how), epochs=2, verbose=0).history["loss"]
    return np.array(found), np.concatenate([weight.numpy().ravel() for weight in model.weights])


@pytest.mark.parametrize("kind", [TFDistilBertForSequenceClassification, TFDistilBertForMaskedLM])
def test_a_training_is_repeatable(kind):
    first, again, other = (losses(kind, seed) for seed in (3, 3, 4))
    np.testing.assert_allclose(first[0], again[0], rtol=1e-6)
    np.testing.assert_allclose(first[1], again[1], atol=1e-5)
    assert np.abs(first[0] - other[0]).min() > 1e-4


def test_set_seed_reaches_keras():
    first, again = (losses(TFDistilBertForSequenceClassification, 3, set_seed) for _ in range(2))
    np.testing.assert_allclose(first[0], again[0], rtol=1e-6)
    set_seed(3)
    numbers = tf.random.uniform([3]).numpy()
    set_seed(3)
    np.testing.assert_array_equal(tf.random.uniform([3]).numpy(), numbers)


def test_a_trace_does_not_reset_the_masks_of_a_batch():
    """Tracing puts torch's generator back to where it was, and a thread of `tf.data` may be drawing masks meanwhile."""
    found, begun, traced = [], threading.Event(), threading.Event()

    def prepare():
        with torch_seeded(3):
            begun.set()
            traced.wait(0.5)  # a trace would end in this time
            found.append(torch.rand(2))

    thread = threading.Thread(target=prepare)
    thread.start()
    begun.wait()
    model = TFDistilBertForSequenceClassification(DistilBertConfig(vocab_size=20, **TINY | {"hidden_dim": 44}))
    model(tf.constant([[1, 2]]))
    with keeping_torch_seeded():
        torch.manual_seed(7)
    traced.set()
    thread.join()
    with torch_seeded(3):
        assert torch.equal(found[0], torch.rand(2))
