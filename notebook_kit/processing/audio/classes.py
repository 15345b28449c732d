"""The feature extractors of Wav2Vec2, Whisper and the Audio Spectrogram Transformer, and `model_type` -> extractor."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import torch

from notebook_kit.fields import NonNegative, Range
from notebook_kit.processing.audio.extractor import SequenceFeatureExtractor, mask_of, normalized
from notebook_kit.processing.audio.spectrograms import kaldi_fbank, log_mel, mel_filters
from notebook_kit.processing.features import BatchFeature
from notebook_kit.processing.padding import pad_rows

__all__ = ["BY_MODEL_TYPE", "ASTFeatureExtractor", "Wav2Vec2FeatureExtractor", "WhisperFeatureExtractor"]


class Wav2Vec2FeatureExtractor(SequenceFeatureExtractor):
    """The feature extractor of Wav2Vec2 and HuBERT: the samples themselves, normalized and padded.

    Args:
        settings: As for `SequenceFeatureExtractor`; and `do_normalize`, which gives each recording a mean of 0 and a variance of
            1.

    Example:
        >>> import numpy as np
        >>> from notebook_kit import Wav2Vec2FeatureExtractor
        >>> extractor = Wav2Vec2FeatureExtractor()
        >>> clips = [np.zeros(16_000), np.zeros(8_000)]
        >>> extractor(clips, sampling_rate=16_000, padding=True, return_tensors="pt").input_values.shape
        torch.Size([2, 16000])
    """

    return_attention_mask: bool | None = False
    do_normalize: bool = True

    def __call__(
        self,
        raw_speech: Any,
        padding: bool | str = False,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        sampling_rate: int | None = None,
        **options: Any,
    ) -> BatchFeature:
        """Normalize and pad recordings.

        Args:
            raw_speech: One recording, a list of them, or an array (recordings, samples); see `recordings`.
            padding, max_length, truncation, pad_to_multiple_of, return_attention_mask, return_tensors: As for `pad`, in samples.
            sampling_rate: Samples per second, to confirm that they fit the model.

        Returns:
            `input_values`, float32 (recordings, samples); with `return_attention_mask`, `attention_mask`, int32 of that shape.

        Raises:
            InputError: If the recordings have another sampling rate or several channels, or keep different lengths though
                tensors were requested.
        """
        self.check_keywords(options)
        rows = self.recordings(raw_speech, sampling_rate)
        if truncation and max_length is not None:
            rows = [row[:max_length] for row in rows]
        if self.do_normalize:
            rows = [normalized(row) for row in rows]
        return self.pad(
            {"input_values": rows},
            padding,
            max_length,
            truncation,
            pad_to_multiple_of,
            return_attention_mask,
            return_tensors,
        )


class WhisperFeatureExtractor(SequenceFeatureExtractor):
    """The feature extractor of Whisper: log-mel spectrograms of recordings that are padded or cut to 30 seconds.

    Args:
        settings: As for `SequenceFeatureExtractor`; and
        feature_size: The number of mels: 80, or 128 for large-v3.
        hop_length, n_fft: The step and the length of the Fourier transform, in samples.
        chunk_length: Seconds that recordings are padded or cut to.
        dither: The standard deviation of noise that is added to the samples.

    Attributes:
        n_samples, nb_max_frames: `chunk_length` in samples and in frames.

    Example:
        >>> import numpy as np
        >>> from notebook_kit import WhisperFeatureExtractor
        >>> extractor = WhisperFeatureExtractor()
        >>> extractor(np.zeros(16_000), sampling_rate=16_000, return_tensors="pt").input_features.shape
        torch.Size([1, 80, 3000])
    """

    return_attention_mask: bool | None = False
    feature_size: Annotated[int, Range(1)] = 80
    hop_length: Annotated[int, Range(1)] = 160
    chunk_length: Annotated[int, Range(1)] = 30
    n_fft: Annotated[int, Range(2)] = 400
    dither: NonNegative = 0.0

    model_input_names: ClassVar[list[str]] = ["input_features"]

    def __init__(self, **settings: Any) -> None:
        for derived in ("n_samples", "nb_max_frames", "mel_filters"):  # as files state them
            settings.pop(derived, None)
        super().__init__(**settings)

    @property
    def n_samples(self) -> int:
        """Samples of a chunk."""
        return self.chunk_length * self.sampling_rate

    @property
    def nb_max_frames(self) -> int:
        """Frames of a chunk."""
        return self.n_samples // self.hop_length

    @property
    def mel_filters(self) -> np.ndarray:
        """The filters from frequencies to mels, (n_fft // 2 + 1, feature_size)."""
        return mel_filters(1 + self.n_fft // 2, self.feature_size, self.sampling_rate, 0.0, 8000.0)

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"n_samples": self.n_samples, "nb_max_frames": self.nb_max_frames}

    def __call__(
        self,
        raw_speech: Any,
        truncation: bool = True,
        pad_to_multiple_of: int | None = None,
        return_tensors: str | None = None,
        return_attention_mask: bool | None = None,
        padding: bool | str | None = "max_length",
        max_length: int | None = None,
        sampling_rate: int | None = None,
        do_normalize: bool | None = None,
        device: str | torch.device | None = "cpu",
        **options: Any,
    ) -> BatchFeature:
        """Compute log-mel spectrograms.

        Args:
            raw_speech: One recording, a list of them, or an array (recordings, samples); see `recordings`.
            truncation, pad_to_multiple_of, padding, max_length: As for `pad`, in samples; `max_length` is 30 seconds if None.
                `truncation=False, padding="longest"` keeps recordings whole, for long-form generation.
            return_tensors: "pt" or "np"; None for an array.
            return_attention_mask: Whether to add a mask: 1 for the frames of a recording, 0 for padding.
            sampling_rate: Samples per second, to confirm that they fit the model.
            do_normalize: Give the samples a mean of 0 and a variance of 1 first.
            device: Where to compute.

        Returns:
            `input_features`, float32 (recordings, mels, frames), and perhaps `attention_mask`, int32 (recordings, frames).

        Raises:
            InputError: If the recordings have another sampling rate or several channels, or keep different lengths.
        """
        self.check_keywords(options)
        rows = self.recordings(raw_speech, sampling_rate)
        limit = max_length or self.n_samples
        if truncation:
            rows = [row[:limit] for row in rows]
        if do_normalize:
            rows = [normalized(row) for row in rows]
        length = self._length(rows, False if padding is None else padding, limit, False, pad_to_multiple_of)
        lengths = [len(row) for row in rows]
        samples = torch.from_numpy(pad_rows(rows, self.padding_value, length=length)).to(device)
        is_clean = self.padding_value == 0 and not self.dither
        if self.dither:
            samples = samples + self.dither * torch.randn_like(samples)
        filters = torch.from_numpy(self.mel_filters.T).to(samples)
        features = log_mel(samples, filters, self.n_fft, self.hop_length, lengths if is_clean else None).cpu()
        batch = {"input_features": features if return_tensors == "pt" else features.numpy()}
        if self.return_attention_mask if return_attention_mask is None else return_attention_mask:
            mask = mask_of(lengths, samples.shape[1])[:, :: self.hop_length][:, : features.shape[2]]
            batch["attention_mask"] = np.ascontiguousarray(mask)
        return BatchFeature(batch, return_tensors)


class ASTFeatureExtractor(SequenceFeatureExtractor):
    """The feature extractor of the Audio Spectrogram Transformer: Kaldi's log filter banks, padded or cut to one length.

    Args:
        settings: As for `SequenceFeatureExtractor`; and
        num_mel_bins: The number of mels.
        max_length: The length, in frames of 10 ms.
        do_normalize, mean, std: Subtract the mean and divide by twice the deviation, those of AudioSet by default.

    Example:
        >>> import numpy as np
        >>> from notebook_kit import ASTFeatureExtractor
        >>> ASTFeatureExtractor()(np.zeros(16_000), sampling_rate=16_000, return_tensors="pt").input_values.shape
        torch.Size([1, 1024, 128])
    """

    return_attention_mask: bool | None = False
    num_mel_bins: Annotated[int, Range(1)] = 128
    max_length: Annotated[int, Range(1)] = 1024
    do_normalize: bool = True
    mean: float = -4.2677393
    std: float = 4.5689974

    def __call__(
        self, raw_speech: Any, sampling_rate: int | None = None, return_tensors: str | None = None, **options: Any
    ) -> BatchFeature:
        """Compute filter banks.

        Args:
            raw_speech: One recording, a list of them, or an array (recordings, samples); see `recordings`.
            sampling_rate: Samples per second, to confirm that they fit the model.
            return_tensors: "pt" or "np"; None for a list of arrays.

        Returns:
            `input_values`, float32 (recordings, `max_length`, mels).

        Raises:
            InputError: If the recordings have another sampling rate or several channels.
        """
        self.check_keywords(options)
        high = self.sampling_rate // 2
        filters = torch.from_numpy(mel_filters(257, self.num_mel_bins, self.sampling_rate, 20, high, "kaldi"))
        features = []
        for samples in self.recordings(raw_speech, sampling_rate):
            bank = kaldi_fbank(torch.from_numpy(samples), filters)[: self.max_length]  # (frames, mels)
            bank = torch.nn.functional.pad(bank, (0, 0, 0, self.max_length - bank.shape[0]))
            features.append(((bank - self.mean) / (self.std * 2) if self.do_normalize else bank).numpy())
        return BatchFeature(
            {"input_values": features if return_tensors is None else np.stack(features)}, return_tensors
        )


BY_MODEL_TYPE = {
    **dict.fromkeys(
        ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "sew", "sew-d", "unispeech", "unispeech-sat"),
        "Wav2Vec2FeatureExtractor",
    ),
    "whisper": "WhisperFeatureExtractor",
    "audio-spectrogram-transformer": "ASTFeatureExtractor",
}
"""`model_type` in config.json -> the extractor, for checkpoints whose preprocessor_config.json names none."""
