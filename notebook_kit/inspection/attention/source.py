"""Where a view's attention comes from: a model with its tokenizer, or attention computed elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.axes import TokenAxis
from notebook_kit.inspection.attention.modalities import check_content, is_content, reads_content, sample_of
from notebook_kit.inspection.attention.pictures import reads_pictures
from notebook_kit.inspection.attention.reading import Reading, read_record, read_tensors
from notebook_kit.inspection.attention.running import has_sites, read, read_model
from notebook_kit.inspection.attention.samples import Sample
from notebook_kit.nn.attention import AttentionRecord
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.inputs import torch_twin

__all__ = ["AttentionSource", "AttentionSources", "takes_content"]


class AttentionSource:
    """Something that attention can be read from.

    Args:
        origin: A model, a pipeline, a record of `record_attention`, tensors, or a `Reading`.
        tokens: Labels, for a record or tensors.
        to_tokens: Labels of the columns, if they differ.
        tokenizer: For a model that reads text. A pipeline has one; for a model that was loaded by name it is loaded too.
        sample: For a model: its input instead of texts, a `Sample`; for a model that reads pictures or sound, also an image or
            a recording in any form that `load_image` or `load_audio` takes, or what a processor returns for one.
        processor: For a model that reads pictures or sound: its image processor, its feature extractor, or a processor that
            has one. A pipeline has one; for a model that was loaded by name it is loaded too.
        kind: "self", "decoder" or "cross", for a model with several kinds of attention; or a part, see `parts_of`.
        example: Which example of a batch, for a record or tensors.

    Attributes:
        model: The model, or None.
        tokenizer: Its tokenizer, or None.
        sample: The model's input instead of texts, or None.
        content: The image or the recording that `sample` was made from, or None.
        processor: The processor that was passed, or the pipeline's.

    Raises:
        InputError: If attention cannot be read from `origin`.
    """

    def __init__(
        self,
        origin: Any,
        *,
        tokens: Sequence[Any] | None = None,
        to_tokens: Sequence[Any] | None = None,
        tokenizer: Any = None,
        sample: Any = None,
        processor: Any = None,
        kind: str | None = None,
        example: int = 0,
    ) -> None:
        origin = torch_twin(origin)
        self.kind = kind
        self.sample: Sample | None = sample if isinstance(sample, Sample) else None
        self.content = None if isinstance(sample, Sample) else sample
        self.processor = processor
        self.model: nn.Module | None = None
        self.tokenizer = tokenizer
        self._reading: Reading | None = None
        if _is_pipeline(origin) or (
            hasattr(origin, "model") and sample is not None and not isinstance(origin, nn.Module)
        ):
            self.model, self.tokenizer = origin.model, tokenizer or getattr(origin, "tokenizer", None)
            if processor is None and hasattr(origin, "read_page"):
                self.processor = origin
            elif processor is None:
                parts = (getattr(origin, name, None) for name in ("image_processor", "feature_extractor"))
                self.processor = next((part for part in parts if part is not None), None)
        elif isinstance(origin, nn.Module):
            self.model = origin
        elif isinstance(origin, Reading):
            self._reading = origin
        elif isinstance(origin, AttentionRecord):
            self._reading = read_record(origin, tokens, to_tokens, kind=kind, example=example)
        elif isinstance(origin, str):
            raise InputError(
                f"AttentionView expects a model or attention first, but got the text {origin!r}.",
                next_step="Write AttentionView(model_or_pipeline, text), or pass pipeline(task, model=name).",
            )
        else:
            tensors = origin
            if isinstance(origin, Mapping) or hasattr(origin, "attentions"):
                tensors = origin.get("attentions") if isinstance(origin, Mapping) else origin.attentions
                if not tensors:
                    raise InputError(
                        f"This {type(origin).__name__} holds no attentions.",
                        next_step="Call the model with output_attentions=True.",
                    )
            self._reading = read_tensors(tensors, tokens, to_tokens, example=example, kind=kind or "self")
        if self.model is None and sample is not None:
            raise InputError(
                "A sample needs a model to read it, but the attention given here is already computed.",
                next_step="Pass the model: AttentionView(model, sample).",
            )
        if self.model is not None:
            if tokens is not None or to_tokens is not None:
                raise InputError(
                    "tokens= labels attention that is already computed, but a model was given, which reads a text.",
                    next_step="Pass text=, or the model's attentions instead of the model.",
                )
            _check_attends(self.model)
            if self.content is not None:
                self.sample = sample_of(self.model, self.content, self.processor, self.tokenizer)
            elif sample is None and reads_content(self.model):
                check_content(self.model)
            elif sample is None and self.tokenizer is None:
                self.tokenizer = _tokenizer_of(self.model)

    @property
    def name(self) -> str:
        """The class and the checkpoint of the model, for titles; empty without a model."""
        if self.model is None:
            return ""
        config = getattr(self.model, "config", None)
        name = str(getattr(config, "name_or_path", "") or getattr(config, "_name_or_path", "") or "")
        # Only the last part of a path: the rest may be private, and notebooks get shared.
        return f"{type(self.model).__name__} {name.replace(chr(92), '/').rstrip('/').rpartition('/')[2]}".strip()

    @property
    def reads_text(self) -> bool:
        """Whether there is a model that reads texts."""
        return self.model is not None and self.sample is None

    def processor_for(self, origin: Any) -> Any:
        """The processor for another model; None if it has one, as a pipeline does, or a model that was loaded by name."""
        config = getattr(origin, "config", None)
        is_named = getattr(config, "name_or_path", "") or getattr(config, "_name_or_path", "")
        return None if _is_pipeline(origin) or is_named else self.processor

    def of_kind(self, kind: str | None) -> AttentionSource:
        """The same source, reading another kind of attention."""
        other = copy.copy(self)
        other.kind = kind
        return other

    def read_layers(self, layers: Collection[int]) -> Reading:
        """The attention of some layers with every frame of a recording.

        Raises:
            InputError: If there is no model with a sample.
        """
        if self.model is None or self.sample is None:
            raise InputError("There is no recording here.", next_step="Make the view from a model and a recording.")
        return read(self.model, self.sample, kind=self.kind, layers=layers, is_whole=True)

    def read(self, text: str | None, text_pair: str | None) -> Reading | None:
        """The attention on the sample or the text, or the attention that was given; None if a model has no text yet."""
        if self.model is None:
            return self._reading
        if self.sample is not None:
            return read(self.model, self.sample, kind=self.kind)
        return None if text is None else read_model(self.model, self.tokenizer, text, text_pair, kind=self.kind)


@dataclass(frozen=True, eq=False)
class AttentionSources:
    """A source of attention, and another one to compare it with.

    Args:
        source: The source that is shown, or None.
        compared: The source to compare it with, or None.
    """

    source: AttentionSource | None = None
    compared: AttentionSource | None = None

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of `source`, or None."""
        return self.source and self.source.tokenizer

    def using(self, model_or_pipeline: Any, tokenizer: Any = None) -> AttentionSources:
        """Another model on the same texts or sample, without comparison."""
        mine = self.source
        if mine is not None and mine.content is not None:
            processor = mine.processor_for(model_or_pipeline)
            other = AttentionSource(model_or_pipeline, tokenizer=tokenizer, sample=mine.content, processor=processor)
            return AttentionSources(other)
        sample = None if mine is None else mine.sample
        return AttentionSources(AttentionSource(model_or_pipeline, tokenizer=tokenizer, sample=sample))

    def of_kind(self, kind: str | None) -> AttentionSources:
        """The same sources, reading another kind of attention."""
        return AttentionSources(*(one and one.of_kind(kind) for one in (self.source, self.compared)))

    def comparing(self, other: Any, **options: Any) -> AttentionSources:
        """The same source, compared with another sample, another model on the same input, or tensors.

        Args:
            other: One of these; for a model that reads pictures or sound, also an image or a recording. None or a text, which
                the same model reads, removes the second source.
            **options: Further arguments of `AttentionSource`.
        """
        mine = self.source
        if isinstance(other, Sample) or (mine is not None and is_content(mine.model, other)):
            if mine is None:
                raise InputError("There is no model to read a second sample.", next_step="Call view.use(model).")
            options = {"tokenizer": mine.tokenizer, "processor": mine.processor, "kind": mine.kind}
            second = AttentionSource(mine.model, sample=other, **options)
            return replace(self, compared=second)
        if other is None or isinstance(other, str):
            return replace(self, compared=None)
        is_model = isinstance(other, nn.Module) or hasattr(other, "model")
        if mine is not None and is_model:
            options |= {"sample": mine.sample if mine.content is None else mine.content, "kind": mine.kind}
            options["processor"] = mine.processor_for(other)
        return replace(self, compared=AttentionSource(other, tokenizer=self.tokenizer, **options))

    def read(
        self, text: str | None, text_pair: str | None, compare_text: str | None
    ) -> tuple[Reading | None, Reading | None]:
        """The attention of the source, and the attention it is compared with; None for what is not available.

        Raises:
            InputError: If one of them cannot be read, or the two cannot be compared.
        """
        reading = None if self.source is None else self.source.read(text, text_pair)
        if reading is None or self.source is None:
            return None, None
        other = None
        if self.compared is not None:
            other = self.compared.read(text, text_pair)
        elif compare_text is not None:
            if not self.source.reads_text:
                raise InputError("There is no model to read a second text.", next_step="Pass compare=tensors.")
            other = self.source.read(compare_text, text_pair)
        if other is not None:
            _check_alike(reading, other)
        return reading, other


def _check_alike(reading: Reading, other: Reading) -> None:
    sizes = [(len(one.rows), len(one.columns)) for one in (reading, other)]
    are_texts = all(isinstance(axis, TokenAxis) for one in (reading, other) for axis in (one.rows, one.columns))
    if (reading.numbers, reading.heads) != (other.numbers, other.heads):
        raise InputError(
            f"The two cannot be compared: one has {len(reading.layers)} layers with {list(reading.heads)} heads, the other "
            f"{len(other.layers)} with {list(other.heads)}.",
            next_step="Compare two checkpoints of the same architecture.",
        )
    if sizes[0] != sizes[1] and not are_texts:
        raise InputError(
            f"The two cannot be compared: one is {sizes[0][0]} x {sizes[0][1]} positions, the other "
            f"{sizes[1][0]} x {sizes[1][1]}.",
            next_step="Compare inputs of the same size.",
        )


def takes_content(origin: Any) -> bool:
    """Whether this is a model or a pipeline that reads pictures, sound or pages."""
    return hasattr(origin, "read_page") or reads_content(origin.model if _is_pipeline(origin) else origin)


def _is_pipeline(origin: Any) -> bool:
    return hasattr(origin, "model") and hasattr(origin, "tokenizer") and not isinstance(origin, nn.Module)


def _check_attends(model: nn.Module) -> None:
    """Raise for a model of notebook_kit without attention.

    Raises:
        InputError: If it is one.
    """
    if isinstance(model, PreTrainedModel) and not has_sites(model):
        why = ": it is a convolutional network" if reads_pictures(model) else ""
        raise InputError(
            f"{type(model).__name__} has no attention to look at{why}.",
            next_step="Choose a model with attention, such as a ViT or a Swin Transformer: "
            'pipeline("image-classification", model="google/vit-base-patch16-224").',
        )


def _tokenizer_of(model: nn.Module) -> Any:
    config = getattr(model, "config", None)
    name = getattr(config, "name_or_path", "") or getattr(config, "_name_or_path", "")
    if not name:
        raise InputError(
            f"{type(model).__name__} was not loaded by name, so its tokenizer is unknown.",
            next_step="Pass tokenizer=..., or a pipeline, which has one.",
        )
    from notebook_kit.processing.text.auto import AutoTokenizer

    return AutoTokenizer.from_pretrained(name)
