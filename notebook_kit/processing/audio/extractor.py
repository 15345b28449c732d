"""`SequenceFeatureExtractor`: from samples to what a model takes, padded to one length."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from notebook_kit.errors import InputError, near_matches, notice
from notebook_kit.fields import Range
from notebook_kit.keywords import refuse_slips
from notebook_kit.processing.audio.loading import is_one, load_audio
from notebook_kit.processing.features import BatchFeature
from notebook_kit.processing.naming import is_array
from notebook_kit.processing.padding import as_columns, check_side, pad_rows
from notebook_kit.processing.settings import ProcessorSettings
from notebook_kit.processing.tensors import tensor_kind, to_tensor

__all__ = ["SequenceFeatureExtractor", "mask_of", "normalized"]

_PADDING = ("longest", "max_length", "do_not_pad")


class SequenceFeatureExtractor(ProcessorSettings):
    """The base of the feature extractors for sound; a subclass defines `__call__`.

    Args:
        settings: The settings below, and any others, which are kept and saved.
        feature_size: The width of a feature: 1 for samples, the number of mels for a spectrogram.
        sampling_rate: The rate at which recordings have to be sampled, in Hz.
        padding_value: What shorter features are padded with.
        padding_side: "right" or "left".
        return_attention_mask: Whether calls and `pad` return an attention mask.

    Raises:
        InputError: If a setting has the wrong type or is out of range.

    Example:
        >>> from notebook_kit import SequenceFeatureExtractor
        >>> class Samples(SequenceFeatureExtractor):
        ...     model_input_names = ["input_values"]
        >>> padded = Samples().pad([{"input_values": [0.5, 0.25]}, {"input_values": [1.0]}], return_tensors="pt")
        >>> padded["input_values"], padded["attention_mask"].tolist()
        (tensor([[0.5000, 0.2500],
                [1.0000, 0.0000]]), [[1, 1], [1, 0]])
    """

    part = "feature_extractor"
    feature_size: Annotated[int, Range(1)] = 1
    sampling_rate: Annotated[int, Range(1)] = 16_000
    padding_value: float = 0.0
    padding_side: Literal["right", "left"] = "right"
    return_attention_mask: bool | None = True

    model_input_names: ClassVar[list[str]] = ["input_values", "attention_mask"]

    def check_keywords(self, options: Mapping[str, Any]) -> None:
        """Check the keywords of a call that this class does not have: as in `transformers` they change nothing.

        Raises:
            InputError: If one of them is probably a misspelling, such as `sample_rate` for `sampling_rate`.
        """
        if options:
            refuse_slips(f"A call of {type(self).__name__}", options, list(inspect.signature(self.__call__).parameters))

    def __call__(self, raw_speech: Any, **options: Any) -> BatchFeature:
        """Turn recordings into features."""
        raise InputError(
            f"{type(self).__name__} does not define __call__.", next_step="Write it in the class, or use one that does."
        )

    def recordings(self, raw_speech: Any, sampling_rate: int | None) -> list[np.ndarray]:
        """The samples of one recording or several, float32 of one channel each.

        Args:
            raw_speech: Samples as an array, a tensor or a list; or a list of such, or an array (recordings, samples); or
                whatever else `load_audio` takes, which is then resampled.
            sampling_rate: Their samples per second. None assumes that of the extractor, which one notice mentions.

        Raises:
            InputError: If samples have another rate or more than one channel, or a recording cannot be read.
        """
        if sampling_rate is not None and sampling_rate != self.sampling_rate:
            raise InputError(
                f"The samples have a sampling rate of {sampling_rate:,} Hz, but the model was trained with "
                f"{self.sampling_rate:,} Hz.",
                next_step=f"Resample them: load_audio(samples, {self.sampling_rate}, input_rate={sampling_rate}).",
            )
        if is_array(raw_speech) and raw_speech.ndim == 2:
            items = list(raw_speech)
        else:
            items = list(raw_speech) if isinstance(raw_speech, Iterable) and not is_one(raw_speech) else [raw_speech]
        if not items:
            raise InputError("There are no recordings: the list is empty.", next_step="Pass at least one recording.")
        if sampling_rate is None and any(map(_is_samples, items)) and "_asked" not in vars(self):
            vars(self)["_asked"] = True
            notice(
                f"{type(self).__name__} was called without sampling_rate, so {self.sampling_rate:,} Hz is assumed. Samples of "
                f"another rate would be misunderstood: pass sampling_rate={self.sampling_rate} to confirm it."
            )
        return [_one(item, i, len(items), self.sampling_rate) for i, item in enumerate(items)]

    def pad(
        self,
        processed_features: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Pad features to one length, as collators do.

        Args:
            processed_features: A list of dictionaries, or one of lists, with `input_values` (or `input_features`), and perhaps
                "attention_mask" and others, which are collated as they are.
            padding: True or "longest" for the longest of the batch, "max_length", or False or "do_not_pad".
            max_length: The length for `padding="max_length"` and `truncation`.
            truncation: Cut features that are longer than `max_length`.
            pad_to_multiple_of: Round the length up to a multiple of this.
            return_attention_mask: Whether to add a mask, 0 where padded; None for the extractor's setting.
            return_tensors: "pt" or "np"; None keeps tensors and turns lists into arrays.

        Raises:
            InputError: If the features lack their main entry or differ in their entries, or an option is not valid.
        """
        columns = as_columns(processed_features)
        main = self.model_input_names[0]
        if main not in columns:
            raise InputError(
                f"There is nothing to pad: the features are {', '.join(map(repr, columns)) or 'empty'}, without {main!r}.",
                next_step=f"Pass the extractor's output: a list of dictionaries with {main}.",
            )
        wants_mask = self.return_attention_mask if return_attention_mask is None else return_attention_mask
        kind = return_tensors or tensor_kind(columns[main]) or "np"
        rows = [_as_floats(row) for row in columns[main]]
        masks = columns.get("attention_mask")
        masks = [np.asarray(mask, np.int32) for mask in masks] if masks is not None else None
        if masks is None and wants_mask:
            masks = [np.ones(len(row), np.int32) for row in rows]
        length = self._length(rows, padding, max_length, truncation, pad_to_multiple_of)
        if truncation:
            limit = _rounded(int(max_length or 0), pad_to_multiple_of)
            rows, masks = [row[:limit] for row in rows], masks and [mask[:limit] for mask in masks]
        padded: dict[str, Any] = {main: rows}
        if masks is not None:
            padded["attention_mask"] = masks
        if length is not None and rows:
            side = check_side(self.padding_side)
            fills = {main: self.padding_value, "attention_mask": 0}
            padded = {name: _padded(value, fills[name], length, side) for name, value in padded.items()}
        batch = {**columns, **padded}
        if return_tensors is None and isinstance(padded[main], list):
            return BatchFeature(batch)
        return BatchFeature({name: to_tensor(value, kind, name) for name, value in batch.items()})

    def _length(
        self, rows: Sequence[Any], padding: bool | str, max_length: int | None, truncation: bool, multiple: int | None
    ) -> int | None:
        """The length to pad to; None for no padding."""
        padding = str(getattr(padding, "value", padding))
        padding = {"True": "longest", "False": "do_not_pad", "None": "do_not_pad"}.get(padding, padding)
        if padding not in _PADDING:
            raise InputError(
                f"padding is {padding!r}. {near_matches(padding, _PADDING)}".rstrip(),
                next_step=f"Pass True, False, or one of {', '.join(_PADDING)}.",
            )
        if max_length is None and (truncation or padding == "max_length"):
            option = "truncation=True" if truncation else 'padding="max_length"'
            raise InputError(f"{option} needs a max_length.", next_step="Pass max_length=..., in steps of the feature.")
        if padding == "do_not_pad":
            return None
        longest = max(map(len, rows), default=0)
        if truncation:
            longest = min(longest, _rounded(int(max_length or 0), multiple))
        return _rounded(int(max_length or 0) if padding == "max_length" else longest, multiple)


def normalized(samples: np.ndarray) -> np.ndarray:
    """Samples with a mean of 0 and a variance of 1.

    Example:
        >>> normalized(np.array([1.0, 3.0], dtype="float32")).round(3).tolist()
        [-1.0, 1.0]
    """
    return (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)


def _rounded(length: int, multiple: int | None) -> int:
    return -(-length // multiple) * multiple if multiple else length


def _is_samples(item: Any) -> bool:
    return is_array(item) or isinstance(item, list | tuple)


def _one(item: Any, position: int, count: int, rate: int) -> np.ndarray:
    """The samples of one recording, with its position in an error."""
    try:
        if not _is_samples(item):
            return load_audio(item, rate)
        if is_array(item):
            item = item.detach().cpu().float().numpy() if hasattr(item, "detach") else item
        samples = np.asarray(item, dtype=np.float32)
    except InputError as error:
        where = f"Recording {position} of {count} (counted from 0): " if count > 1 else ""
        raise InputError(f"{where}{error.what}", next_step=error.next_step) from error
    except (TypeError, ValueError) as error:
        raise InputError(
            f"Recording {position} of {count} (counted from 0) is not a list of numbers: {error}",
            next_step="Pass the samples of one channel, or a list of them.",
        ) from error
    if samples.ndim != 1 or samples.size == 0:
        raise InputError(
            f"Recording {position} of {count} (counted from 0) has the shape {samples.shape}; expected (samples,), one channel "
            "with at least one sample.",
            next_step="Average the channels with load_audio(samples), or pass a list of recordings.",
        )
    return samples


def _as_floats(row: Any) -> Any:
    """A row as it is if it is a float32 array or a tensor, else as a float32 array."""
    if hasattr(row, "detach"):
        return row
    return np.asarray(row, dtype=np.float32)


def _padded(rows: Sequence[Any], fill: float, length: int, side: str) -> Any:
    if any(len(row) > length for row in rows):
        return list(rows)  # longer ones are not cut
    return pad_rows(rows, fill, length=length, side=side)


def mask_of(lengths: Sequence[int], length: int) -> np.ndarray:
    """1 for each step of a row, 0 for padding on its right: int32 of shape (rows, length).

    Example:
        >>> mask_of([2, 1], 2).tolist()
        [[1, 1], [1, 0]]
    """
    return (np.arange(length) < np.asarray(lengths)[:, None]).astype(np.int32)
