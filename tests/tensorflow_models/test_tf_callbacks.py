"""The optimizer and the callbacks of the courses: schedules, weight decay, metrics, uploads, and the dashboard."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import reference as ref
import tensorflow as tf
import torch

import notebook_kit
from notebook_kit import (
    AdamWeightDecay,
    KerasMetricCallback,
    PushToHubCallback,
    TFDistilBertForSequenceClassification,
    create_optimizer,
)
from notebook_kit.errors import InputError, NotebookKitWarning
from notebook_kit.panels import TrainingDashboard
from notebook_kit.tensorflow import KerasMonitorCallback
from notebook_kit.training import RunMonitor

DRAW = np.random.default_rng(0)
IDS, LABELS = DRAW.integers(4, 99, (8, 7)), DRAW.integers(0, 3, 8)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return TFDistilBertForSequenceClassification(notebook_kit.DistilBertConfig(**ref.tiny_fields("distilbert")))


def batches(size=2):
    return tf.data.Dataset.from_tensor_slices(({"input_ids": IDS}, LABELS)).batch(size)


# The optimizer ---------------------------------------------------------------------------------------------------------------


def test_the_learning_rate_rises_and_falls(model):
    optimizer, schedule = create_optimizer(0.2, num_train_steps=8, num_warmup_steps=4, min_lr_ratio=0.5)
    assert [round(float(schedule(step)), 4) for step in range(10)] == [
        0.0, 0.05, 0.1, 0.15, 0.2, 0.175, 0.15, 0.125, 0.1, 0.1,
    ]  # fmt: skip
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, AdamWeightDecay) and float(again._learning_rate(2)) == pytest.approx(0.1)
    model.compile(optimizer=optimizer)
    model.fit(batches(), verbose=0)
    assert float(optimizer.learning_rate) == pytest.approx(0.2)
    with pytest.raises(InputError, match="no step is left"):
        create_optimizer(1e-3, 10, 10)


def test_biases_and_norms_do_not_decay(model):
    optimizer, _ = create_optimizer(1.0, 10, weight_decay_rate=0.1)
    before = [variable.numpy() for variable in model.trainable_variables]
    optimizer.apply([tf.zeros_like(variable) for variable in model.trainable_variables], model.trainable_variables)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        is_spared = len(variable.shape) == 1  # biases and the scales of norms
        np.testing.assert_allclose(variable.numpy(), old if is_spared else 0.9 * old, rtol=1e-5, err_msg=variable.path)


# Metrics and uploads -----------------------------------------------------------------------------------------------------------


def test_metrics_of_the_whole_dataset(model):
    seen = []

    def metric(both):
        seen.append(both)
        return {"right": int((both[0].argmax(-1) == both[1]).sum())}

    model.compile(optimizer=keras.optimizers.SGD(0.0))
    callback = KerasMetricCallback(metric, eval_dataset=batches(3))
    history = model.fit(batches(), epochs=2, verbose=0, callbacks=[callback]).history
    predictions, labels = seen[0]
    np.testing.assert_allclose(predictions, model(IDS).logits.numpy(), atol=1e-6)
    np.testing.assert_array_equal(labels, LABELS)
    assert history["right"] == [int((predictions.argmax(-1) == LABELS).sum())] * 2


def test_metrics_of_batches_of_several_lengths():
    """Token classification: rows of 5 and of 7 tokens."""
    config = notebook_kit.DistilBertConfig(**ref.tiny_fields("distilbert"))
    model = notebook_kit.TFDistilBertForTokenClassification(config)
    rows = [
        ({"input_ids": IDS[:2, :5], "labels": IDS[:2, :5] % 3},),
        ({"input_ids": IDS[2:4], "labels": IDS[2:4] % 3},),
    ]
    dataset = tf.data.Dataset.from_generator(
        lambda: (row for (row,) in rows),
        output_signature={name: tf.TensorSpec((None, None), tf.int64) for name in ("input_ids", "labels")},
    )
    seen = []
    callback = KerasMetricCallback(lambda both: seen.append(both) or {}, dataset, label_cols=["labels"])
    callback.set_model(model)
    model.compile()
    callback.on_epoch_end(0, {})
    predictions, labels = seen[0]
    assert predictions.shape == (4, 7, 3) and labels.shape == (4, 7)
    assert (labels[:2, 5:] == -100).all() and (predictions[:2, 5:] == -100).all() and (labels[2:] >= 0).all()


def test_what_is_wrong_with_metrics(model):
    model.compile(optimizer="sgd")
    with pytest.raises(InputError, match="metric_fn returned a float"):
        model.fit(batches(), verbose=0, callbacks=[KerasMetricCallback(lambda both: 0.5, batches())])
    unlabeled = tf.data.Dataset.from_tensor_slices({"input_ids": IDS}).batch(4)
    with pytest.raises(InputError, match="no labels to compute"):
        model.fit(batches(), verbose=0, callbacks=[KerasMetricCallback(lambda both: {}, unlabeled)])


def test_uploads(model, tmp_path, monkeypatch):
    sent = []

    def push_folder(folder, name, **options):
        sent.append((sorted(path.name for path in folder.iterdir()), name, options["commit_message"]))

    monkeypatch.setattr("notebook_kit.hub.push_folder", push_folder)
    model.compile(optimizer="sgd")
    callback = PushToHubCallback(tmp_path / "mine", hub_model_id="me/mine", checkpoint=True)
    model.fit(batches(), epochs=2, verbose=0, callbacks=[callback])
    files, name, message = sent[-1]
    assert name == "me/mine" and message == "End of training"
    assert files == ["checkpoint", "config.json", "model.safetensors"]
    assert sent[0][2] == "Training in progress, epoch 1" and not callback.uploads.pending
    again = TFDistilBertForSequenceClassification.from_pretrained(tmp_path / "mine")
    np.testing.assert_array_equal(again(IDS).logits.numpy(), model(IDS).logits.numpy())
    with pytest.raises(InputError, match="save_steps is None"):
        PushToHubCallback(tmp_path, save_strategy="steps")


def test_a_failed_upload_is_a_warning(model, tmp_path, monkeypatch):
    def push_folder(folder, name, **options):
        raise OSError("no network")

    monkeypatch.setattr("notebook_kit.hub.push_folder", push_folder)
    model.compile(optimizer="sgd")
    with pytest.warns(NotebookKitWarning, match=r"not on the Hub: no network.*model\.push_to_hub"):
        model.fit(batches(), verbose=0, callbacks=[PushToHubCallback(tmp_path / "mine", save_strategy="no")])


# The dashboard -----------------------------------------------------------------------------------------------------------------


def test_the_dashboard_shows_each_batch(model):
    board = TrainingDashboard()
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    model.fit(batches(), validation_data=batches(4), epochs=2, verbose=0, callbacks=[board])
    losses = board.record.series["loss"].values
    expected = [float(model({**inputs, "labels": labels}).loss) for inputs, labels in batches()] * 2
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert len(board.record.series["eval_loss"].values) == 2
    assert board.status == "ended" and board.record.facts["max_steps"] == 8


class Press(keras.callbacks.Callback):
    """Presses buttons of a run."""

    def __init__(self, presses):
        super().__init__()
        self.presses, self.seen = presses, []

    def on_train_batch_begin(self, batch, logs=None):
        if batch in self.presses:
            self.presses[batch]()

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(float(self.model.optimizer.learning_rate))


@pytest.mark.parametrize("scheduled", [False, True])
def test_the_buttons_set_the_learning_rate_and_stop(model, scheduled):
    monitor = RunMonitor()
    optimizer = create_optimizer(0.1, 100, 0, min_lr_ratio=1.0)[0] if scheduled else keras.optimizers.Adam(0.1)
    model.compile(optimizer=optimizer)
    press = Press({1: lambda: monitor.controls.set_learning_rate(0.02), 2: monitor.controls.stop})
    model.fit(batches(), epochs=3, verbose=0, callbacks=[monitor, press])
    assert press.seen == pytest.approx([0.1, 0.02, 0.02])
    assert [event["kind"] for event in monitor.record.events][-1] == "end"
    assert monitor.record.events[-1]["reason"] == "stopped"


def test_the_buttons_pause(model):
    monitor = RunMonitor()
    states = []

    def idle():
        states.append(monitor.controls.status)
        if states.count("paused") == 2:
            monitor.controls.resume()

    monitor.idle = idle
    model.compile(optimizer="sgd")
    model.fit(batches(), verbose=0, callbacks=[Press({1: monitor.controls.pause}), monitor])
    assert states.count("paused") == 2 and len(monitor.record.series["loss"].values) == 4


def test_a_schedule_of_keras_cannot_be_changed(model):
    monitor = RunMonitor()
    model.compile(optimizer=keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)))
    press = Press({1: lambda: monitor.controls.set_learning_rate(0.02)})
    with pytest.warns(NotebookKitWarning, match="a schedule of Keras determines it"):
        model.fit(batches(), verbose=0, callbacks=[monitor, press])


def test_a_run_that_fails_is_recorded(model):
    monitor = RunMonitor()

    def fail():
        raise ZeroDivisionError("on purpose")

    model.compile(optimizer="sgd")
    with pytest.raises(ZeroDivisionError):
        model.fit(batches(), verbose=0, callbacks=[monitor, Press({1: fail})])
    assert monitor.record.events[-1]["reason"] == "error"
    with pytest.raises(InputError, match="float does not watch runs"):
        KerasMonitorCallback(0.5)
