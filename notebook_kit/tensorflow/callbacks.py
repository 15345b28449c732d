"""Callbacks of Keras from the TensorFlow courses: metrics of a function of one's own, and uploads during training."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from notebook_kit.errors import InputError, a_kind
from notebook_kit.tensorflow.requirements import keras, tf
from notebook_kit.training.publishing import Uploads

__all__ = ["KerasMetricCallback", "PushToHubCallback"]

PADDING = -100


class KerasMetricCallback(keras.callbacks.Callback):
    """After each epoch, computes metrics of all predictions on the evaluation data, and adds them to Keras' logs.

    Keras' own metrics see one batch at a time; here a function gets the predictions and the labels of the whole dataset, as
    NumPy arrays, so that ROUGE, BLEU, F1 over entities and the like can be computed.

    Args:
        metric_fn: Called with `(predictions, labels)`; returns a dictionary of numbers. Each is an array, or a dictionary of
            arrays if there are several outputs or columns. Arrays of batches of other lengths are padded with -100.
        eval_dataset: A `tf.data.Dataset` of batches, as `prepare_tf_dataset` returns it; or a pair of inputs and labels.
        output_cols: The outputs to pass on; None for all.
        label_cols: The inputs to pass on as labels; None for the dataset's labels.
        batch_size: Examples per batch of a pair of inputs and labels.
        predict_with_generate: Whether the predictions are generated tokens, for models that write texts.
        use_xla_generation: Accepted and ignored: texts are generated with PyTorch.
        generate_kwargs: Arguments of `generate`.

    Raises:
        InputError: If there are no labels, or the function does not return a dictionary.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> data = np.ones((8, 2)), np.ones((8, 1))
        >>> worst = KerasMetricCallback(lambda both: {"worst": float(abs(both[0] - both[1]).max())}, data, batch_size=4)
        >>> history = model.fit(*data, epochs=2, verbose=0, callbacks=[worst]).history
        >>> len(history["worst"])
        2
    """

    def __init__(
        self,
        metric_fn: Callable[[tuple[Any, Any]], Mapping[str, Any]],
        eval_dataset: Any,
        output_cols: Sequence[str] | None = None,
        label_cols: Sequence[str] | str | None = None,
        batch_size: int | None = None,
        predict_with_generate: bool = False,
        use_xla_generation: bool = False,
        generate_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.metric_fn, self.output_cols = metric_fn, output_cols
        self.label_cols = [label_cols] if isinstance(label_cols, str) else label_cols
        self.predict_with_generate, self.generate_kwargs = predict_with_generate, dict(generate_kwargs or {})
        if not isinstance(eval_dataset, tf.data.Dataset):
            eval_dataset = tf.data.Dataset.from_tensor_slices(eval_dataset).batch(batch_size or 32)
        self.eval_dataset = eval_dataset

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        predictions, labels = [], []
        for batch in self.eval_dataset:
            inputs, targets, _ = keras.utils.unpack_x_y_sample_weight(batch)
            labels.append(self._labels(inputs, targets))
            predictions.append(self._predictions(inputs))
        metrics = self.metric_fn((_joined(predictions), _joined(labels)))
        if not isinstance(metrics, Mapping):
            raise InputError(
                f"metric_fn returned {a_kind(metrics)}; expected a dictionary of numbers.",
                next_step='End it with `return {"accuracy": accuracy}`, with a name for each number.',
            )
        if logs is not None:
            logs.update(metrics)

    def _labels(self, inputs: Any, targets: Any) -> Any:
        if self.label_cols is not None:
            known = {
                **(inputs if isinstance(inputs, Mapping) else {}),
                **(targets if isinstance(targets, Mapping) else {}),
            }
            known = known if isinstance(targets, Mapping) or targets is None else {**known, "labels": targets}
            if missing := [name for name in self.label_cols if name not in known]:
                raise InputError(
                    f"The evaluation data has no column {missing[0]}.", next_step=f"Its columns are {', '.join(known)}."
                )
            return _arrays({name: known[name] for name in self.label_cols})
        if targets is None and isinstance(inputs, Mapping):
            targets = inputs.get("labels")
        if targets is None:
            raise InputError(
                "The evaluation data has no labels to compute metrics from.",
                next_step="Pass batches (inputs, labels), or name the columns that hold labels: label_cols=[...].",
            )
        return _arrays(targets)

    def _predictions(self, inputs: Any) -> Any:
        if self.predict_with_generate:
            known = inputs if isinstance(inputs, Mapping) else {"input_ids": inputs}
            known = {
                name: value
                for name, value in known.items()
                if name in ("input_ids", "attention_mask", "input_features")
            }
            return _arrays(self.model.generate(**known, **self.generate_kwargs))
        outputs = self.model.predict_on_batch(inputs)
        if isinstance(outputs, Mapping):
            names = self.output_cols or [name for name in outputs if name != "loss"]
            outputs = {name: outputs[name] for name in names}
        return _arrays(outputs)


def _arrays(value: Any) -> Any:
    """Arrays in place of tensors; a dictionary of one is the one."""
    if isinstance(value, Mapping):
        found = {name: np.asarray(each) for name, each in value.items()}
        return next(iter(found.values())) if len(found) == 1 else found
    return np.asarray(value)


def _joined(batches: list[Any]) -> Any:
    """The batches as one array, or one per name."""
    if isinstance(batches[0], Mapping):
        return {name: _joined([batch[name] for batch in batches]) for name in batches[0]}
    if not batches[0].ndim:
        return np.stack(batches)
    longest = np.max([batch.shape[1:] for batch in batches], axis=0).astype(int)
    return np.concatenate(
        [
            np.pad(
                batch,
                [(0, 0), *((0, new - old) for new, old in zip(longest, batch.shape[1:], strict=True))],
                constant_values=PADDING,
            )
            for batch in batches
        ]
    )


class PushToHubCallback(keras.callbacks.Callback):
    """Uploads the model to the Hub during training, in the background, and once more at the end.

    The files are written at once, to a temporary folder and to `output_dir`. While an upload is in progress, further ones are
    left out; a failed one is a warning.

    Args:
        output_dir: A folder for the files of the model, in which the last ones stay.
        save_strategy: When to upload: after each "epoch", every `save_steps` "steps", or "no" for the end only.
        save_steps: Batches between two uploads with the strategy "steps".
        tokenizer: A tokenizer, or another processor, to upload with the model.
        hub_model_id: "owner/name", or "name" for a repository of your account; None for the name of `output_dir`.
        hub_token: A token of the Hub with write access; None for the saved one or `HF_TOKEN`.
        checkpoint: Whether to upload Keras' file with the state of the optimizer too, to go on training from.
        **model_card_args: Accepted and ignored.

    Attributes:
        uploads: The uploads in progress.

    Raises:
        InputError: For another strategy, or "steps" without their number.

    Example:
        >>> callback = PushToHubCallback("my-model", save_strategy="steps", save_steps=500, hub_model_id="me/my-model")
        >>> callback.hub_model_id
        'me/my-model'
    """

    def __init__(
        self,
        output_dir: Any,
        save_strategy: Literal["epoch", "steps", "no"] = "epoch",
        save_steps: int | None = None,
        tokenizer: Any = None,
        hub_model_id: str | None = None,
        hub_token: str | None = None,
        checkpoint: bool = False,
        **model_card_args: Any,
    ) -> None:
        super().__init__()
        strategy = getattr(save_strategy, "value", save_strategy)
        if strategy not in ("epoch", "steps", "no"):
            raise InputError(f"save_strategy is {strategy!r}.", next_step='Pass "epoch", "steps" or "no".')
        if (strategy == "steps") != (save_steps is not None and save_steps > 0):
            raise InputError(
                f"save_strategy is {strategy!r}, and save_steps is {save_steps}.",
                next_step='Pass both: save_strategy="steps", save_steps=500.',
            )
        self.output_dir, self.save_strategy, self.save_steps = Path(output_dir).expanduser(), strategy, save_steps
        self.tokenizer, self.hub_token, self.checkpoint = tokenizer, hub_token, checkpoint
        self.hub_model_id = hub_model_id or self.output_dir.resolve().name
        self.uploads = Uploads("model.push_to_hub(name)")
        self._steps = 0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._steps += 1
        if self.save_steps is not None and self._steps % self.save_steps == 0:
            self._upload(f"Training in progress, step {self._steps}")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self.save_strategy == "epoch":
            self._upload(f"Training in progress, epoch {epoch + 1}")

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        self._upload("End of training", always=True)
        self.uploads.report(wait=True)

    def _upload(self, message: str, always: bool = False) -> None:
        self.uploads.report()
        if self.uploads.pending and not always:
            return
        folder = Path(tempfile.mkdtemp(prefix="notebook_kit-upload-"))
        for place in (self.output_dir, folder):
            self.model.save_pretrained(place)
            if self.tokenizer is not None:
                self.tokenizer.save_pretrained(place)
            if self.checkpoint:
                (place / "checkpoint").mkdir(exist_ok=True)
                self.model.save_weights(place / "checkpoint" / "model.weights.h5")
        self.uploads.send(folder, self.hub_model_id, token=self.hub_token, commit_message=message)
