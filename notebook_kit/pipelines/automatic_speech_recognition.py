"""Automatic speech recognition: the words of a recording, and their times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch

from notebook_kit.errors import InputError, MissingDependencyError, warn
from notebook_kit.generation.configuration import OUTPUTS, GenerationConfig
from notebook_kit.pipelines.audio import AudioPipeline
from notebook_kit.pipelines.base import Rows
from notebook_kit.pipelines.generating import GENERATE_OPTIONS
from notebook_kit.pipelines.options import check_choice, checked
from notebook_kit.processing.audio.language_models import load_decoder
from notebook_kit.processing.audio.samples import check_rate, is_silent
from notebook_kit.processing.text.ctc import words_of

__all__ = ["AutomaticSpeechRecognitionPipeline"]

Stride = tuple[int, int, int]
"""The length of a piece of a recording, and how much of it at its beginning and at its end is in a neighbour."""
_READ = {"raw", "array", "bytes", "path", "sampling_rate", "stride"}
"""What is read of a dictionary with a recording; the rest is returned with the text."""

_SPEECH_OPTIONS = {
    "temperature": Any,  # or a tuple, tried one after the other
    "language": Any,
    "task": str | None,
    "is_multilingual": bool | None,
    "prompt_ids": Any,
    "prompt_condition_type": str | None,
    "condition_on_prev_tokens": bool | None,
    "compression_ratio_threshold": float | None,
    "logprob_threshold": float | None,
    "no_speech_threshold": float | None,
    "monitor_progress": Any,
}
"""Further arguments of the `generate` of Whisper, with their types."""
_DEFAULTS = {"max_new_tokens": 256, "num_beams": 5}
"""Settings that apply if neither the call nor the checkpoint has them, as in `transformers`."""


class AutomaticSpeechRecognitionPipeline(AudioPipeline):
    """Transcribes recordings. Created by `pipeline("automatic-speech-recognition")`.

    Args:
        model: A model for CTC, such as a `Wav2Vec2ForCTC`, or a `WhisperForConditionalGeneration`.
        feature_extractor, tokenizer: Those of the model.
        decoder: For CTC, a decoder with a language model, as `pyctcdecode` builds them.
        ...: As for `Pipeline`.

    Options:
        return_timestamps: Add `chunks` with times: `"char"` or `"word"` for CTC; `"word"`, or True for segments, for Whisper.
        return_language: Add `chunks` with the language (Whisper).
        chunk_length_s: Cut recordings into pieces of so many seconds, which are recognized in batches and then put together. By
            default Whisper reads long recordings piece by piece itself, which is more accurate, and CTC reads them whole.
        stride_length_s: Seconds of overlap at both sides of a piece, or a pair (left, right); a sixth of the piece by default.
        generate_kwargs: Settings of `generate` (Whisper): `task`, `language`, `num_beams`, ... They can also be passed one by
            one.
        decoder_kwargs: Arguments of the decoder with a language model.
        sampling_rate, timeout: As for `AudioPipeline`.

    Inputs are recordings in any form that `load_audio` takes, or lists of them.

    Returns:
        `{"text": str}` for one recording, with `"chunks"`, a list of `{"text": str, "timestamp": (start, end)}` in seconds, if
        times are requested; for a list of recordings, a list of such dicts. The text of silence is empty. What else a dictionary
        with a recording says (as `"partial"` of a microphone) comes back with it, in a list with an entry per piece.

    Example:
        >>> from notebook_kit import pipeline
        >>> transcribe = pipeline("automatic-speech-recognition", model="openai/whisper-tiny")  # doctest: +SKIP
        >>> transcribe("speech.flac", return_timestamps=True)  # doctest: +SKIP
        {'text': ' Good morning.', 'chunks': [{'timestamp': (0.0, 1.2), 'text': ' Good morning.'}]}
    """

    task = "automatic-speech-recognition"
    auto_models = ("AutoModelForSpeechSeq2Seq", "AutoModelForCTC")
    processors = ("feature_extractor", "tokenizer")
    further_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {"forward": GENERATE_OPTIONS | _SPEECH_OPTIONS}

    def __init__(self, model: Any, tokenizer: Any = None, *, decoder: Any = None, **options: Any) -> None:
        self.decoder = decoder
        config = getattr(model, "config", None)
        self.generates = bool(getattr(config, "is_encoder_decoder", False))
        if self.generates and getattr(config, "model_type", "") != "whisper":
            raise InputError(
                f"{type(model).__name__} cannot recognize speech here.",
                next_step="Pass a model for CTC, such as Wav2Vec2ForCTC, or a WhisperForConditionalGeneration.",
            )
        super().__init__(model, tokenizer, **options)

    @classmethod
    def completed(cls, options: dict[str, Any], source: Any, processors: Mapping[str, Any]) -> dict[str, Any]:
        """With the decoder of a joint processor, or that of a checkpoint with a language model, if it can be loaded."""
        if "decoder" in options:
            return options
        if (decoder := getattr(processors["processor"], "decoder", None)) is not None:
            return {**options, "decoder": decoder}
        named = str(getattr(processors["feature_extractor"], "extra", {}).get("processor_class"))
        if source is None or not named.endswith("WithLM"):
            return options
        try:
            return {**options, "decoder": load_decoder(source)}
        except MissingDependencyError as error:
            warn(
                f"{error.what} The most probable letters are taken instead, which makes more mistakes. {error.next_step}"
            )
            return options

    # Options -----------------------------------------------------------------------------------------------------------

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        options |= checked("generate_kwargs", options.pop("generate_kwargs", None), dict[str, Any] | None) or {}
        options.pop("ignore_warning", None)
        options.pop("return_dict_in_generate", None)  # the answers are the same
        for name in OUTPUTS:
            if options.get(name):
                raise InputError(
                    f"A pipeline returns texts, so it cannot return what {name} requests.",
                    next_step="Call model.generate(...) for that.",
                )
        if (seconds := options.get("chunk_length_s")) is not None and not 0 <= seconds < float("inf"):
            raise InputError(
                f"chunk_length_s is {seconds!r}.",
                next_step="Pass the seconds of a piece, such as 30, or leave it out.",
            )
        if not self.generates:
            unused = [name for name in options if name in self.further_options["forward"]]
            if unused:
                warn(
                    f"{type(self.model).__name__} reads letters and does not generate: {', '.join(unused)} has no effect."
                )
        if options.get("return_language") and not self.generates:
            raise InputError("Only Whisper says which language it hears.", next_step="Leave return_language out.")
        if "return_timestamps" in options:
            options["return_timestamps"] = self._timestamps(options["return_timestamps"])
        GenerationConfig(
            **{
                name: options[name]
                for name in GenerationConfig.names()
                if name in options and name not in _SPEECH_OPTIONS
            }
        )  # checked now
        return options

    def _timestamps(self, value: Any) -> bool | str | None:
        """The option `return_timestamps`, if this kind of model can do it."""
        if value is None or value is False:
            return value
        if self.generates and value is not True and value != "word":
            raise InputError(
                f"return_timestamps is {value!r}, which Whisper cannot do.",
                next_step='Pass True for the times of segments, or "word" for those of words.',
            )
        if self.generates:
            return value
        if value is True:
            raise InputError(
                "return_timestamps is True, and a CTC model has no segments.",
                next_step='Pass return_timestamps="word" or return_timestamps="char".',
            )
        return check_choice("return_timestamps", value, ("word",) if self.decoder is not None else ("char", "word"))

    # Steps -------------------------------------------------------------------------------------------------------------

    def preprocess(
        self,
        item: Any,
        *,
        chunk_length_s: float | None = None,
        stride_length_s: float | list[float] | None = None,
        sampling_rate: int | None = None,
        timeout: float | None = None,
    ) -> Any:
        samples = self.load(item, sampling_rate, timeout)
        if is_silent(samples):
            return []
        if chunk_length_s:
            pieces = self._pieces(samples, chunk_length_s, stride_length_s)
            return [{**self.process(piece), "stride": stride} for piece, stride in pieces]
        stride = self._own_stride(item, len(samples), sampling_rate)
        is_long = self.generates and len(samples) > self.feature_extractor.n_samples
        features = self.process(samples, **({"truncation": False, "padding": "longest"} if is_long else {}))
        return features if stride is None else {**features, "stride": stride}

    def process(self, samples: np.ndarray, **options: Any) -> dict[str, Any]:
        return super().process(samples, return_attention_mask=True, **options)

    @property
    def _samples_per_step(self) -> int:
        """Samples per frame of logits."""
        return getattr(self.model.config, "inputs_to_logits_ratio", 1)

    def _pieces(
        self, samples: np.ndarray, seconds: float, stride: float | Sequence[float] | None
    ) -> Iterator[tuple[np.ndarray, Stride]]:
        """The pieces of a recording; each and its strides are a whole number of steps."""
        step, rate = self._samples_per_step, self.feature_extractor.sampling_rate
        both = [seconds / 6] * 2 if stride is None else list(stride) if isinstance(stride, Sequence) else [stride] * 2
        if len(both) != 2:
            raise InputError(
                f"stride_length_s has {len(both)} entries.",
                next_step="Pass a number of seconds, or a pair (left, right).",
            )
        length, left, right = (round(value * rate / step) * step for value in (seconds, *both))
        if length <= left + right or min(left, right) < 0:
            raise InputError(
                f"chunk_length_s is {seconds:g}, and the strides are {both[0]:g} and {both[1]:g} seconds: nothing is left of a piece.",
                next_step="Pass strides that are shorter than a piece together, such as a sixth of it each.",
            )
        for start in range(0, len(samples), length - left - right):
            piece = samples[start : start + length]
            is_last = start + length >= len(samples)
            before = left if start else 0
            if len(piece) > before:
                yield piece, (len(piece), before, 0 if is_last else right)
            if is_last:
                return

    def _own_stride(self, item: Any, length: int, rate: int | None) -> Stride | None:
        """The stride that a dictionary states in samples at its sampling rate (else at `rate`), as streaming clients send it."""
        if not isinstance(item, Mapping) or item.get("stride") is None:
            return None
        both = item["stride"]
        rate = rate if item.get("sampling_rate") is None else item["sampling_rate"]
        if (
            not isinstance(both, Sequence | np.ndarray)
            or len(both) != 2
            or not all(isinstance(one, Real) for one in both)
        ):
            raise InputError(
                f"The stride of a recording is {both!r}.",
                next_step="Pass a pair (left, right), in samples of the recording.",
            )
        own = self.feature_extractor.sampling_rate
        ratio = 1 if rate is None else own / check_rate(rate, "the recording")
        left, right = (round(float(one) * ratio) for one in both)
        if left + right > length or min(left, right) < 0:
            raise InputError(
                f"The stride of {left} and {right} samples is longer than the recording of {length}.",
                next_step="Pass a shorter stride, in samples of the recording.",
            )
        return length, left, right

    def forward(
        self,
        batch: dict[str, torch.Tensor],
        *,
        return_timestamps: bool | str | None = None,
        return_language: bool | None = None,
        **settings: Any,
    ) -> dict[str, Any]:
        outputs: dict[str, Any]
        if not self.generates:
            logits = self.model(**batch).logits
            outputs = {"logits": logits} if self.decoder is not None else {"tokens": logits.argmax(dim=-1)}
            if self.can_pad:
                outputs["frames"] = self.model.frames_of(batch.get("attention_mask"), batch[self.main])
            return outputs
        times = return_timestamps or getattr(self.model.generation_config, "return_timestamps", None)
        arguments = self._settings(settings)
        if times:
            arguments["return_timestamps"] = True
        if times == "word":
            arguments |= {"return_token_timestamps": True, "return_segments": True}
        if return_language:
            arguments["return_segments"] = True
        generated = self.model.generate(**batch, **arguments)
        if not isinstance(generated, Mapping):
            return {"tokens": generated}
        outputs = {"tokens": generated["sequences"]}
        if times == "word":
            outputs["token_timestamps"] = [
                torch.cat([segment["token_timestamps"] for segment in segments]) if segments else torch.zeros(0)
                for segments in generated["segments"]
            ]
        if return_language:
            outputs["language"] = [self._language(segments) for segments in generated["segments"]]
        return outputs

    def _settings(self, given: dict[str, Any]) -> dict[str, Any]:
        """The arguments of `generate`: the call's, and the defaults of what neither it nor the checkpoint sets."""
        configs = (given.get("generation_config"), self.model.generation_config)

        def is_set(*names: str) -> bool:
            values = [getattr(config, name, None) for config in configs for name in names]
            return any(value is not None for value in (*values, *map(given.get, names)))

        defaults: dict[str, Any] = dict(_DEFAULTS)
        if self.tokenizer.pad_token_id is not None:
            defaults["pad_token_id"] = self.tokenizer.pad_token_id
        rivals = {"max_new_tokens": ("max_new_tokens", "max_length")}
        unset = {name: value for name, value in defaults.items() if not is_set(*rivals.get(name, (name,)))}
        return {**given, **unset}

    def _language(self, segments: Sequence[Mapping[str, Any]]) -> int:
        """The id of the token of the language that was spoken or detected; -1 if there is none."""
        known = set((getattr(self.model.generation_config, "lang_to_id", None) or {}).values())
        if not segments:
            return -1
        result = segments[0]["result"]
        ids = (result["sequences"] if isinstance(result, Mapping) else result).tolist()
        return next((id for id in ids if id in known), -1)

    def postprocess(
        self,
        item: Any,
        features: Rows,
        outputs: Rows,
        *,
        return_timestamps: bool | str | None = None,
        return_language: bool | None = None,
        decoder_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        more = _further(item, len(features))
        if not features:  # silence
            return {**more, "text": "", **({"chunks": []} if return_timestamps or return_language else {})}
        if not self.generates:
            return {**more, **self._read_frames(features, outputs, return_timestamps, decoder_kwargs or {})}
        rate = self.feature_extractor.sampling_rate
        pieces = []
        for feature, output in zip(features, outputs, strict=True):
            piece = dict(output)
            if (language := piece.pop("language", -1)) != -1:
                piece["tokens"] = [language, *piece["tokens"].tolist()]
            if "stride" in feature:
                piece["stride"] = tuple(value / rate for value in feature["stride"])
            pieces.append(piece)
        times = return_timestamps or getattr(self.model.generation_config, "return_timestamps", None)
        precision = self.feature_extractor.chunk_length / self.model.config.max_source_positions
        text, chunks = self.tokenizer.decode_asr(
            pieces, return_timestamps=times, return_language=return_language, time_precision=precision
        )
        return {**more, "text": text, **chunks}

    def _read_frames(
        self, features: Rows, outputs: Rows, times: bool | str | None, decoder_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """The text of frames of a CTC model, without the strides of the pieces."""
        frames = np.concatenate([self._inner(*pair) for pair in zip(features, outputs, strict=True)])
        if self.decoder is not None:
            beam = self.decoder.decode_beams(frames, **decoder_kwargs)[0]
            words = [{"text": word, "start_offset": start, "end_offset": end} for word, (start, end) in beam[2]]
            return self._with_times(beam[0], words if times else None)
        if not times:
            return {"text": self.tokenizer.decode(frames)}
        read = self.tokenizer.decode(frames, output_char_offsets=True)
        spans = read["char_offsets"]
        if times == "word":
            spans = words_of(spans, self.tokenizer.replace_word_delimiter_char)
        return self._with_times(read["text"], [{**span, "text": span[times]} for span in spans])

    def _inner(self, feature: Mapping[str, Any], output: Mapping[str, Any]) -> np.ndarray:
        """The frames of a piece without padding and strides."""
        frames = output["tokens" if self.decoder is None else "logits"]
        frames = frames[: int(output.get("frames", len(frames)))]
        if "stride" not in feature:
            return frames
        length, left, right = feature["stride"]
        total = round(length / self._samples_per_step)
        return frames[round(left / length * total) : total - round(right / length * total)]

    def _with_times(self, text: str, spans: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
        if spans is None:
            return {"text": text}
        step, rate = self._samples_per_step, self.feature_extractor.sampling_rate
        chunks = [
            {"text": span["text"], "timestamp": (span["start_offset"] * step / rate, span["end_offset"] * step / rate)}
            for span in spans
        ]
        return {"text": text, "chunks": chunks}


def _further(item: Any, pieces: int) -> dict[str, list[Any]]:
    """What else a dictionary says about a recording, such as whether it is partial: once per piece, as in `transformers`."""
    if not isinstance(item, Mapping):
        return {}
    read = _READ if item.get("raw") is None else _READ - {"path"}
    return {str(name): [value] * max(pieces, 1) for name, value in item.items() if name not in read}
