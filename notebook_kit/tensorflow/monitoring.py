"""What watches a training run, as a callback of Keras: `TrainingDashboard` and `RunMonitor` in `model.fit(callbacks=[...])`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from notebook_kit.errors import InputError, warn
from notebook_kit.tensorflow.requirements import keras
from notebook_kit.training.recording.record import is_number

__all__ = ["KerasMonitorCallback", "adapted"]

_NEEDED = ("begin", "log", "finish", "should_stop", "learning_rate")


class KerasMonitorCallback(keras.callbacks.Callback):
    """Shows and controls a `fit` of any Keras model with a `TrainingDashboard`, or records it with a `RunMonitor`.

    The loss of each batch, the learning rate and, after each epoch, the metrics of the validation data appear in its curves.
    Its buttons pause and stop the run and set the learning rate. `fit` of a TF model of notebook_kit takes the dashboard itself
    among its callbacks.

    Args:
        monitor: A `TrainingDashboard` or a `RunMonitor`.

    Raises:
        InputError: If it is neither.

    Example:
        >>> import keras, numpy as np
        >>> from notebook_kit.training import RunMonitor
        >>> monitor = RunMonitor()
        >>> model = keras.Sequential([keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> _ = model.fit(np.ones((8, 2)), np.ones((8, 1)), batch_size=4, verbose=0, callbacks=[KerasMonitorCallback(monitor)])
        >>> len(monitor.record.series["loss"].values)
        2
    """

    def __init__(self, monitor: Any) -> None:
        super().__init__()
        if not all(hasattr(type(monitor), name) for name in _NEEDED):
            raise InputError(
                f"{type(monitor).__name__} does not watch runs.",
                next_step="Pass a notebook_kit.TrainingDashboard, or a notebook_kit.training.RunMonitor.",
            )
        self.monitor, self.step = monitor, 0
        self._total = self._count = 0.0

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self.step = int(self.model.optimizer.iterations.numpy())
        epochs, steps = (self.params or {}).get("epochs"), (self.params or {}).get("steps")
        facts = {
            "max_steps": self.step + epochs * steps if epochs and steps else None,
            "num_train_epochs": epochs,
            "model": type(self.model).__name__,
            "parameters": self.model.count_params() if self.model.built else None,
            "trainer": "Keras",
        }
        self.monitor.begin(self.step, **{name: value for name, value in facts.items() if value is not None})

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._total = self._count = 0.0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.step += 1
        optimizer = self.model.optimizer
        numbers = {name: float(value) for name, value in (logs or {}).items() if is_number(value) and name != "loss"}
        rate = float(optimizer.learning_rate)
        self.monitor.log(self.step, **numbers, **self._loss(), learning_rate=rate)
        if self.monitor.learning_rate not in (None, rate):
            self._set_learning_rate(rate, self.monitor.learning_rate)
        if self.monitor.should_stop:
            self.model.stop_training = True

    def _loss(self) -> dict[str, float]:
        """The loss of the last batch: Keras reports the mean of the epoch so far."""
        mean = next((metric for metric in self.model.metrics if metric.name == "loss"), None)
        if mean is None or not hasattr(mean, "total"):
            return {}
        total, count = float(mean.total.numpy()), float(mean.count.numpy())
        (before, counted), self._total, self._count = (self._total, self._count), total, count
        return {"loss": (total - before) / (count - counted)} if count > counted else {}

    def _set_learning_rate(self, old: float, new: float) -> None:
        optimizer = self.model.optimizer
        schedule = getattr(optimizer, "_learning_rate", None)
        if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
            optimizer.learning_rate = new
        elif (scale := getattr(schedule, "scale", None)) is not None and old:
            scale.assign(scale * new / old)
        else:
            warn(
                f"The learning rate stays {old:g}: a schedule of Keras determines it. It can be changed during a run if the "
                "optimizer is from notebook_kit.create_optimizer, or has a number as its learning rate."
            )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        found = {name: value for name, value in (logs or {}).items() if name.startswith("val_") and is_number(value)}
        if found:
            self.monitor.log(self.step, **{f"eval_{name[4:]}": float(value) for name, value in found.items()})

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        self.monitor.finish()

    def fail(self, error: BaseException) -> None:
        """Record that the run ended with an error, which Keras does not tell its callbacks."""
        self.monitor.__exit__(type(error), error, error.__traceback__)


def adapted(callbacks: Any) -> Any:
    """The callbacks of a `fit`, with those that watch runs as callbacks of Keras."""
    if callbacks is None or isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    given = callbacks if isinstance(callbacks, list | tuple) else [callbacks]
    return [each if isinstance(each, keras.callbacks.Callback) else KerasMonitorCallback(each) for each in given]
