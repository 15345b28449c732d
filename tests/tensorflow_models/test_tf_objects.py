"""Models that find objects in images: losses, gradients and trainings with Keras are those of the torch classes."""

from __future__ import annotations

import datasets
import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from tiny_models import inputs_for, tiny_model

from notebook_kit.errors import InputError
from notebook_kit.tensorflow import tf_class

COUNTS = (2, 0, 3)
"""Objects of each image."""


def objects(name, classes):
    """Labels as an image processor returns them, as torch tensors."""
    draw = np.random.default_rng(1)
    rows = []
    for index, count in enumerate(COUNTS):
        boxes = np.concatenate([draw.uniform(0.3, 0.7, (count, 2)), draw.uniform(0.1, 0.4, (count, 2))], 1)
        row = {"class_labels": draw.integers(0, classes, count), "boxes": boxes.astype("float32")}
        if "Segmentation" in name:
            row["masks"] = draw.integers(0, 2, (count, 12 + index, 16 - index))
        rows.append({key: torch.tensor(value) for key, value in row.items()})
    if name.startswith("MaskFormer"):
        return {"class_labels": [row["class_labels"] for row in rows], "mask_labels": [row["masks"] for row in rows]}
    return {"labels": rows}


def twins(model_type, name):
    model = tiny_model(model_type, name).train()
    model.config.auxiliary_loss = model.config.use_auxiliary_loss = not name.startswith("Yolos")
    return model, tf_class(type(model))(model.config, weights=model)


def to_numpy(value):
    if isinstance(value, list):
        return [to_numpy(each) for each in value]
    return {key: to_numpy(each) for key, each in value.items()} if isinstance(value, dict) else value.numpy()


@pytest.mark.parametrize(
    ("model_type", "name"),
    [
        ("yolos", "YolosForObjectDetection"),
        ("maskformer", "MaskFormerForInstanceSegmentation"),
        pytest.param("detr", "DetrForObjectDetection", marks=pytest.mark.slow),
        pytest.param("detr", "DetrForSegmentation", marks=pytest.mark.slow),
        pytest.param("table-transformer", "TableTransformerForObjectDetection", marks=pytest.mark.slow),
    ],
)
def test_losses_and_gradients(model_type, name):
    model, tf_model = twins(model_type, name)
    given, labels = inputs_for(model), objects(name, model.config.num_labels)
    expected = model(**given, **labels)
    expected.loss.backward()
    trained = {key: weight for key, weight in model.named_parameters() if weight.grad is not None}
    variables = {key: tf_model._engine.variables[key].value for key in trained}
    with tf.GradientTape() as tape:
        found = tf_model({**to_numpy(given), **to_numpy(labels)}, training=True)
    assert float(found.loss) == pytest.approx(expected.loss.item(), rel=1e-5)
    if not name.startswith("MaskFormer"):
        assert list(found.loss_dict) == list(expected.loss_dict) and len(found.loss_dict) >= 4
        for key, part in expected.loss_dict.items():
            assert float(found.loss_dict[key]) == pytest.approx(float(part), rel=1e-4, abs=1e-5), key
    gradients = tape.gradient(found.loss, variables)
    for key, weight in trained.items():
        wanted = weight.grad.numpy()
        largest = max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(gradients[key].numpy() / largest, wanted / largest, atol=1e-4, err_msg=key)
    assert len(trained) > 10


def test_fit_changes_the_weights_as_torch_does():
    """From a dataset of images with lists of boxes, by way of a collate function as for the Trainer."""
    name = "YolosForObjectDetection"
    model, tf_model = twins("yolos", name)
    images, rows = inputs_for(model)["pixel_values"], objects(name, model.config.num_labels)["labels"]

    def collate(examples):
        chosen = [example["labels"] for example in examples]  # here, the number of the image
        return {"pixel_values": images[chosen], "labels": [rows[index] for index in chosen]}

    dataset = datasets.Dataset.from_dict({"labels": range(3), "pixel_values": [0] * 3})
    tf_dataset = tf_model.prepare_tf_dataset(dataset, batch_size=3, shuffle=False, collate_fn=collate)
    tf_model.compile(optimizer=keras.optimizers.SGD(0.05))
    losses = tf_model.fit(tf_dataset, epochs=3, verbose=0).history["loss"]
    stepper, expected = torch.optim.SGD(model.parameters(), 0.05), []
    for _ in range(3):
        loss = model(images, labels=rows).loss
        stepper.zero_grad()
        loss.backward()
        stepper.step()
        expected.append(loss.item())
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert losses[-1] < losses[0]
    rows[0]["class_labels"] += 7
    with pytest.raises(InputError, match=r"class_labels go from .* and this model has classes 0 to"):
        tf_model.fit(tf_dataset, verbose=0)


def test_labels_that_are_no_objects():
    model, tf_model = twins("yolos", "YolosForObjectDetection")
    images = inputs_for(model)["pixel_values"].numpy()
    with pytest.raises(InputError, match=r"labels has the keys classes; expected class_labels and boxes"):
        tf_model(images, labels=[{"classes": np.array([1])}] * 3)
    with pytest.raises(InputError, match=r"labels\[1\] has no 'boxes'"):
        one = {"class_labels": np.array([1]), "boxes": np.zeros((1, 4))}
        tf_model(images, labels=[one, {"class_labels": np.array([1])}, one])
    with pytest.raises(InputError, match="is not in fractions of the image's size"):
        tf_model(images, labels=[{"class_labels": np.array([1]), "boxes": np.array([[20, 30, 10, 10.0]])}] * 3)
