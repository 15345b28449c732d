"""The optimizer of the TensorFlow courses: Adam with weight decay, and a learning rate that rises, then falls."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from notebook_kit.errors import InputError
from notebook_kit.tensorflow.requirements import keras, tf

__all__ = ["AdamWeightDecay", "WarmUp", "create_optimizer"]

NOT_DECAYED = (r"\bbias\b", "[Nn]orm", r"\bln_")
"""Patterns of the paths of variables without weight decay: biases, and the scales of norms."""


@keras.saving.register_keras_serializable("notebook_kit")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises from 0, and then follows another schedule.

    Args:
        initial_learning_rate: The learning rate at the end of the rise.
        decay_schedule_fn: The schedule after it, a function of the steps since then; None for a constant rate.
        warmup_steps: Steps of the rise.
        power: The rise is the fraction of these steps to this power.
        name: A name for TensorFlow's graph.

    Attributes:
        scale: A variable that multiplies the learning rate, initially 1. TrainingDashboard sets it.

    Example:
        >>> schedule = WarmUp(1e-3, None, warmup_steps=10)
        >>> [round(float(schedule(step)), 5) for step in (0, 5, 10, 20)]
        [0.0, 0.0005, 0.001, 0.001]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_schedule_fn: Any,
        warmup_steps: int,
        power: float = 1.0,
        name: str | None = None,
    ) -> None:
        self.initial_learning_rate, self.decay_schedule_fn = initial_learning_rate, decay_schedule_fn
        self.warmup_steps, self.power, self.name = warmup_steps, power, name
        self.scale = tf.Variable(1.0, trainable=False)

    def __call__(self, step: Any) -> Any:
        step, warmup = tf.cast(step, tf.float32), tf.cast(self.warmup_steps, tf.float32)
        after = self.initial_learning_rate
        if self.decay_schedule_fn is not None:
            after = self.decay_schedule_fn(tf.maximum(step - warmup, 0))
        if self.warmup_steps:
            rise = self.initial_learning_rate * tf.pow(tf.minimum(step / warmup, 1), self.power)
            after = tf.where(step < warmup, rise, after)
        return self.scale * after

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_schedule_fn": keras.saving.serialize_keras_object(self.decay_schedule_fn),
            "warmup_steps": self.warmup_steps,
            "power": self.power,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WarmUp:
        decay = keras.saving.deserialize_keras_object(config["decay_schedule_fn"])
        return cls(**{**config, "decay_schedule_fn": decay})


@keras.saving.register_keras_serializable("notebook_kit")
class AdamWeightDecay(keras.optimizers.AdamW):
    """Adam with weight decay that is separate from the gradients, and spares biases and norms.

    Args:
        learning_rate: A number or a schedule.
        weight_decay_rate: Part of each weight that a step with a learning rate of 1 would remove.
        include_in_weight_decay: Patterns of the paths of variables that decay although they are in the next list.
        exclude_from_weight_decay: Patterns of the paths of variables that do not decay; None for biases and norms.
        **options: Those of `keras.optimizers.AdamW`: `beta_1`, `beta_2`, `epsilon`, `clipnorm`, `global_clipnorm`, ...

    Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019.

    Example:
        >>> AdamWeightDecay(2e-5, weight_decay_rate=0.01).weight_decay
        0.01
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay_rate: float = 0.0,
        include_in_weight_decay: Sequence[str] | None = None,
        exclude_from_weight_decay: Sequence[str] | None = None,
        epsilon: float = 1e-8,
        **options: Any,
    ) -> None:
        options.pop("weight_decay", None)  # Keras' name for the same, in a saved optimizer
        super().__init__(learning_rate, weight_decay=weight_decay_rate, epsilon=epsilon, **options)
        self.included = list(include_in_weight_decay or [])
        self.excluded = list(NOT_DECAYED if exclude_from_weight_decay is None else exclude_from_weight_decay)

    def build(self, variables: Any) -> None:
        if not self.built:
            spared = [variable for variable in variables if not self._decays(variable.path)]
            self.exclude_from_weight_decay(var_list=spared)
        super().build(variables)

    def _decays(self, path: str) -> bool:
        if any(re.search(pattern, path) for pattern in self.included):
            return True
        return not any(re.search(pattern, path) for pattern in self.excluded)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "weight_decay_rate": self.weight_decay,
            "include_in_weight_decay": self.included,
            "exclude_from_weight_decay": self.excluded,
        }


def create_optimizer(
    init_lr: float,
    num_train_steps: int,
    num_warmup_steps: int = 0,
    min_lr_ratio: float = 0.0,
    adam_beta1: float = 0.9,
    adam_beta2: float = 0.999,
    adam_epsilon: float = 1e-8,
    adam_clipnorm: float | None = None,
    adam_global_clipnorm: float | None = None,
    weight_decay_rate: float = 0.0,
    power: float = 1.0,
    include_in_weight_decay: Sequence[str] | None = None,
) -> tuple[Any, Any]:
    """An optimizer whose learning rate rises from 0, then falls, and the schedule of that learning rate.

    Args:
        init_lr: The highest learning rate, at the end of the rise.
        num_train_steps: Steps of the whole training: batches per epoch times epochs.
        num_warmup_steps: Steps of the rise.
        min_lr_ratio: The last learning rate, as a part of `init_lr`.
        adam_beta1, adam_beta2, adam_epsilon: The constants of Adam.
        adam_clipnorm: The largest norm of the gradient of each variable.
        adam_global_clipnorm: The largest norm of all gradients together.
        weight_decay_rate: The weight decay; biases and norms do not decay.
        power: The fall is the fraction of the remaining steps to this power: 1 for a straight line.
        include_in_weight_decay: Patterns of the paths of variables that decay nevertheless.

    Returns:
        The optimizer, and its schedule: a function of the step.

    Raises:
        InputError: If there are not more steps than those of the rise.

    Example:
        >>> optimizer, schedule = create_optimizer(2e-5, num_train_steps=100, num_warmup_steps=10, weight_decay_rate=0.01)
        >>> [round(1e5 * float(schedule(step)), 2) for step in (0, 5, 10, 55, 100)]
        [0.0, 1.0, 2.0, 1.0, 0.0]
    """
    if not 0 <= num_warmup_steps < num_train_steps:
        raise InputError(
            f"The learning rate rises for {num_warmup_steps} of {num_train_steps} steps, and no step is left for its fall.",
            next_step="Pass num_train_steps=len(tf_dataset) * epochs, and fewer num_warmup_steps.",
        )
    fall = keras.optimizers.schedules.PolynomialDecay(
        init_lr, num_train_steps - num_warmup_steps, end_learning_rate=init_lr * min_lr_ratio, power=power
    )
    schedule = WarmUp(init_lr, fall, num_warmup_steps)
    optimizer = AdamWeightDecay(
        schedule,
        weight_decay_rate=weight_decay_rate,
        include_in_weight_decay=include_in_weight_decay,
        beta_1=adam_beta1,
        beta_2=adam_beta2,
        epsilon=adam_epsilon,
        clipnorm=adam_clipnorm,
        global_clipnorm=adam_global_clipnorm,
    )
    return optimizer, schedule
