"""`fit` changes the weights as a loop in PyTorch does, and the rest of Keras works as with any Keras model."""

from __future__ import annotations

import warnings

import datasets
import keras
import numpy as np
import pytest
import reference as ref
import torch

import notebook_kit
from notebook_kit.errors import InputError, NotebookKitWarning
from notebook_kit.tensorflow import tf_class

CLASSES = {"bert": "BertForSequenceClassification", "distilbert": "DistilBertForSequenceClassification"}


def twins(model_type, name, **edits):
    """A torch model in training mode without dropout, and the TF model with its weights."""
    torch.manual_seed(0)
    kind = getattr(notebook_kit, name)
    model = kind(kind.config_class(**ref.tiny_fields(model_type, **edits)))
    ref.randomize(model)
    return model.train(), tf_class(kind)(model.config, weights=model)


def batch():
    draw = np.random.default_rng(0)
    ids, mask = draw.integers(4, 99, (6, 9)), np.ones((6, 9), np.int64)
    mask[1, 5:] = mask[4, 2:] = 0
    return {"input_ids": ids, "attention_mask": mask}, np.array([0, 2, 1, 1, 0, 2])


def largest_difference(model, tf_model):
    again = tf_model.to_torch().state_dict()
    return max(float((again[name] - value).abs().max()) for name, value in model.state_dict().items())


OPTIMIZERS = {
    "SGD": (lambda: keras.optimizers.SGD(0.1), lambda weights: torch.optim.SGD(weights, 0.1)),
    "Adam": (lambda: keras.optimizers.Adam(1e-3, epsilon=1e-8), lambda weights: torch.optim.Adam(weights, 1e-3)),
}


@pytest.mark.parametrize("model_type", CLASSES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fit_changes_the_weights_as_torch_does(model_type, optimizer):
    model, tf_model = twins(model_type, CLASSES[model_type])
    inputs, labels = batch()
    ours, theirs = OPTIMIZERS[optimizer]
    tf_model.compile(optimizer=ours())
    losses = tf_model.fit(inputs, labels, epochs=4, batch_size=6, shuffle=False, verbose=0).history["loss"]
    stepper, expected = theirs(model.parameters()), []
    for _ in range(4):
        loss = model(**{name: torch.tensor(value) for name, value in inputs.items()}, labels=torch.tensor(labels)).loss
        stepper.zero_grad()
        loss.backward()
        stepper.step()
        expected.append(loss.item())
    # Both add the epsilon of Adam at different places; and the biases of keys, whose gradients are rounding errors, wander.
    np.testing.assert_allclose(losses, expected, rtol=1e-5 if optimizer == "SGD" else 1e-4)
    assert optimizer == "Adam" or largest_difference(model, tf_model) < 2e-6


def test_a_compiled_loss_and_metrics():
    _, model = twins("bert", CLASSES["bert"])
    inputs, labels = batch()
    own = float(model({**inputs, "labels": labels}).loss)
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    found = model.evaluate(inputs, labels, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(own, abs=1e-5)
    logits = model.predict(inputs, verbose=0).logits
    assert found["accuracy"] == pytest.approx((logits.argmax(-1) == labels).mean())


@pytest.mark.parametrize("label", [-1, 7])
def test_labels_that_are_no_classes(label):
    _, model = twins("bert", CLASSES["bert"])
    inputs, labels = batch()
    labels = np.full_like(labels, label)
    model.compile(optimizer="sgd")
    calls = (
        lambda: model({**inputs, "labels": labels}),
        lambda: model.fit(inputs, labels, verbose=0),
        lambda: model.evaluate(inputs, labels, verbose=0),
    )
    for call in calls:
        with pytest.raises(InputError, match=rf"Labels \[{label}\] are outside 0 to {model.config.num_labels - 1}"):
            call()


def test_dropout_is_for_training_only():
    _, model = twins("bert", CLASSES["bert"], hidden_dropout_prob=0.5)
    inputs, _ = batch()
    first, second = (model(inputs, training=True).logits.numpy() for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(model(inputs).logits.numpy(), model(inputs, training=False).logits.numpy())


def test_frozen_parts_stay_as_they_are():
    model, tf_model = twins("bert", CLASSES["bert"])
    tf_model.bert.trainable = False
    tf_model.compile(optimizer=keras.optimizers.SGD(0.1))
    tf_model.fit(*batch(), verbose=0)
    again = tf_model.to_torch().state_dict()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, again[name])}
    assert changed == {"classifier.weight", "classifier.bias"}


def test_errors_say_what_to_do():
    _, model = twins("bert", CLASSES["bert"])
    with pytest.raises(InputError, match=r"does not take input_idz\. Did you mean 'input_ids'"):
        model(input_idz=np.ones((1, 3), int))
    with pytest.raises(InputError, match="is a tensor of PyTorch"):
        model(torch.ones(1, 3, dtype=torch.long))
    with pytest.raises(InputError, match="41 tokens, and this model has positions for 40"):
        model(np.ones((1, 41), int))
    with pytest.raises(InputError, match="attention_mask has shape"):
        model(np.ones((2, 5), int), np.ones((2, 6), int))
    with pytest.raises(InputError, match=r"does not take output_attention\. Did you mean 'output_attentions'"):
        model(np.ones((1, 3), int), output_attention=True)
    for number in (-1, 99):
        with pytest.raises(InputError, match=rf"An id of the inputs is {number}, and the model knows 0 to 98"):
            model(np.full((1, 3), number))
    with pytest.raises(InputError, match=r"(?s)got neither.*return_tensors='tf'"):
        model()
    model.compile(optimizer="sgd")
    with pytest.raises(InputError, match="has no loss for these inputs"):
        model.fit(batch()[0], verbose=0)


def test_batch_norms_learn_the_mean_of_their_inputs():
    fields = {"embedding_size": 8, "hidden_sizes": [8], "depths": [1], "layer_type": "basic", "num_labels": 3}
    source = notebook_kit.ResNetForImageClassification(notebook_kit.ResNetConfig(**fields)).train()
    model = tf_class(notebook_kit.ResNetForImageClassification)(source.config, weights=source)
    images, labels = np.random.default_rng(0).normal(size=(4, 3, 30, 30)).astype("float32"), np.array([0, 2, 1, 1])
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    model.fit({"pixel_values": images}, labels, batch_size=4, verbose=0)
    source(torch.tensor(images))
    again = model.to_torch().state_dict()
    for name, value in source.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            np.testing.assert_allclose(again[name].numpy(), value.numpy(), atol=1e-5, err_msg=name)
    source.eval()
    with torch.no_grad():
        expected = source(torch.tensor(images)).logits.numpy()
    np.testing.assert_allclose(model.predict({"pixel_values": images}, verbose=0).logits, expected, atol=1e-4)
    assert model(model.dummy_inputs).logits.shape == (3, 3)


def test_datasets_that_do_not_fit():
    _, model = twins("bert", CLASSES["bert"])
    dataset = datasets.Dataset.from_dict({"input_ids": [[1, 2, 3], [4]], "label": [0, 1]})
    with pytest.raises(InputError, match=r"(?s)rows have from 1 to 3 entries.*\n→ Pass tokenizer=tokenizer"):
        model.prepare_tf_dataset(dataset)
    with pytest.raises(InputError, match="batch_size is 0"):
        model.prepare_tf_dataset(dataset, batch_size=0)


def test_fit_takes_what_a_tokenizer_returns():
    _, model = twins("bert", CLASSES["bert"])
    inputs, labels = batch()
    encoding = notebook_kit.BatchEncoding(inputs)
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    losses = model.fit(encoding, labels, validation_data=(encoding, labels), verbose=0).history
    assert losses["loss"] == pytest.approx(losses["val_loss"], abs=1e-5)
    assert model.evaluate(encoding, labels, verbose=0) == pytest.approx(losses["val_loss"][0], abs=1e-5)
    assert model.predict(encoding, verbose=0).logits.shape == (6, 3)
    with pytest.raises(InputError, match="labels y are text, such as 'good'"):
        model.fit(encoding, ["good", "bad"] * 3)


def test_a_loss_of_probabilities_is_told():
    _, model = twins("bert", CLASSES["bert"])
    inputs, labels = batch()
    model.compile(keras.optimizers.SGD(0.01), loss="sparse_categorical_crossentropy")
    with pytest.warns(NotebookKitWarning, match=r"expects probabilities.*from_logits=True"):
        model.fit(inputs, labels, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.compile(keras.optimizers.SGD(0.01), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(inputs, labels, verbose=0)


def test_a_text_without_tokens_is_an_error():
    _, model = twins("bert", CLASSES["bert"])
    with pytest.raises(InputError, match=r"input_ids contains no tokens: its shape is \(2, 0\)"):
        model(np.zeros((2, 0), int))
    assert model(np.zeros((0, 5), int)).logits.shape == (0, 3)
