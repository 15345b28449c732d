"""The Keras model of every torch model.

No family has TensorFlow code: the torch class traces its computation (`tracing`), the interpreter runs it with
TensorFlow's operations on Keras variables, and the torch class does all loading and saving, the initialization of heads, and
the losses. The variables keep torch's layout and the names of the Hub's checkpoints.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from typing import Any, ClassVar

import numpy as np
import torch

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import InputError, MissingDependencyError, near_matches, warn
from notebook_kit.hub import Source
from notebook_kit.hub.saving import PushToHub
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.inputs import ModelInputs
from notebook_kit.nn.outputs import ModelOutput
from notebook_kit.tensorflow.arguments import as_tensors, keras_data, usual_sizes
from notebook_kit.tensorflow.datasets import tf_dataset
from notebook_kit.tensorflow.engine import Engine
from notebook_kit.tensorflow.monitoring import KerasMonitorCallback, adapted
from notebook_kit.tensorflow.objects import flat_labels
from notebook_kit.tensorflow.parts import fill, replace_resized
from notebook_kit.tensorflow.requirements import keras, tf
from notebook_kit.tensorflow.seeding import torch_seeded

__all__ = ["TFPreTrainedModel"]

_OPTIONS = ("output_attentions", "output_hidden_states")
_NOT_TENSORS = (
    *_OPTIONS,
    "use_cache",
    "past_key_values",
    "encoder_outputs",
    "logits_to_keep",
    "return_loss",
    "options",
)


@contextmanager
def _labels_explained() -> Iterator[None]:
    """Raise TensorFlow's error about a label that is not a class as the torch models raise it, and errors of ours within it."""
    try:
        yield
    except tf.errors.OpError as error:
        own = re.search(r"(InputError|MissingDependencyError): (.*?)\n→ (.*?)\n", error.message, re.DOTALL)
        if own is not None:
            kind = InputError if own[1] == "InputError" else MissingDependencyError
            raise kind(own[2], next_step=own[3]) from None
        if (ids := re.search(r"= (-?\d+) is not in \[0, (\d+)\)", error.message)) is not None:
            raise InputError(
                f"An id of the inputs is {ids[1]}, and the model knows 0 to {int(ids[2]) - 1}.",
                next_step="Load the tokenizer and the model from the same checkpoint; ids of tokens, types and positions count from 0.",
            ) from None
        found = re.search(r"label value of (-?\d+) which is outside the valid range of \[0, (\d+)\)", error.message)
        if found is None:
            raise
        label, classes = map(int, found.groups())
        raise InputError(
            f"Labels [{label}] are outside 0 to {classes - 1}: this head has {classes} classes.",
            next_step="Load the model with num_labels set to your number of classes, and count labels from 0.",
        ) from None


class TFPreTrainedModel(keras.Model, PushToHub):
    """The base of all TF classes: a `keras.Model` with the interface of notebook_kit's torch models.

    Attributes:
        torch_class: The torch class that it computes the same as.
        config: The configuration.

    Example:
        >>> from notebook_kit import AutoTokenizer, TFAutoModelForSequenceClassification
        >>> name = "notebook-kit/tiny-sentiment"
        >>> model = TFAutoModelForSequenceClassification.from_pretrained(name)
        >>> batch = AutoTokenizer.from_pretrained(name)(["A warm, funny film."], return_tensors="tf")
        >>> model(batch).logits.shape
        TensorShape([1, 2])
    """

    torch_class: ClassVar[type[PreTrainedModel]] = PreTrainedModel

    def __init__(self, config: PretrainedConfig, *, weights: Any = None, **keras_options: Any) -> None:
        """A model with newly initialized weights, which `keras.utils.set_random_seed` determines.

        Args:
            config: The configuration.
            weights: A torch model to take the weights from instead.
            **keras_options: `name` and `dtype` of a Keras layer.
        """
        super().__init__(**keras_options)
        source = weights
        if source is None:
            with torch_seeded():
                source = self.torch_class(config)
        self.config = source.config
        self.generation_config = getattr(source, "generation_config", None)
        variables, self.parts = fill(self, source)
        self._engine = Engine(self.torch_class, self.config, variables)
        self.built = True

    def __getattr__(self, name: str) -> Any:
        parts = self.__dict__.get("parts") or {}
        if name in parts:  # such as `model.bert`
            return parts[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")

    # Calling ---------------------------------------------------------------------------------------------------------------

    @tf.autograph.experimental.do_not_convert  # within a function of TensorFlow, which would rewrite what traces the model
    def __call__(self, inputs: Any = None, *args: Any, training: Any = None, **kwargs: Any) -> Any:
        """Run the model.

        Args:
            inputs: A dictionary of inputs, as the tokenizer returns it; or the first input, the others following by position
                or by name.
            training: Whether to apply dropout.
            **kwargs: Further inputs, and `output_attentions`, `output_hidden_states` and `return_dict`.

        Returns:
            The output of the torch class, with TensorFlow's tensors; a tuple with `return_dict=False`.

        Raises:
            InputError: If the model does not take an input, or one has another size than the model.
        """
        return_dict = kwargs.pop("return_dict", None)
        tensors, options = self._split(inputs, args, kwargs)
        if all(tf.is_tensor(tensor) for tensor in tensors.values()):
            self._engine.graph(tensors, options, self.compute_dtype)  # here, Keras does not rewrite its errors
        with _labels_explained():
            output = super().__call__(tensors, training=training, options=options)
        return output if (self.config.return_dict if return_dict is None else return_dict) else output.to_tuple()

    def call(self, inputs: Mapping[str, Any], training: Any = None, options: tuple = ()) -> Any:
        """Compute the output of named tensors. Keras calls this; call the model itself instead."""
        return self._engine.run(inputs, options, bool(training), self.compute_dtype)

    def _split(self, inputs: Any, args: tuple, kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], tuple]:
        """The tensors of a call by name, and its options."""
        names = [name for name in self.inputs_taken.names if name not in _NOT_TENSORS]
        given = dict(inputs) if isinstance(inputs, Mapping) else {} if inputs is None else {names[0]: inputs}
        given |= dict(zip(names[1:], args, strict=False)) | dict(kwargs)
        options = tuple(sorted((name, given[name]) for name in _OPTIONS if given.get(name) is not None))
        given = {name: value for name, value in given.items() if value is not None and name not in _NOT_TENSORS}
        if unknown := [name for name in given if name not in names]:
            raise InputError(
                f"{type(self).__name__} does not take {', '.join(unknown)}. {near_matches(unknown[0], [*names, *_OPTIONS])}".rstrip(),
                next_step=f"It takes {', '.join(names)}.",
            )
        return as_tensors(flat_labels(given, self.inputs_taken.labels), self.compute_dtype), options

    @property
    def inputs_taken(self) -> ModelInputs:
        """The names of the model's inputs, those of its labels among them."""
        return self._engine.inputs

    def generate(self, inputs: Any = None, **options: Any) -> Any:
        """Write a text: with PyTorch, from the weights that the model has now; see the torch class's `generate`.

        Args:
            inputs: Token ids, or what the model reads, `(batch, ...)`.
            **options: Further inputs such as `attention_mask`, and options such as `max_new_tokens` and `num_beams`.

        Returns:
            Token ids, `(batch, length)`, as a tensor of TensorFlow.

        Raises:
            InputError: If the model does not write texts.
        """
        writer = self.to_torch()
        if not writer.can_generate():
            raise InputError(
                f"{type(self).__name__} does not write texts.",
                next_step="Load the checkpoint with TFAutoModelForCausalLM or TFAutoModelForSeq2SeqLM.",
            )
        written = writer.generate(_to_torch(inputs), **{name: _to_torch(value) for name, value in options.items()})
        return tf.constant(written.numpy()) if isinstance(written, torch.Tensor) else written

    # Training --------------------------------------------------------------------------------------------------------------

    def fit(self, *args: Any, callbacks: Any = None, **kwargs: Any) -> Any:
        """Train: Keras' own, whose callbacks may also be a `TrainingDashboard` or a `RunMonitor`.

        Args:
            *args: As for `keras.Model.fit`.
            callbacks: Callbacks of Keras, and what watches runs.
            **kwargs: As for `keras.Model.fit`.
        """
        callbacks = adapted(callbacks)
        args, kwargs = keras_data(args, kwargs)
        if isinstance(kwargs.get("x", args[0] if args else None), tf.data.Dataset):
            kwargs.setdefault("shuffle", False)  # the dataset has its order; Keras would warn
        if isinstance(self._loss_given, str) and "crossentropy" in self._loss_given.lower():
            warn(
                f"loss={self._loss_given!r} expects probabilities, and the model gives logits, so it will hardly learn. "
                "Compile it without a loss to use the model's own, or with from_logits=True: "
                "keras.losses.SparseCategoricalCrossentropy(from_logits=True)."
            )
        try:
            with _labels_explained():
                return super().fit(*args, callbacks=callbacks, **kwargs)
        except BaseException as error:
            for callback in callbacks if isinstance(callbacks, list) else []:
                if isinstance(callback, KerasMonitorCallback):
                    callback.fail(error)
            raise

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """The loss and the metrics on data: Keras' own."""
        args, kwargs = keras_data(args, kwargs)
        with _labels_explained():
            return super().evaluate(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs for data: Keras' own."""
        args, kwargs = keras_data(args, kwargs)
        with _labels_explained():
            return super().predict(*args, **kwargs)

    def train_step(self, data: Any) -> Any:
        """One step of `fit`: Keras' own, with the labels among the inputs if no loss was compiled."""
        return super().train_step(self._with_labels(data))

    def test_step(self, data: Any) -> Any:
        """One step of `evaluate`, likewise."""
        return super().test_step(self._with_labels(data))

    def predict_step(self, data: Any) -> Any:
        """One step of `predict`, without labels."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        if isinstance(x, Mapping):
            x = {name: value for name, value in x.items() if name not in self.inputs_taken.labels}
        return self(x, training=False)

    def _with_labels(self, data: Any) -> tuple:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        names = self.inputs_taken.labels
        x = dict(x) if isinstance(x, Mapping) else {self.inputs_taken.main: x}
        if y is None:
            found = {name: x[name] for name in names if name in x}
            y = next(iter(found.values())) if len(found) == 1 else found or None
        elif not self._has_loss and (labels := _labels(y, names)) is not None:
            x |= labels
        return x, y, weight

    @property
    def _has_loss(self) -> bool:
        return self._loss_given is not None

    @property
    def _loss_given(self) -> Any:
        return getattr(self, "loss", None)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The compiled loss; without one, the model's own."""
        if self._has_loss:
            return super().compute_loss(x, y, _logits(y_pred), sample_weight, training)
        loss = y_pred.get("loss") if isinstance(y_pred, ModelOutput) else None
        if loss is None:
            names = ", ".join(self.inputs_taken.labels) or "no labels"
            raise InputError(
                f"{type(self).__name__} has no loss for these inputs: it was compiled without one, and takes {names}.",
                next_step="Pass labels: model.fit(dataset) with pairs (inputs, labels), or compile(loss=...).",
            )
        if sample_weight is not None:
            raise InputError(
                "The model's own loss takes no sample weights.", next_step="Compile a loss: compile(loss=...)."
            )
        return sum((tf.cast(each, tf.float32) for each in self.losses), tf.cast(loss, tf.float32))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """The compiled metrics, of the logits."""
        return super().compute_metrics(x, y, _logits(y_pred), sample_weight)

    def prepare_tf_dataset(self, dataset: Any, batch_size: int = 8, shuffle: bool = True, **options: Any) -> Any:
        """A `tf.data.Dataset` of batches for `fit`; see `notebook_kit.tensorflow.datasets.tf_dataset`.

        Args:
            dataset: A `datasets.Dataset`. Columns that the model does not take are left out.
            batch_size: Examples per batch.
            shuffle: Whether each epoch has a new order.
            **options: `tokenizer`, which pads each batch; `collate_fn` and `collate_fn_args`; `drop_remainder`; `prefetch`.
        """
        return tf_dataset(dataset, self.inputs_taken, batch_size, shuffle, **options)

    def resize_token_embeddings(self, new_num_tokens: int | None = None, **options: Any) -> Any:
        """Grow or shrink the vocabulary, which is necessary after `tokenizer.add_tokens`; see the torch class.

        Args:
            new_num_tokens: The new size, usually `len(tokenizer)`; the current one by default.
            **options: `pad_to_multiple_of` and `mean_resizing`, as for the torch class.

        Returns:
            The part of the model that holds the token embeddings.

        Raises:
            InputError: If a size is not a positive whole number, or the model has been trained with its present optimizer, whose
                state belongs to weights of the old size.

        Example:
            >>> from notebook_kit import TFAutoModel
            >>> model = TFAutoModel.from_pretrained("notebook-kit/tiny-sentiment")
            >>> table = model.resize_token_embeddings(model.config.vocab_size + 2)
            >>> table.weights[0].shape[0] == model.config.vocab_size
            True
        """
        source = self.to_torch()
        source.config = copy.deepcopy(self.config)
        with torch_seeded():
            table = source.resize_token_embeddings(new_num_tokens, **options)
        path = next(name for name, module in source.named_modules() if module is table)
        if self._engine.variables[f"{path}.weight"].shape[0] != table.num_embeddings:
            if getattr(getattr(self, "optimizer", None), "built", False):
                raise InputError(
                    "The optimizer has begun with weights of the old size.",
                    next_step="Resize before training; or compile with a new optimizer first, then resize.",
                )
            replace_resized(self, self._engine.variables, source)
            self.config.get_text_config().vocab_size = table.num_embeddings
            self._engine.forget()
            self.train_function = self.test_function = self.predict_function = None  # those traced by Keras
        return reduce(lambda part, name: part.parts[name], path.split("."), self)

    # Loading and saving ----------------------------------------------------------------------------------------------------

    @classmethod
    def from_config(cls, config: Any, **options: Any) -> Any:
        """A model with newly initialized weights, from a configuration or from what `get_config` returned."""
        if isinstance(config, Mapping):
            values = dict(config)
            config = cls.torch_class.config_class.from_dict(values.pop("config"))
            return cls(config, **values)
        return cls(config, **options)

    def get_config(self) -> dict[str, Any]:
        """What Keras writes into a `.keras` file beside the weights."""
        dtype = keras.saving.serialize_keras_object(self.dtype_policy)
        return {"config": self.config.to_dict(), "name": self.name, "dtype": dtype}

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike | Source, *args: Any, **kwargs: Any) -> Any:
        """Load a checkpoint, in any format that the torch class reads; see `PreTrainedModel.from_pretrained`.

        Args:
            name_or_path: A folder, a zoo name, or a Hub name.
            **kwargs: As for the torch class. `from_pt` changes nothing; `from_tf=True` insists on weights from TensorFlow.
        """
        info = kwargs.pop("output_loading_info", False)
        with torch_seeded():  # the weights of a new head
            loaded = cls.torch_class.from_pretrained(name_or_path, *args, output_loading_info=info, **kwargs)
        source, report = loaded if info else (loaded, None)
        model = cls(source.config, weights=source)
        return (model, report) if info else model

    def to_torch(self) -> PreTrainedModel:
        """A torch model with the same weights, in evaluation mode."""
        model = self.torch_class(self.config)
        model.load_state_dict(self._state(), strict=False)
        if self.generation_config is not None:
            model.generation_config = self.generation_config
        return model.eval()

    def _state(self) -> dict[str, torch.Tensor]:
        return {
            name: torch.from_numpy(np.asarray(variable.numpy())) for name, variable in self._engine.variables.items()
        }

    def save_pretrained(self, folder: str | os.PathLike, **kwargs: Any) -> None:
        """Write `config.json` and the weights, which torch and TensorFlow classes read alike; see
        `PreTrainedModel.save_pretrained`.
        """
        self.to_torch().save_pretrained(folder, **kwargs)

    def save_own_variables(self, store: Any) -> None:
        """Keras' part of writing `.keras` and `.weights.h5`: the weights, under the names of the Hub's checkpoints."""
        for name, variable in self._engine.variables.items():
            store[name] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Keras' part of reading them."""
        for name, variable in self._engine.variables.items():
            variable.assign(store[name])

    @property
    def dummy_inputs(self) -> dict[str, Any]:
        """Inputs to try the model on: three texts, images or recordings."""
        main = self.inputs_taken.main
        if (sizes := usual_sizes(main, self.config)) is not None:
            return {main: tf.zeros([3, *sizes])}
        return {"input_ids": tf.constant([[7, 6, 0, 0, 1], [1, 2, 3, 0, 0], [0, 0, 0, 4, 5]], tf.int64)}


def _to_torch(value: Any) -> Any:
    return torch.from_numpy(np.asarray(value.numpy())) if tf.is_tensor(value) else value


def _labels(y: Any, names: tuple[str, ...]) -> dict[str, Any] | None:
    """The labels of a batch by the names that the model has for them; None if it is not clear which they are."""
    if isinstance(y, Mapping):  # by name, or the classes and boxes of objects
        return dict(y) if set(y) <= set(names) or len(names) != 1 else {names[0]: y}
    return {names[0]: y} if len(names) == 1 else None


def _logits(output: Any) -> Any:
    """What metrics and losses are computed from: the logits alone, or all outputs of a model with several."""
    return output["logits"] if isinstance(output, ModelOutput) and "logits" in output else output
