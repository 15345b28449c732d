"""The base class of sound pipelines: recordings are loaded at the model's rate, and batches are measured in samples."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Hashable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from typing import Any

import numpy as np
import torch

from notebook_kit.errors import InputError, MissingDependencyError, NotebookKitError
from notebook_kit.pipelines.base import Pipeline, Rows
from notebook_kit.pipelines.inputs import KeyDataset
from notebook_kit.processing.audio.loading import is_one, load_audio
from notebook_kit.processing.naming import is_array
from notebook_kit.processing.padding import pad_rows

__all__ = ["AudioPipeline"]

READERS = min(4, os.cpu_count() or 1)
"""Threads that read the recordings of a window; decoders run outside Python's lock."""


class AudioPipeline(Pipeline):
    """A pipeline whose features are sound, as returned by the feature extractor's call.

    An input is one recording in any form that `load_audio` takes: a path, an http(s) address, bytes, an open file, an array,
    tensor or list of samples, `{"array": ..., "sampling_rate": ...}`, or a value of a `datasets.Audio` column. It is resampled
    to the rate of the feature extractor, once, and its channels are averaged.

    The option `batch_samples` is the maximum number of samples in a batch. Recordings of different lengths share a batch only if
    the model gives the same answer with padding; else those of one length do.

    Args:
        model, feature_extractor, ...: As for `Pipeline`.

    Options:
        sampling_rate: Samples per second of arrays and tensors that do not say it; by default that of the feature extractor.
        timeout: Seconds to wait for a recording from the web.

    Example:
        >>> import numpy as np
        >>> from notebook_kit import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model
        >>> class Frames(AudioPipeline):
        ...     task = "frames"
        ...     def forward(self, batch):
        ...         return {"frames": self.model(**batch).last_hidden_state}
        ...     def postprocess(self, item, features, outputs):
        ...         return outputs[0]["frames"].shape
        >>> config = Wav2Vec2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
        >>> frames = Frames(Wav2Vec2Model(config), feature_extractor=Wav2Vec2FeatureExtractor())
        >>> frames([np.zeros(16_000), {"array": np.zeros(8_000), "sampling_rate": 8_000}])
        [(49, 32), (49, 32)]
    """

    processors = ("feature_extractor",)
    budget_option = "batch_samples"
    budgets = (60 * 16_000, 32 * 30 * 16_000)
    windows = (16, 64)  # half a minute of sound is 2 MB
    reads_ahead = True

    def features_of_each(self, items: list[Any], options: dict[str, Any]) -> Iterator[Rows | Exception]:
        """As in `Pipeline`; several recordings are read by threads, from this call on."""
        if len(items) < 2 or READERS < 2:
            return super().features_of_each(items, options)
        pool = ThreadPoolExecutor(READERS, "recordings")
        return _results(pool, [pool.submit(self.features_of, item, options) for item in items])

    def preprocess(self, item: Any, *, sampling_rate: int | None = None, timeout: float | None = None) -> Any:
        return self.process(self.load(item, sampling_rate, timeout))

    def load(self, item: Any, sampling_rate: int | None = None, timeout: float | None = None) -> np.ndarray:
        """The samples of a recording at the rate of the feature extractor."""
        return load_audio(item, self.feature_extractor.sampling_rate, timeout, input_rate=sampling_rate)

    def process(self, samples: np.ndarray, **options: Any) -> dict[str, Any]:
        """Call the feature extractor; the inputs of the model for one recording, without a batch axis, and the number of its
        `samples`."""
        rate = self.feature_extractor.sampling_rate
        features = self.feature_extractor(samples, sampling_rate=rate, return_tensors="pt", **options)
        found: dict[str, Any] = {name: values[0] for name, values in features.items()}
        mask = found.get("attention_mask")
        if (
            isinstance(mask, torch.Tensor) and mask.all()
        ):  # a single one, rather than 8 bytes per sample until there is a batch
            found["attention_mask"] = mask.new_ones(()).expand(mask.shape)
        return {**found, "samples": len(samples)}

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Run the pipeline on one recording, a list or a stream of recordings; see `Pipeline`."""
        if isinstance(inputs, np.ndarray | torch.Tensor) and inputs.ndim > 2:
            raise InputError(
                f"The input has the shape {tuple(inputs.shape)}: expected (samples,), or (channels, samples).",
                next_step="Pass one recording, or a list of them.",
            )
        if inputs is None:
            raise InputError(
                "No recording was passed.", next_step="Pass a path, an address, samples, or a list of them."
            )
        if _is_samples_with_rate(inputs):
            raise InputError(
                "The input is a pair of samples and their sampling rate.",
                next_step='Pass it as a dictionary: {"array": samples, "sampling_rate": rate}.',
            )
        inputs = _as_files(inputs)
        try:
            return super().__call__(inputs, **options)
        except (ImportError, OSError, RuntimeError) as error:
            if isinstance(error, NotebookKitError) or "torchcodec" not in str(error):
                raise
            raise MissingDependencyError(
                "The recordings of the dataset cannot be decoded: `datasets` needs the package torchcodec for that, which is "
                "not installed or does not work here.",
                next_step="Pass the files as they are, dataset.cast_column(name, datasets.Audio(decode=False))[name], or "
                "install ffmpeg and `pip install torchcodec` in the version that belongs to this torch.",
            ) from error

    # What the base asks of a modality ----------------------------------------------------------------------------------

    def is_single(self, inputs: Any) -> bool:
        return is_one(inputs) or super().is_single(inputs)

    def cost(self, feature: Mapping[str, Any]) -> int:
        step = getattr(self.feature_extractor, "hop_length", 1)
        return max(feature["samples"], feature[self.main].shape[-1] * step)

    def group(self, feature: Mapping[str, Any]) -> Hashable:
        return None if self.can_pad else tuple(feature[self.main].shape)

    def collate(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        names = [name for name in (self.main, "attention_mask") if name in features[0] and name in self.input_names]
        rows = {name: [feature[name] for feature in features] for name in names}
        if len({row.shape for row in rows[self.main]}) == 1:
            return {name: torch.stack(values) for name, values in rows.items()}
        fill = {self.main: self.feature_extractor.padding_value, "attention_mask": 0}
        return {name: pad_rows(values, fill[name]) for name, values in rows.items()}

    @property
    def main(self) -> str:
        """The name of the features: `input_values` or `input_features`."""
        return self.feature_extractor.model_input_names[0]

    @property
    def can_pad(self) -> bool:
        """Whether padding changes no answer: with an attention mask, if no norm runs over time before the model applies it."""
        has_mask = "attention_mask" in self.input_names and self.main == "input_values"
        return has_mask and getattr(self.model.config, "feat_extract_norm", None) == "layer"


def _results(pool: ThreadPoolExecutor, futures: list[Future[Rows]]) -> Iterator[Rows | Exception]:
    """The results in order, with errors in the places of those that they prevented."""
    try:
        for future in futures:
            try:
                yield future.result()
            except Exception as error:
                yield error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _is_samples_with_rate(inputs: Any) -> bool:
    """Whether the input is a pair as `soundfile.read` and `librosa.load` return, or the other way round."""
    if not isinstance(inputs, tuple) or len(inputs) != 2:
        return False
    return any(is_array(one) and isinstance(other, int) for one, other in (inputs, inputs[::-1]))


def _as_files(inputs: Any) -> Any:
    """A column of `datasets.Audio` as its files, if `datasets` cannot decode them because torchcodec is missing or broken: `load_audio`
    reads them without it. Other inputs as they are.

    Raises:
        InputError: For a whole dataset with such a column.
    """
    features = getattr(inputs, "features", None)
    sounds = _sounds_of(features) if isinstance(features, Mapping) else []
    if sounds and hasattr(inputs, "cast_column"):
        raise InputError(
            f"The input is a dataset with the columns {', '.join(map(str, features or ()))}.",
            next_step=f"Pass the recordings: dataset[{sounds[0]!r}].",
        )
    dataset: Any
    name: Any
    if isinstance(inputs, KeyDataset):
        dataset, name = inputs.dataset, inputs.key
    else:
        dataset, name = getattr(inputs, "source", None), getattr(inputs, "column_name", None)
    features = getattr(dataset, "features", None)
    is_transformed = (getattr(dataset, "format", None) or {}).get("type") == "custom"
    if is_transformed or not isinstance(features, Mapping) or name not in _sounds_of(features):
        return inputs
    if _has_torchcodec():  # last, since it imports the package
        return inputs
    files = dataset.cast_column(name, dataclasses.replace(features[name], decode=False))
    return KeyDataset(files, name) if isinstance(inputs, KeyDataset) else files[name]


def _has_torchcodec() -> bool:
    """Whether torchcodec can be used: it may be installed, and not find ffmpeg's libraries or be built for another torch."""
    try:
        import_module("torchcodec.decoders")
    except Exception:
        return False
    return True


def _sounds_of(features: Mapping[str, Any]) -> list[str]:
    """The names of the columns of a dataset that `datasets` decodes as sound."""
    return [
        name for name, kind in features.items() if type(kind).__name__ == "Audio" and getattr(kind, "decode", False)
    ]
