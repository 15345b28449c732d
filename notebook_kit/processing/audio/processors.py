"""The processors of speech recognizers: a feature extractor for recordings and a tokenizer for texts, as one object."""

from __future__ import annotations

from typing import Any

from notebook_kit.errors import InputError
from notebook_kit.hub import Source
from notebook_kit.processing.audio.auto import AutoFeatureExtractor
from notebook_kit.processing.features import BatchFeature
from notebook_kit.processing.joint.base import JointProcessor

__all__ = ["PROCESSORS", "SpeechProcessor", "Wav2Vec2Processor", "WhisperProcessor"]

_OF_SOUND = ("sampling_rate", "do_normalize", "device", "return_attention_mask")
"""Options of a call that do not concern texts."""


class SpeechProcessor(JointProcessor):
    """A feature extractor and a tokenizer. The processors of the families derive from it.

    Args:
        feature_extractor: For recordings.
        tokenizer: For texts.

    Raises:
        InputError: If one is missing.
    """

    part = "feature_extractor"

    def __init__(self, feature_extractor: Any = None, tokenizer: Any = None) -> None:
        super().__init__(feature_extractor, tokenizer)

    @classmethod
    def load_part(cls, source: Source) -> Any:
        return AutoFeatureExtractor.from_pretrained(source)

    @property
    def model_input_names(self) -> list[str]:
        """What the model reads."""
        return list(self.feature_extractor.model_input_names)

    def __call__(self, audio: Any = None, text: Any = None, **options: Any) -> Any:
        """Prepare recordings, texts, or both.

        Args:
            audio: One recording or several, as for the feature extractor.
            text: One text or several.
            options: Those of the feature extractor and of the tokenizer, such as `sampling_rate`, `padding` and
                `return_tensors`.

        Returns:
            The features of the recordings; with texts, their ids as `labels`; for texts alone, what the tokenizer returns.

        Raises:
            InputError: If both are None, and as for the feature extractor and the tokenizer.
        """
        if audio is None and text is None:
            raise InputError(
                "Neither audio nor text was passed.", next_step="Pass processor(audio, sampling_rate=16_000)."
            )
        for_texts = {name: value for name, value in options.items() if name not in _OF_SOUND}
        if audio is None:
            return self.tokenizer(text, **for_texts)
        batch = self.feature_extractor(audio, **options)
        if text is not None:
            batch["labels"] = self.tokenizer(text, **for_texts)["input_ids"]
        return batch

    def pad(self, input_features: Any = None, labels: Any = None, **options: Any) -> Any:
        """Pad features, labels, or both, as collators do.

        Args:
            input_features: As for `SequenceFeatureExtractor.pad`.
            labels: As for the `pad` of tokenizers.
            options: `padding`, `max_length`, `pad_to_multiple_of`, `return_tensors`.

        Returns:
            The padded features, with the ids of the labels as `labels`; or what the tokenizer returns for labels alone.
        """
        if input_features is None and labels is None:
            raise InputError("There is nothing to pad.", next_step="Pass input_features=, labels=, or both.")
        padded = None if labels is None else self.tokenizer.pad(labels, **options)
        if input_features is None:
            return padded
        batch: BatchFeature = self.feature_extractor.pad(input_features, **options)
        if padded is not None:
            batch["labels"] = padded["input_ids"]
        return batch


class Wav2Vec2Processor(SpeechProcessor):
    """The processor of Wav2Vec2 and HuBERT.

    Args:
        feature_extractor: A `Wav2Vec2FeatureExtractor`.
        tokenizer: A `Wav2Vec2CTCTokenizer`.

    Example:
        >>> import numpy as np
        >>> from notebook_kit import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor
        >>> tokenizer = Wav2Vec2CTCTokenizer({"<pad>": 0, "|": 1, "<unk>": 2, "A": 3})
        >>> processor = Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), tokenizer)
        >>> batch = processor(np.zeros(16_000), sampling_rate=16_000, text="A A", return_tensors="pt")
        >>> batch.input_values.shape, batch.labels
        (torch.Size([1, 16000]), tensor([[3, 1, 3]]))
    """

    @property
    def model_input_names(self) -> list[str]:
        """What the model reads."""
        return [*super().model_input_names, "labels"]


class WhisperProcessor(SpeechProcessor):
    """The processor of Whisper.

    Args:
        feature_extractor: A `WhisperFeatureExtractor`.
        tokenizer: A `WhisperTokenizer`.

    Example:
        >>> from notebook_kit import WhisperProcessor
        >>> processor = WhisperProcessor.from_pretrained("openai/whisper-tiny")  # doctest: +SKIP
        >>> processor(samples, sampling_rate=16_000, return_tensors="pt").input_features.shape  # doctest: +SKIP
        torch.Size([1, 80, 3000])
    """

    def get_decoder_prompt_ids(
        self, task: str | None = None, language: str | None = None, no_timestamps: bool = True
    ) -> list[tuple[int, int]]:
        """As `WhisperTokenizer.get_decoder_prompt_ids`."""
        return self.tokenizer.get_decoder_prompt_ids(task=task, language=language, no_timestamps=no_timestamps)

    def get_prompt_ids(self, text: str, return_tensors: str | None = "np") -> Any:
        """As `WhisperTokenizer.get_prompt_ids`."""
        return self.tokenizer.get_prompt_ids(text, return_tensors=return_tensors)


PROCESSORS: dict[str, type[JointProcessor]] = {kind.__name__: kind for kind in (Wav2Vec2Processor, WhisperProcessor)}
"""The name of a checkpoint's processor class -> the class."""
